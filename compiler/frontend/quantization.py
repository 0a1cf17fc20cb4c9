# SPDX-License-Identifier: Apache-2.0
"""What the scales, zero points and types of a model's nodes must be, checked on the model as given.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from kiwicha.compiler.frontend.limit import FLOAT32, Limit, check_scale
from kiwicha.compiler.frontend.load import Constants
from kiwicha.compiler.frontend.normal_form import value_types
from kiwicha.compiler.frontend.onnx_node import Refusal, attributes, node_name, operator_name

__all__ = ["DYNAMIC", "LIMITS", "STATIC", "check_quantization"]

STATIC = {
    "QuantizeLinear": (1,), "DequantizeLinear": (1,), "QLinearConv": (1, 4, 6),
    "QLinearMatMul": (1, 4, 6), "QGemm": (1, 4, 7), "QLinearAdd": (1, 4, 6),
    "QLinearMul": (1, 4, 6), "QLinearGlobalAveragePool": (1, 3), "QLinearAveragePool": (1, 3),
    "QLinearSoftmax": (1, 3), "QLinearSigmoid": (1, 3), "QLinearLeakyRelu": (1, 3),
    "QLinearWhere": (2, 5, 7),
}
"""Operators with scales of their own, and the places of these among the inputs."""
DYNAMIC = {
    "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger", "ConvInteger",
    "DynamicQuantizeLSTM",
}
"""Operators of models whose scales follow from the values."""
_INTEGERS = (TensorProto.INT8, TensorProto.UINT8)

_TYPE = Limit(
    "'{name}' is {told}; must be int8 or uint8", lambda name, told, kind, legal: kind in legal
)
_BLOCKS = Limit(
    "has a scale for each block of {block} along axis {axis}; must have one, or one for each "
    "channel",
    lambda block, axis: not block,
)
_BIAS_SCALE = Limit(
    "scale '{name}' is not finite", lambda name, scale: bool(np.isfinite(scale).all())
)
LIMITS = (_TYPE, _BLOCKS, _BIAS_SCALE)


def check_quantization(model: onnx.ModelProto) -> list[tuple[str, str, str]]:
    """Return (node, operator, reason) of each node that is not quantized as the machine can."""
    constants, types = Constants(model.graph), value_types(model)
    refusals = []
    for node in model.graph.node:
        checks: list[Callable[[], None]] = []
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            checks += [partial(_check_types, node, types), partial(_check_blocks, node)]
        for index in STATIC.get(node.op_type, ()):
            name = node.input[index] if index < len(node.input) else ""
            if name in constants:
                # A bias, which is int32, has a scale that nothing computes with.
                bias = types.get(node.input[0]) == TensorProto.INT32
                checks.append(partial(_check_scale, name, constants[name], bias))
        causes = []
        for check in checks:
            try:
                check()
            except Refusal as refusal:
                causes.append(str(refusal))
        if causes:
            refusals.append((node_name(node), operator_name(node), "; ".join(causes)))
    return refusals


def _check_scale(name: str, scale: NDArray[Any], bias: bool) -> None:
    FLOAT32.check(what=f"scale '{name}'", dtype=scale.dtype)
    if not bias:
        check_scale(scale, f"scale '{name}'")
    else:
        _BIAS_SCALE.check(name=name, scale=scale)


def _check_types(node: onnx.NodeProto, types: dict[str, int]) -> None:
    """8-bit codes alone; biases are int32."""
    quantize = node.op_type == "QuantizeLinear"
    legal = _INTEGERS if quantize else (*_INTEGERS, TensorProto.INT32)
    name = node.output[0] if quantize else node.input[0]
    kind = types.get(node.input[2], 0) if len(node.input) > 2 else 0
    kind = kind or types.get(name, 0)
    if kind:
        told = TensorProto.DataType.Name(kind).lower()
        _TYPE.check(name=name, told=told, kind=kind, legal=legal)


def _check_blocks(node: onnx.NodeProto) -> None:
    given = attributes(node)
    _BLOCKS.check(block=given.get("block_size", 0), axis=given.get("axis", 1))
