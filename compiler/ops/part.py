# SPDX-License-Identifier: Apache-2.0
"""Slice and Split: a box of a tensor, copied to where a tensor of its own may lie."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import Box, MoveNode, Piece, Shape, Tensor
from kiwicha.compiler.graph.layout import Layout
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import ORDER
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.pool import ratio64

__all__ = ["OPERATORS", "axis_order", "emit_part"]

_BACKWARDS = Limit(
    "step {step} along axis {axis}; must be positive", lambda step, axis: step > 0
)


def axis_order(x: Tensor) -> Layout:
    """Return the layout that orders the axes of a tensor of any shape as those of ``x`` are.

    Raises
    ------
    Refusal
        Where a reshape left no order of axes.
    """
    if all(kind == "transpose" for kind, _ in x.layout.steps):
        return x.layout
    steps = x.strides
    ORDER.check(name=x.name, fits=steps is not None)
    assert steps is not None
    order = np.argsort([-step for step in steps], kind="stable")
    return Layout((("transpose", tuple(int(axis) for axis in order)),))


def emit_part(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    y: Tensor,
    scale: np.float32 = np.float32(1),
    bounds: tuple[int, int] | None = None,
    op: str = "",
    *,
    box: Box,
) -> Tensor:
    """Emit a box of ``x``, rescaled and clamped; shape and layout of ``y`` follow."""
    x = context.settled(x)
    y = replace(y, shape=box.shape, layout=axis_order(x))
    info = np.iinfo(y.dtype)
    low, high = bounds or (int(info.min), int(info.max))
    piece = Piece(x, box, Box.whole(box.shape), scale, ratio64(x, y), low, high)
    context.emit(MoveNode(node_name(node), op or node.op_type, (piece,), y))
    return y


def part(context: Context, node: onnx.NodeProto) -> None:
    """Input x; scale and zero point pass through."""
    x = context.tensor(node.input[0])
    for name, box in _boxes(context, node, x.shape):
        emit_part(context, node, x, replace(x, name=name), box=box)


def float_part(context: Context, node: onnx.NodeProto) -> None:
    """The same of a float value; nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    for name, box in _boxes(context, node, value.shape):
        done = FloatOp("part", node, box.shape, box=box)
        context.floats[name] = FloatValue(value.origin, (*value.operations, done))


def _boxes(context: Context, node: onnx.NodeProto, shape: Shape) -> Iterator[tuple[str, Box]]:
    """Yield the outputs that somebody reads, each with its box of the input."""
    if node.op_type == "Slice":
        yield node.output[0], _sliced(context, node, shape)
        return
    whole = Box.whole(shape)
    axis = attributes(node).get("axis", 0) % len(shape)
    start = 0
    for name, length in zip(node.output, _lengths(context, node, shape[axis]), strict=True):
        if context.uses[name]:
            yield name, Box(
                _with(whole.first, axis, start), whole.step, _with(shape, axis, length)
            )
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
        _BACKWARDS.check(step=step, axis=axis)
        taken = range(*slice(start, end, step).indices(shape[axis]))
        box = Box(
            _with(box.first, axis, taken.start), _with(box.step, axis, step),
            _with(box.shape, axis, len(taken)),
        )
    return box


def _with(values: Shape, axis: int, value: int) -> Shape:
    return (*values[:axis], value, *values[axis + 1 :])


OPERATORS = (
    Operator(
        "Slice, Split",
        (
            Form("QDQ", ("Slice", "Split"), "runtime", float_part, first_is_float),
            Form("QOperator", ("Slice", "Split"), "runtime", part),
        ),
        "",
        (_BACKWARDS,),
        "any axes, positive steps; equal and given lengths",
        ("tests/compiler/test_moves.py",),
    ),
)
