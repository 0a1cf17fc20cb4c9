# SPDX-License-Identifier: Apache-2.0
"""ScatterElements, ScatterND, TensorScatter and Where with constant indices or condition: each
element of the result is one of one of two tensors; ONNX Runtime itself says which.

Both become codes of the result, which ONNX Runtime's rounding of the chosen floats would make of
them, and lie one after the other; the result is picked out of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Unknown, attributes, node_name
from kiwicha.compiler.graph.graph import Box, MoveNode, Picked, Piece, Tensor
from kiwicha.compiler.ops.chain import emit_chain
from kiwicha.compiler.ops.concat import Operand, as_piece, constant_piece
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.edge import emit_value
from kiwicha.compiler.ops.limits import LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, some_is_float
from kiwicha.compiler.ops.pick import places_in
from kiwicha.compiler.ops.rows import emit_views

__all__ = ["OPERATORS", "float_select", "select_where"]

_OPERANDS = {
    "ScatterElements": (0, 2), "Scatter": (0, 2), "ScatterND": (0, 2), "TensorScatter": (0, 1),
    "Where": (1, 2),
}
"""Places of the tensors that elements come from."""
_SCATTERS = ("ScatterElements", "Scatter", "ScatterND", "TensorScatter")

_REDUCTION = Limit(
    "combines what is there with what comes (reduction {kind}); must be none",
    lambda kind: kind == "none",
)


def float_select(context: Context, node: onnx.NodeProto) -> None:
    """Of float values and constants; nothing is emitted before the QuantizeLinear."""
    kind = attributes(node).get("reduction", b"none")
    _REDUCTION.check(kind=kind.decode() if isinstance(kind, bytes) else kind)
    names = [node.input[place] for place in _OPERANDS[node.op_type]]
    shapes, values = {}, []
    for name in names:
        if name in context.unknown:
            raise Unknown
        if name in context.constants:
            shapes[name] = context.constants[name].shape
            continue
        if name not in context.floats:
            context.tensor(name)
            raise Unknown
        values.append(context.floats[name])
        QUANTIZED.check(quantized=isinstance(values[-1].origin, Tensor))
        shapes[name] = values[-1].shape
    places = places_in(context, node, shapes)
    done = FloatOp("pair", node, places.shape, finish=_finish)
    context.floats[node.output[0]] = FloatValue(values[0].origin, (done,))


def _finish(
    context: Context, end: onnx.NodeProto, _x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit the operands as codes of ``target``, what is picked of them, and the clips and moves
    behind it."""
    node, rest = operations[0].node, operations[1:]
    LAST.check(done=node.op_type, rest=[op for op in rest if op.finish or op.kind == "map"])
    names = dict.fromkeys(node.input[place] for place in _OPERANDS[node.op_type])
    operands = []
    for name in names:
        codes = replace(target, name=context.names.fresh(target.name, "operand"))
        if name in context.constants:
            given = context.constants[name].astype(np.float32)
            operands.append(Operand(replace(codes, shape=given.shape), _codes(given, codes)))
            continue
        value = context.floats[name]
        emit_value(context, end, value, replace(codes, shape=value.shape))
        operands.append(Operand(context.settled(context.tensors[codes.name])))
    shapes = {name: each.x.shape for name, each in zip(names, operands, strict=True)}
    places = places_in(context, node, shapes)
    name = context.names.fresh(target.name, "codes") if rest else target.name
    y = _emit(context, node, operands, replace(target, name=name, shape=places.shape), places)
    if rest:
        emit_chain(context, end, y, rest, target)


def _codes(values: NDArray[np.float32], y: Tensor) -> NDArray[np.generic]:
    """Return QuantizeLinear's codes."""
    info, zero = np.iinfo(y.dtype), y.zero_point
    with np.errstate(over="ignore"):
        bounded = np.clip(values / y.scale, info.min - zero, info.max - zero)
    return (np.rint(bounded).astype(np.int32) + zero).astype(y.dtype)


def select_where(context: Context, node: onnx.NodeProto) -> None:
    """com.microsoft.QLinearWhere: inputs condition, a, a_scale, a_zero, b, b_scale, b_zero,
    y_scale, y_zero."""
    scale, zero, dtype = context.quantization(node, 7, "output")
    operands, shapes = [], {}
    for place, letter in ((1, "a"), (4, "b")):
        name = node.input[place]
        values = context.constants.get(name)
        if values is None:
            operands.append(Operand(context.settled(context.operand(node, place))))
        else:
            given = context.quantization(node, place + 1, "input", values.dtype)[:2]
            operands.append(Operand(Tensor(name, values.shape, values.dtype, *given), values))
        shapes[letter] = operands[-1].x.shape
    choice = helper.make_node("Where", [node.input[0], *shapes], ["chosen"])
    places = places_in(context, choice, shapes)
    y = Tensor(node.output[0], places.shape, dtype, scale, zero)
    _emit(context, node, operands, y, places)


def _emit(
    context: Context, node: onnx.NodeProto, operands: Sequence[Operand], y: Tensor,
    places: NDArray[np.int64],
) -> Tensor:
    """Emit all operands in one row, as codes of ``y``, and what is picked of it.

    Parameters
    ----------
    places : the place in that row of each element of ``y``.
    """
    size = sum(each.x.size for each in operands)
    row = replace(y, name=context.names.fresh(y.name, "both"), shape=(size,))
    pieces, first = [], 0
    for each in operands:
        shape = (prod(each.x.shape),)
        if each.values is None:
            flat = emit_views(context, node, each.x, [("reshape", shape)])
            pieces.append(as_piece(context, node, flat, row, (first,)))
        else:
            line = Operand(replace(each.x, shape=shape), each.values.reshape(-1))
            pieces.append(constant_piece(context, line, row, (first,)))
        first += shape[0]
    title = context.names.fresh(node_name(node), "both")
    context.emit(MoveNode(title, node.op_type, tuple(pieces), row))
    info = np.iinfo(y.dtype)
    picked = Piece(
        row, Picked((places,)), Box.whole(places.shape), np.float32(1), np.float64(1),
        int(info.min), int(info.max),
    )
    context.emit(MoveNode(node_name(node), node.op_type, (picked,), y))
    return y


OPERATORS = (
    Operator(
        ", ".join(_SCATTERS),
        (Form("QDQ", _SCATTERS, "runtime", float_select, some_is_float),),
        "",
        (_REDUCTION, QUANTIZED),
        "constant indices, along any axis; what is scattered a tensor or a constant, each with a "
        "scale and zero point of its own",
        ("tests/compiler/test_select.py",),
    ),
)
