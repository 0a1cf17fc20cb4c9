# SPDX-License-Identifier: Apache-2.0
"""LayerNormalization between DequantizeLinear and QuantizeLinear, over the last axis."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Refusal, attributes, node_name
from kiwicha.compiler.graph.graph import NormalizeNode, Tensor
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.softmax import ROWS, contiguous_rows
from kiwicha.machine.tables import normalize_epsilon, normalize_parameters

__all__ = ["OPERATORS"]

_RESULTS = Limit("its mean and deviation are used", lambda used: not used)
_LENGTH = Limit(
    "{size} values of {what} for rows of {length}", lambda size, what, length: size == length
)


def layer_normalization(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, scale, optional bias, in float; nothing is emitted before its QuantizeLinear."""
    value = context.floats[node.input[0]]
    rank = len(value.shape)
    axis = attributes(node).get("axis", -1)
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    FIRST.check(done=value.operations[-1].node.op_type if value.operations else "")
    _RESULTS.check(used=any(node.output[1:]))
    ROWS.check(axis=axis, rank=rank)
    _parameters(context, node, value.shape[-1])
    context.floats[node.output[0]] = FloatValue(
        value.origin, (FloatOp("normalize", node, value.shape, finish=emit_normalize),)
    )


def emit_normalize(
    context: Context, _end: onnx.NodeProto, x: Tensor, operations: Sequence[FloatOp], target: Tensor
) -> None:
    """Emit the normalization that QuantizeLinear turns into codes of ``target``.

    Raises
    ------
    Refusal
        Where the scales are beyond the machine's integers (`machine.tables`).
    """
    node, length = operations[0].node, x.shape[-1]
    LAST.check(done=node.op_type, rest=operations[1:])
    gamma, beta = _parameters(context, node, length)
    epsilon = float(attributes(node).get("epsilon", 1e-5))
    try:
        normalize_parameters(gamma, beta, float(target.scale))
        normalize_epsilon(length, float(x.scale), epsilon)
    except ValueError as error:
        raise Refusal(str(error)) from None
    x = contiguous_rows(context, x)
    y = Tensor(target.name, x.shape, target.dtype, target.scale, target.zero_point, x.layout)
    context.emit(NormalizeNode(node_name(node), node.op_type, x, y, gamma, beta, epsilon))
    context.note(
        node, "integer layer normalization (golden-exact), ONNX Runtime computes it in float"
    )


def _parameters(
    context: Context, node: onnx.NodeProto, length: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scale and bias, one for each place of a row."""
    found = [np.ones(length, np.float32), np.zeros(length, np.float32)]
    for index, what in ((1, "scale"), (2, "bias")):
        if index < len(node.input) and node.input[index]:
            value: NDArray[Any] = context.constant(node, index, what)
            _LENGTH.check(size=value.size, what=what, length=length)
            found[index - 1] = value.reshape(-1).astype(np.float32)
    return found[0], found[1]


OPERATORS = (
    Operator(
        "LayerNormalization",
        (Form("float", ("LayerNormalization",), "golden", layer_normalization, first_is_float),),
        "normalize.normalize",
        (QUANTIZED, FIRST, _RESULTS, ROWS, LAST),
        "rows up to `special.entries`; at most one code from float in at most 0.1 % of elements",
        ("tests/golden/test_normalize.py",),
    ),
)
