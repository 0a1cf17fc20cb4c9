# SPDX-License-Identifier: Apache-2.0
"""com.microsoft.QLinearAdd and QLinearMul of two activations, or of one and a constant."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import AddNode, MulNode, PairNode, Shape, Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.compiler.ops.context import Context

__all__ = ["constant_operand", "memory_order", "pair", "placed"]

_VARIES = Limit("both operands are constants", lambda both: not both)
_TYPE = Limit(
    "constant '{name}' is {dtype}, its zero point {zero}", lambda name, dtype, zero: dtype == zero
)
_CLASSES: dict[str, type[PairNode]] = {"QLinearAdd": AddNode, "QLinearMul": MulNode}


def pair(context: Context, node: onnx.NodeProto) -> None:
    """Inputs a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero."""
    y_scale, y_zero, dtype = context.quantization(node, 6, "output")
    places = (0, 3)
    first, second = (node.input[place] in context.constants for place in places)
    _VARIES.check(both=first and second)
    shapes = [
        context.constants[name].shape if name in context.constants else context.tensor(name).shape
        for name in (node.input[place] for place in places)
    ]
    result = np.broadcast_shapes(*shapes)
    swapped = first if first or second else shapes[0] != result and _larger(shapes[1], shapes[0])
    x = context.operand(node, places[swapped])
    constant = None
    if first or second:
        z, constant = _constant(context, node, places[not swapped])
    else:
        z = context.operand(node, places[not swapped])
    y = Tensor(node.output[0], result, dtype, y_scale, y_zero)
    x, z, y = placed(context, x, z, y, constant)
    if constant is not None:
        constant = constant.reshape(z.shape)
    info = np.iinfo(dtype)
    context.emit(_CLASSES[node.op_type](
        node_name(node), node.op_type, x, z, y, int(info.min), int(info.max), constant,
        z_first=swapped != (node.op_type == "QLinearAdd" and _exchanged(*shapes)),
    ))


def _larger(first: Shape, second: Shape) -> bool:
    """Whether an operand of the first shape is read rather along the result than the other."""
    return (prod(first), len(first)) > (prod(second), len(second))


def _exchanged(first: Shape, second: Shape) -> bool:
    """Whether ONNX Runtime (MLAS, x86-64) exchanges the operands of a sum: where the first is one
    value along the innermost axis on which the result has more, or the result is one element."""
    shape = np.broadcast_shapes(first, second)
    padded = (1,) * (len(shape) - len(first)) + first
    inner = next((axis for axis in reversed(range(len(shape))) if shape[axis] > 1), None)
    return inner is None or padded[inner] == 1


def _constant(
    context: Context, node: onnx.NodeProto, place: int
) -> tuple[Tensor, NDArray[Any]]:
    """Return a constant operand, its order in memory still open, and its values."""
    scale, zero, dtype = context.quantization(node, place + 1, "constant")
    values = context.constants[node.input[place]]
    _TYPE.check(name=node.input[place], dtype=values.dtype, zero=dtype)
    name = context.names.fresh(node_name(node), "constant")
    return Tensor(name, values.shape, values.dtype, scale, zero), values


def placed(
    context: Context, x: Tensor, z: Tensor, y: Tensor, constant: NDArray[Any] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return operands and result with axes in the same order in memory; a constant gets the rank,
    and where there is no order of axes the shape, of the result. An operand that lies in another
    order, or in none of axes, is copied where that matters.
    """
    same = x.shape == z.shape == y.shape
    if same and constant is None and x.name in context.free and z.name not in context.free:
        x = context.settle(x, context.settled(z).layout)
    x = context.settled(x)
    if x.strides is None and (x.shape != y.shape or not (same or constant is not None)):
        x = context.settle(x, ROW_MAJOR)
    if x.shape == y.shape:
        y = replace(y, layout=x.layout)
    if same and constant is None:
        return x, context.settle(z, x.layout), y
    order = memory_order(x, len(y.shape))
    if x.shape != y.shape:
        y = replace(y, layout=_layout(order, len(y.shape)))
    if constant is not None:
        if x.strides is None:
            return x, replace(z, shape=y.shape, layout=x.layout), y
        rank = len(y.shape)
        z = replace(z, shape=(1,) * (rank - len(z.shape)) + z.shape, layout=_layout(order, rank))
        return x, z, y
    return x, context.settle(z, _layout(order, len(z.shape))), y


def constant_operand(
    name: str, x: Tensor, values: NDArray[Any], scale: np.float32, zero: int
) -> tuple[Tensor, NDArray[Any]]:
    """Return a constant that broadcasts to ``x`` as an operand laid out like it, and its values in
    ONNX order; repeated where a reshape of ``x`` left no order of axes."""
    rank = len(x.shape)
    values = values.reshape((1,) * (rank - values.ndim) + values.shape)
    if x.strides is None:
        values = np.ascontiguousarray(np.broadcast_to(values, x.shape))
        return Tensor(name, values.shape, values.dtype, scale, zero, x.layout), values
    layout = _layout(memory_order(x, rank), rank)
    return Tensor(name, values.shape, values.dtype, scale, zero, layout), values


def memory_order(x: Tensor, rank: int) -> tuple[int, ...]:
    """Return the axes of a shape of that rank, outermost in memory first, those of ``x`` as there;
    axes of one element, which have no stride, where they do no harm."""
    new = rank - len(x.shape)
    axes = x.layout.order(len(x.shape))
    if axes is None:
        steps = x.strides
        if steps is None:
            return tuple(range(rank))
        axes = tuple(int(axis) for axis in np.argsort([-step for step in steps], kind="stable"))
    return (*range(new), *(axis + new for axis in axes))


def _layout(order: tuple[int, ...], rank: int) -> Layout:
    """Return the layout of a tensor of that many last axes in this order."""
    new = len(order) - rank
    axes = tuple(axis - new for axis in order if axis >= new)
    return ROW_MAJOR if axes == tuple(range(rank)) else Layout((("transpose", axes),))
