# SPDX-License-Identifier: Apache-2.0
"""LayerNormalization between DequantizeLinear and QuantizeLinear, over the last axes."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Refusal, attributes, node_name
from kiwicha.compiler.graph.graph import NormalizeNode, Shape, Tensor
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.rows import as_rows, emit_views, from_rows, rows_target
from kiwicha.machine.tables import normalize_epsilon, normalize_parameters

__all__ = ["OPERATORS"]

_RESULTS = Limit("its mean and deviation are used", lambda used: not used)
_LENGTH = Limit(
    "{size} values of {what} for rows of {length}", lambda size, what, length: size == length
)


def layer_normalization(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, scale, optional bias, in float; nothing is emitted before its QuantizeLinear."""
    value = context.floats[node.input[0]]
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    before = [op.node.op_type for op in value.operations if op.kind != "view"]
    FIRST.check(done=before[-1] if before else "")
    _RESULTS.check(used=any(node.output[1:]))
    _parameters(context, node, prod(value.shape[axis] for axis in _axes(node, value.shape)))
    done = FloatOp("normalize", node, value.shape, finish=emit_normalize)
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _axes(node: onnx.NodeProto, shape: Shape) -> range:
    """Return the axes that are one row: that of the node and those after it."""
    return range(attributes(node).get("axis", -1) % len(shape), len(shape))


def emit_normalize(
    context: Context, _end: onnx.NodeProto, x: Tensor, operations: Sequence[FloatOp], target: Tensor
) -> None:
    """Emit the normalization that QuantizeLinear turns into codes of ``target``, and the views
    around it.

    Raises
    ------
    Refusal
        Where the scales are beyond the machine's integers (`machine.tables`).
    """
    place = [op.kind for op in operations].index("normalize")
    node, before, after = operations[place].node, operations[:place], operations[place + 1 :]
    rest = [op for op in after if op.kind != "view"]
    LAST.check(done=node.op_type, rest=rest)
    shape = operations[place].shape
    axes = _axes(node, shape)
    length = prod(shape[axis] for axis in axes)
    gamma, beta = _parameters(context, node, length)
    epsilon = float(attributes(node).get("epsilon", 1e-5))
    try:
        normalize_parameters(gamma, beta, float(target.scale))
        normalize_epsilon(length, float(x.scale), epsilon)
    except ValueError as error:
        raise Refusal(str(error)) from None
    if before:
        x = emit_views(context, node, context.settled(x), [op.view for op in before])
    rows = as_rows(context, node, x, axes)
    name = context.names.fresh(target.name, "normalized") if after else target.name
    made = replace(target, name=name, shape=shape)
    y = rows_target(context, rows, made)
    context.emit(NormalizeNode(node_name(node), node.op_type, rows, y, gamma, beta, epsilon))
    y = from_rows(context, node, y, axes, made)
    if after:
        emit_views(context, node, y, [op.view for op in after], target.name)
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
        (QUANTIZED, FIRST, _RESULTS, LAST),
        "any last axes, rows up to `special.entries`; at most one code from float in at most 0.1 % "
        "of elements",
        ("tests/golden/test_normalize.py", "tests/compiler/test_normalization.py"),
    ),
)
