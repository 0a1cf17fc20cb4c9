# SPDX-License-Identifier: Apache-2.0
"""Slice and Split: elements of a tensor, copied to where a tensor of its own may lie."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import Box, MoveNode, Picked, Piece, Shape, Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.operator import Form, Operator, Rule, first_is_float
from kiwicha.compiler.ops.pool import ratio64

__all__ = ["OPERATORS", "axis_order", "boxes", "emit_part", "float_parts", "parts"]

_MANY = 64
"""Stretches that are worth a pass over the tensor for each axis."""

Parts = Callable[[Context, onnx.NodeProto, Shape], Iterator[tuple[str, Box | Picked]]]
"""Yields the outputs of a node that somebody reads, each with its elements of the input."""


def axis_order(x: Tensor) -> Layout:
    """Return the layout that orders the axes of a tensor of any shape as those of ``x`` are."""
    if all(kind == "transpose" for kind, _ in x.layout.steps):
        return x.layout
    return _order_of(_places(x))


def _places(x: Tensor) -> NDArray[np.int64]:
    """Return the byte of each element, in ONNX order."""
    return np.argsort(x.layout.index(x.shape)).reshape(x.shape)


def _order_of(places: NDArray[np.int64]) -> Layout:
    """Return the order of axes by how far the first two elements along each are apart; where a
    reshape left no such order, the next best."""
    first = (0,) * places.ndim
    steps = [
        abs(int(places[(*first[:axis], 1, *first[axis + 1 :])] - places[first])) if n > 1 else 0
        for axis, n in enumerate(places.shape)
    ]
    order = tuple(int(axis) for axis in np.argsort([-step for step in steps], kind="stable"))
    return ROW_MAJOR if order == tuple(range(len(order))) else Layout((("transpose", order),))


def emit_part(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    y: Tensor,
    scale: np.float32 = np.float32(1),
    bounds: tuple[int, int] | None = None,
    op: str = "",
    *,
    box: Box | Picked,
) -> Tensor:
    """Emit elements of ``x``, rescaled and clamped; shape and layout of ``y`` follow."""
    x = context.settled(x)
    if isinstance(box, Box) and (axis := _first_pass(box)) is not None:
        # Else each of its rows would be copied by itself.
        taken, box = box.axes[axis], box.along(axis, range(len(box.axes[axis])))
        name = context.names.fresh(y.name, "rows")
        first = Box.whole(x.shape).along(axis, taken)
        x = emit_part(context, node, x, replace(x, name=name), box=first)
    order = axis_order(x) if isinstance(box, Box) else _order_of(_places(x)[box.index])
    y = replace(y, shape=box.shape, layout=order)
    info = np.iinfo(y.dtype)
    low, high = bounds or (int(info.min), int(info.max))
    piece = Piece(x, box, Box.whole(box.shape), scale, ratio64(x, y), low, high)
    context.emit(MoveNode(node_name(node), op or node.op_type, (piece,), y))
    return y


def _first_pass(box: Box) -> int | None:
    """Return the axis along which elements are picked first where there are two without a step,
    and many stretches along both; the one that leaves the fewest."""
    stretches = {
        axis: _stretches(np.asarray(taken))
        for axis, taken in enumerate(box.axes) if not isinstance(taken, range)
    }
    several = [axis for axis, count in stretches.items() if count > 1]
    if len(several) < 2 or np.prod([stretches[axis] for axis in several]) <= _MANY:
        return None
    return min(several, key=lambda axis: len(box.axes[axis]) / (1 + max(box.axes[axis])))


def _stretches(taken: NDArray[np.int64]) -> int:
    """Return how many stretches of one step there are; one where two loops make all of them."""
    breaks = np.flatnonzero(np.diff(taken, 2)) + 2
    if breaks.size and taken.size % (size := int(breaks[0])) == 0:
        lines = taken.reshape(-1, size)
        if not np.diff(lines - lines[:, :1], axis=0).any() and not np.diff(lines[:, 0], 2).any():
            return 1
    return 1 + breaks.size


def parts(of: Parts) -> Rule:
    """Return the rule that picks elements of a tensor; scale and zero point pass through."""

    def rule(context: Context, node: onnx.NodeProto) -> None:
        x = context.tensor(node.input[0])
        for name, box in of(context, node, x.shape):
            emit_part(context, node, x, replace(x, name=name), box=box)

    return rule


def float_parts(of: Parts) -> Rule:
    """Return the same of a float value; nothing is emitted before the QuantizeLinear."""

    def rule(context: Context, node: onnx.NodeProto) -> None:
        value = context.floats[node.input[0]]
        for name, box in of(context, node, value.shape):
            done = FloatOp("part", node, box.shape, box=box)
            context.floats[name] = FloatValue(value.origin, (*value.operations, done))

    return rule


def boxes(context: Context, node: onnx.NodeProto, shape: Shape) -> Iterator[tuple[str, Box]]:
    """Yield the outputs that somebody reads, each with its box of the input."""
    if node.op_type == "Slice":
        yield node.output[0], _sliced(context, node, shape)
        return
    whole = Box.whole(shape)
    axis = attributes(node).get("axis", 0) % len(shape)
    start = 0
    for name, length in zip(node.output, _lengths(context, node, shape[axis]), strict=True):
        if context.uses[name]:
            yield name, whole.along(axis, range(start, start + length))
        start += length


def _lengths(context: Context, node: onnx.NodeProto, length: int) -> list[int]:
    """Return those of the parts that Split makes along its axis: given as an attribute before opset
    13 and as an input after, or equal but for the last."""
    given = attributes(node).get("split")
    if len(node.input) > 1 and node.input[1]:
        given = context.constant(node, 1, "split")
    if given is not None:
        return [int(part) for part in given]
    count = len(node.output)
    most = -(-length // count)
    return [min(most, length - most * place) for place in range(count)]


def _sliced(context: Context, node: onnx.NodeProto, shape: Shape) -> Box:
    """Slice: starts, ends, axes and steps, attributes before opset 10."""
    attribute = attributes(node)
    given: list[list[int] | None] = []
    for place, name in enumerate(("starts", "ends", "axes", "steps"), 1):
        if place < len(node.input) and node.input[place]:
            given.append([int(value) for value in context.constant(node, place, name)])
        else:
            given.append(attribute.get(name))
    starts, ends, axes, steps = given
    assert starts is not None
    assert ends is not None
    box = Box.whole(shape)
    for start, end, axis, step in zip(
        starts, ends, axes or range(len(starts)), steps or [1] * len(starts), strict=True
    ):
        axis %= len(shape)
        box = box.along(axis, range(*slice(start, end, step).indices(shape[axis])))
    return box


OPERATORS = (
    Operator(
        "Slice, Split",
        (
            Form("QDQ", ("Slice", "Split"), "runtime", float_parts(boxes), first_is_float),
            Form("QOperator", ("Slice", "Split"), "runtime", parts(boxes)),
        ),
        "",
        (),
        "any axes, any steps; equal and given lengths",
        ("tests/compiler/test_moves.py",),
    ),
)
