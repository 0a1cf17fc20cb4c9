# SPDX-License-Identifier: Apache-2.0
"""Normalizations of rows between DequantizeLinear and QuantizeLinear, over the last axes.

LayerNormalization, RMSNormalization, SimplifiedLayerNormalization; and LpNormalization over one
axis, which is one by the root mean square, its gain the root of the length.
"""

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
from kiwicha.compiler.ops.own_scale import in_codes
from kiwicha.compiler.ops.rows import as_rows, emit_views, from_rows, rows_target
from kiwicha.machine.tables import normalize_epsilon, normalize_parameters

__all__ = ["OPERATORS"]

_RESULTS = Limit("its mean and deviation are used", lambda used: not used)
_EUCLID = Limit("divides by a norm of p {p}; must be 2", lambda p: p == 2)
_LENGTH = Limit(
    "{size} values of {what} for rows of {length}", lambda size, what, length: size == length
)


_SELDOM = 8.0
"""Deviations from the mean beyond which hardly any value is."""
_LAYER = "LayerNormalization"
_SQUARES = ("RMSNormalization", "SimplifiedLayerNormalization")
_NORM = "LpNormalization"


def normalization(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, scale, optional bias, in float; nothing is emitted before its QuantizeLinear."""
    value = in_codes(context, node, node.input[0])
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    before = [op.node.op_type for op in value.operations if op.kind != "view"]
    FIRST.check(done=before[-1] if before else "")
    if node.op_type == _NORM:
        _EUCLID.check(p=attributes(node).get("p", 2))
    _RESULTS.check(used=any(context.uses[name] for name in node.output[1:]))
    axes = _axes(node, value.shape)
    length = prod(value.shape[axis] for axis in axes)
    gamma, beta = _parameters(context, node, length)
    furthest = min(float(np.sqrt(length)), _SELDOM) * np.abs(gamma)
    reach = float((beta - furthest).min()), float((beta + furthest).max())
    done = FloatOp("normalize", node, value.shape, finish=emit_normalize, reach=reach)
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _axes(node: onnx.NodeProto, shape: Shape) -> range:
    """Return the axes that are one row: that of the node, and of most operators those after it."""
    first = attributes(node).get("axis", -1) % len(shape)
    return range(first, first + 1 if node.op_type == _NORM else len(shape))


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
    epsilon = 0.0 if node.op_type == _NORM else float(attributes(node).get("epsilon", 1e-5))
    uncentred = node.op_type != _LAYER
    try:
        normalize_parameters(gamma, beta, float(target.scale))
        normalize_epsilon(length, float(x.scale), epsilon, uncentred=uncentred)
    except ValueError as error:
        raise Refusal(str(error)) from None
    if before:
        x = emit_views(context, node, context.settled(x), [op.view for op in before])
    rows = as_rows(context, node, x, axes)
    name = context.names.fresh(target.name, "normalized") if after else target.name
    made = replace(target, name=name, shape=shape)
    y = rows_target(context, rows, axes, made)
    context.emit(NormalizeNode(
        node_name(node), node.op_type, rows, y, gamma, beta, epsilon, uncentred
    ))
    y = from_rows(context, node, y, axes, made)
    if after:
        emit_views(context, node, y, [op.view for op in after], target.name)
    what = "root mean square" if uncentred else "layer"
    context.note(
        node, f"integer {what} normalization (golden-exact), ONNX Runtime computes it in float"
    )


def _parameters(
    context: Context, node: onnx.NodeProto, length: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scale and bias, one for each place of a row."""
    found = [np.ones(length, np.float32), np.zeros(length, np.float32)]
    if node.op_type == _NORM:
        return found[0] / np.sqrt(np.float32(length)), found[1]
    for index, what in ((1, "scale"), (2, "bias")):
        if index < len(node.input) and node.input[index]:
            value: NDArray[Any] = context.constant(node, index, what)
            _LENGTH.check(size=value.size, what=what, length=length)
            found[index - 1] = value.reshape(-1).astype(np.float32)
    return found[0], found[1]


_DISTANCE = (
    "at most one code from float in at most 0.1 % of elements. By the host, runtime-exact, where "
    "it is the graph output"
)
_TESTS = ("tests/golden/test_normalize.py", "tests/compiler/test_normalization.py")
OPERATORS = (
    Operator(
        "LayerNormalization",
        (Form("float", (_LAYER,), "golden", normalization, first_is_float),),
        "normalize.normalize",
        (QUANTIZED, FIRST, _RESULTS, LAST),
        f"any last axes, rows up to `special.entries`; {_DISTANCE}",
        _TESTS,
    ),
    Operator(
        "RMSNormalization, LpNormalization",
        (Form("float", (*_SQUARES, _NORM), "golden", normalization, first_is_float),),
        "normalize.normalize",
        (FIRST, _EUCLID, LAST),
        f"any last axes, of LpNormalization any one, rows up to `special.entries`; {_DISTANCE}",
        _TESTS,
    ),
)
