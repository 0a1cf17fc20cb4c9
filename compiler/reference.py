# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime computes for a lowered model: every quantized tensor and the outputs."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from compiler.errors import ModelError
from compiler.graph import Node
from compiler.lower import LoweredModel
from compiler.session import open_session, runtime_message
from compiler.subgraph import subgraph

__all__ = ["Reference", "RuntimeInfo", "node_reference", "reference", "runtime_info"]

_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm",
)  # fmt: skip


@dataclass(frozen=True)
class RuntimeInfo:
    """Who computed the reference: runtime, its version, processor and its dot-product features."""

    runtime: str
    version: str
    machine: str
    processor: str
    features: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a report."""
        return {**vars(self), "features": list(self.features)}


@dataclass(frozen=True, eq=False)
class Reference:
    """Members
    -------
    outputs : graph outputs by name.
    tensors : every int8 and uint8 tensor of the lowered model by name, in ONNX order.
    info : who computed them.
    """

    outputs: dict[str, NDArray[Any]]
    tensors: dict[str, NDArray[Any]]
    info: RuntimeInfo


def reference(lowered: LoweredModel, inputs: Mapping[str, NDArray[Any]]) -> Reference:
    """Run the lowered model as it is, optimizations off, with all its quantized tensors shown.

    Raises
    ------
    ModelError
        When ONNX Runtime refuses the model or the inputs.
    """
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    graph = model.graph
    outputs = [value.name for value in graph.output]
    inner = [name for node in graph.node for name in node.output if name and name not in outputs]
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner)
    session = open_session(model, lowered.settings)
    try:
        values = session.run([*outputs, *inner], dict(inputs))
    except Exception as error:  # its exception classes share no public base
        raise ModelError(f"ONNX Runtime cannot run the model: {runtime_message(error)}") from None
    by_name = dict(zip([*outputs, *inner], values, strict=True))
    given = {name: np.asarray(value) for name, value in inputs.items()}
    return Reference(
        outputs={name: by_name[name] for name in outputs},
        tensors={k: v for k, v in {**given, **by_name}.items() if v.dtype in (np.int8, np.uint8)},
        info=runtime_info(),
    )


def node_reference(
    lowered: LoweredModel, node: Node, tensors: Mapping[str, NDArray[Any]]
) -> NDArray[Any] | None:
    """Return what ONNX Runtime's own operators make of the inputs that a node really has.

    Unlike `reference` this judges a node whose predecessors are not exact to the runtime.

    Parameters
    ----------
    node : of the graph that `compiler.legalize` made of ``lowered``.
    tensors : values in ONNX order, by name.

    Returns
    -------
    None where ``lowered`` has no value of the name of an operand or of the result: between the
    nodes that one float chain has become.

    Raises
    ------
    ModelError
        When ONNX Runtime refuses the part.
    """
    known = {name for part in lowered.model.graph.node for name in part.output}
    known |= {value.name for value in lowered.model.graph.input}
    names = [tensor.name for tensor in node.inputs]
    if not {*names, node.y.name} <= known:
        return None
    sources = {tensor.name: (tensor.dtype, len(tensor.shape)) for tensor in node.inputs}
    try:
        part = subgraph(lowered.model, sources, node.y.name)
    except KeyError as error:
        raise ModelError(f"'{node.name}' also depends on {error}") from None
    session = open_session(part, lowered.settings)
    try:
        values = session.run([node.y.name], {name: tensors[name] for name in names})
    except Exception as error:  # its exception classes share no public base
        raise ModelError(f"ONNX Runtime cannot run a part: {runtime_message(error)}") from None
    return np.asarray(values[0])


def runtime_info() -> RuntimeInfo:
    """Describe the runtime and the processor it runs on."""
    processor, flags = platform.processor(), set[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                processor = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    except OSError:
        pass
    return RuntimeInfo(
        "onnxruntime", onnxruntime.__version__, platform.machine(), processor or "unknown",
        tuple(feature for feature in _FEATURES if feature in flags),
    )  # fmt: skip
