# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models by hand, for what the quantizer never writes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["dq", "model", "node", "q", "scales"]

node = helper.make_node


def model(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, Any],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str] = ("y",),
    *,
    opset: int = 17,
    types: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """Return a model; every input and output is float32 unless ``types`` says otherwise."""
    kinds = types or {}

    def info(name: str, shape: Sequence[int | str] | None) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape)

    graph = helper.make_graph(
        list(nodes), "test",
        [info(name, shape) for name, shape in inputs.items()],
        [info(name, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=imports)


def scales(**values: tuple[float, NDArray[Any] | Any]) -> dict[str, Any]:
    """Return the constants ``<key>_s`` and ``<key>_z`` from (scale, zero point with its type)."""
    constants: dict[str, Any] = {}
    for key, (scale, zero) in values.items():
        constants[f"{key}_s"] = np.float32(scale) if np.ndim(scale) == 0 else scale
        constants[f"{key}_z"] = zero
    return constants


def q(source: str, target: str, key: str) -> NodeProto:
    """QuantizeLinear with the constants of ``scales``."""
    return node("QuantizeLinear", [source, f"{key}_s", f"{key}_z"], [target], name=f"q_{target}")


def dq(source: str, target: str, key: str) -> NodeProto:
    """DequantizeLinear with the constants of ``scales``."""
    return node("DequantizeLinear", [source, f"{key}_s", f"{key}_z"], [target], name=f"d_{target}")
