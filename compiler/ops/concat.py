# SPDX-License-Identifier: Apache-2.0
"""Concat of codes, and com.microsoft.QLinearConcat: each operand becomes a slice of the result.

ONNX Runtime passes an operand with the result's scale and zero point on as it is, and takes any
other through a table that it makes of DequantizeLinear and QuantizeLinear in float: the
requantizer where it computes that on every code, else a table of ours before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import Box, MoveNode, Piece, TableNode, Tensor
from kiwicha.compiler.graph.layout import Layout, channels_last
from kiwicha.compiler.ops.chain import as_requantize, chain_table
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.limits import ACTIVATION
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.part import axis_order
from kiwicha.compiler.ops.pool import ratio64
from kiwicha.compiler.ops.unsupported import in_float

__all__ = ["OPERATORS", "Operand", "as_piece", "constant_piece"]


@dataclass(frozen=True, eq=False)
class Operand:
    """An operand: a tensor, and its codes where it is a constant."""

    x: Tensor
    values: NDArray[Any] | None = None


def qlinear_concat(context: Context, node: onnx.NodeProto) -> None:
    """Inputs y_scale, y_zero, then x, x_scale, x_zero of each operand."""
    scale, zero, dtype = context.quantization(node, 0, "output")
    operands = []
    for place in range(2, len(node.input), 3):
        name = node.input[place]
        values = context.constants.get(name)
        if values is None:
            operands.append(Operand(context.operand(node, place)))
            continue
        x = Tensor(name, values.shape, values.dtype, *context.quantization(
            node, place + 1, "input", values.dtype)[:2])
        operands.append(Operand(x, values))
    _emit(context, node, operands, Tensor(node.output[0], (), dtype, scale, zero))


def concat(context: Context, node: onnx.NodeProto) -> None:
    """Inputs are codes, whose readers know their scale; there may be one alone."""
    first = next((n for n in node.input if n not in context.constants), node.input[0])
    y = replace(context.tensor(first), name=node.output[0])
    operands = []
    for name in node.input:
        values = context.constants.get(name)
        x = context.tensor(name) if values is None else replace(y, name=name, shape=values.shape)
        x = replace(x, scale=y.scale, zero_point=y.zero_point)
        operands.append(Operand(x, values))
    _emit(context, node, operands, y)


def _emit(
    context: Context, node: onnx.NodeProto, operands: Sequence[Operand], y: Tensor
) -> None:
    """Emit the operands side by side; the shape and layout of ``y`` follow."""
    shape = list(operands[0].x.shape)
    rank = len(shape)
    axis = attributes(node)["axis"] % rank
    shape[axis] = sum(each.x.shape[axis] for each in operands)
    varying = [each.x for each in operands if each.values is None]
    ACTIVATION.check(name=operands[0].x.name, constants=() if varying else context.constants)
    layout = _layout(context, varying)
    y = replace(y, shape=tuple(shape), layout=layout)
    pieces, first = [], 0
    for each in operands:
        target = tuple(first if place == axis else 0 for place in range(rank))
        first += each.x.shape[axis]
        if each.values is not None:
            pieces.append(constant_piece(context, each, y, target))
            continue
        x = each.x
        x = context.settle(x, layout) if x.name in context.free else context.settled(x)
        pieces.append(as_piece(context, node, x, y, target))
    context.emit(MoveNode(node_name(node), node.op_type, tuple(pieces), y))


def constant_piece(context: Context, operand: Operand, y: Tensor, target: tuple[int, ...]) -> Piece:
    """Return a constant as a piece of ``y``: the codes that it has there."""
    assert operand.values is not None
    x, info = operand.x, np.iinfo(y.dtype)
    values = operand.values
    if (x.scale, x.zero_point) != (y.scale, y.zero_point):
        values = chain_table(x, (), y)[values.astype(np.int32) - int(info.min)].astype(y.dtype)
    name = context.names.fresh(x.name, "codes")
    codes = replace(y, name=name, shape=x.shape)
    return Piece(
        codes, Box.whole(x.shape), Box.at(target, x.shape), np.float32(1), np.float64(1),
        int(info.min), int(info.max), values,
    )


def _layout(context: Context, operands: Sequence[Tensor]) -> Layout:
    """Return the order of axes that most bytes lie in, channels last where as many do."""
    placed = [context.settled(x) for x in operands if x.name not in context.free]
    if not placed:
        return axis_order(context.settled(operands[0]))
    orders = [axis_order(x) for x in placed]
    last = channels_last(len(placed[0].shape))
    orders.sort(key=lambda order: not order.same(last, placed[0].shape))
    return max(orders, key=lambda order: sum(
        x.size for x in placed if x.layout.same(order, x.shape)
    ))


def as_piece(
    context: Context, node: onnx.NodeProto, x: Tensor, y: Tensor, target: tuple[int, ...]
) -> Piece:
    """Return all of ``x`` as a piece of ``y``, its codes those of ``y``."""
    info = np.iinfo(y.dtype)
    scale, low, high = np.float32(1), int(info.min), int(info.max)
    if (x.scale, x.zero_point) != (y.scale, y.zero_point):
        table = chain_table(x, (), y)
        found = as_requantize(x, y, table)
        if found is not None:
            scale, low, high = found
        else:
            name = context.names.fresh(y.name, "codes")
            codes = replace(y, name=name, shape=x.shape, layout=x.layout)
            raw = np.roll(table.astype(y.dtype).view(np.uint8), np.iinfo(x.dtype).min)
            context.emit(TableNode(node_name(node), "Requantize", x, codes, raw))
            x = codes
    return Piece(x, Box.whole(x.shape), Box.at(target, x.shape), scale, ratio64(x, y), low, high)


def _is_codes(context: Context, node: onnx.NodeProto) -> bool:
    """Whether no operand is float."""
    return not any(name in context.floats for name in node.input)


OPERATORS = (
    Operator(
        "Concat",
        (
            Form("QOperator", ("QLinearConcat",), "runtime", qlinear_concat),
            Form("QOperator", ("Concat",), "runtime", concat, _is_codes),
            Form("QDQ", ("Concat",), "runtime"),
        ),
        "concat.concat",
        (),
        "any axis, any number of operands, some of them constants, each with a scale and zero "
        "point of its own",
        ("tests/golden/test_concat.py", "tests/compiler/test_moves.py"),
        otherwise=in_float,
    ),
)
