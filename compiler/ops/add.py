# SPDX-License-Identifier: Apache-2.0
"""com.microsoft.QLinearAdd of two activations, or of an activation and a constant (a mask)."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import AddNode, Shape, Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.compiler.ops.context import Context

__all__ = ["LIMITS", "add", "constant_operand"]

_VARIES = Limit("both operands are constants", lambda both: not both)
_TYPE = Limit(
    "constant '{name}' is {dtype}, its zero point {zero}", lambda name, dtype, zero: dtype == zero
)
_RUNS = Limit(
    "repeats single bytes of '{name}'; must be as long along the last axis",
    lambda name, whole: whole,
)
_WHOLE = Limit(
    "operands are {x} and {z}; one must have the shape of the result",
    lambda x, z: np.broadcast_shapes(x, z) == x,
)
LIMITS = (_RUNS, _WHOLE)


def add(context: Context, node: onnx.NodeProto) -> None:
    """Inputs a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero."""
    y_scale, y_zero, dtype = context.quantization(node, 6, "output")
    first, second = (name in context.constants for name in (node.input[0], node.input[3]))
    _VARIES.check(both=first and second)
    info = np.iinfo(dtype)
    low, high = int(info.min), int(info.max)
    shapes = [
        context.constants[name].shape if name in context.constants else context.tensor(name).shape
        for name in (node.input[0], node.input[3])
    ]
    constant = None
    if first or second:
        x, z, constant = _with_constant(context, node, 3 if first else 0)
        swapped = first
    else:
        x, z, swapped = _with_tensor(context, node)
    y = Tensor(node.output[0], x.shape, dtype, y_scale, y_zero, x.layout)
    context.emit(AddNode(
        node_name(node), node.op_type, x, z, y, low, high, constant,
        z_first=swapped != _exchanged(*shapes),
    ))


def _exchanged(first: Shape, second: Shape) -> bool:
    """Whether ONNX Runtime (MLAS, x86-64) exchanges the operands: where the first is one value
    along the innermost axis on which the result has more, or the result is one element."""
    shape = np.broadcast_shapes(first, second)
    padded = (1,) * (len(shape) - len(first)) + first
    inner = next((axis for axis in reversed(range(len(shape))) if shape[axis] > 1), None)
    return inner is None or padded[inner] == 1


def _with_constant(
    context: Context, node: onnx.NodeProto, place: int
) -> tuple[Tensor, Tensor, NDArray[Any]]:
    """Return the activation, the constant, laid out like it, and its values in ONNX order."""
    other = 3 - place
    x = context.settled(context.operand(node, place))
    scale, zero, dtype = context.quantization(node, other + 1, "constant")
    values = context.constants[node.input[other]]
    _TYPE.check(name=node.input[other], dtype=values.dtype, zero=dtype)
    _WHOLE.check(x=x.shape, z=values.shape)
    name = context.names.fresh(node_name(node), "constant")
    z, values = constant_operand(name, x, values, scale, zero)
    return x, z, values


def constant_operand(
    name: str, x: Tensor, values: NDArray[Any], scale: np.float32, zero: int
) -> tuple[Tensor, NDArray[Any]]:
    """Return a constant that broadcasts to ``x`` as an operand laid out like it, and its values in
    ONNX order; repeated where the machine cannot do that by itself."""
    values = values.reshape((1,) * (len(x.shape) - values.ndim) + values.shape)
    layout, inner = _similar(x)
    shape = list(x.shape)
    if inner is not None:
        shape = list(values.shape)
        shape[inner] = x.shape[inner]
    values = np.ascontiguousarray(np.broadcast_to(values, shape))
    return Tensor(name, values.shape, values.dtype, scale, zero, layout), values


def _with_tensor(context: Context, node: onnx.NodeProto) -> tuple[Tensor, Tensor, bool]:
    """Return the larger operand, the other, and whether they changed places."""
    x, z = context.operand(node), context.operand(node, 3)
    swapped = np.broadcast_shapes(x.shape, z.shape) != x.shape
    if swapped:
        x, z = z, x
    _WHOLE.check(x=x.shape, z=z.shape)
    if x.shape == z.shape:
        if x.name in context.free and z.name not in context.free:
            x = context.settle(x, context.settled(z).layout)
        x = context.settled(x)
        return x, context.settle(z, x.layout), swapped
    x = context.settled(x)
    layout, inner = _similar(x)
    if len(z.shape) != len(x.shape):
        layout = ROW_MAJOR
    z = context.settle(z, layout)
    shape = (1,) * (len(x.shape) - len(z.shape)) + z.shape
    _RUNS.check(name=z.name, whole=inner is not None and shape[inner] == x.shape[inner])
    return x, z, swapped


def _similar(x: Tensor) -> tuple[Layout, int | None]:
    """Return the layout that orders axes as that of ``x`` does, and the innermost axis; row-major
    and None where a reshape left no order of axes."""
    steps = x.strides
    if steps is None:
        return x.layout, None
    inner = steps.index(1) if 1 in steps else len(steps) - 1
    if x.layout == ROW_MAJOR:
        return ROW_MAJOR, inner
    # Axes of one element have no stride; where they stand does not matter.
    order = tuple(int(axis) for axis in np.argsort([-step for step in steps], kind="stable"))
    return Layout((("transpose", order),)), inner
