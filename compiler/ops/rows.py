# SPDX-License-Identifier: Apache-2.0
"""Rows over any axes of a tensor: views that make them the last axis, and the order of bytes in
memory in which each of them is one run."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx
from onnx import helper

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.view import View, emit_view

__all__ = ["as_rows", "emit_views", "from_rows", "rows_target"]


def as_rows(context: Context, node: onnx.NodeProto, x: Tensor, axes: Sequence[int]) -> Tensor:
    """Return a view of ``x`` whose last axis is ``axes``, in ascending order, one after the other;
    each such row is one run of bytes. ``x`` is copied into another order where it is not.

    Parameters
    ----------
    axes : at least one, not negative.
    """
    order = _order(x, axes)
    layout = Layout((("transpose", order),))
    wanted = ROW_MAJOR if layout.same(ROW_MAJOR, x.shape) else layout
    x = context.settle(x, wanted) if x.name in context.free else context.settled(x)
    if not _has_rows(x, order, len(axes)):
        x = context.settle(x, wanted)
    shape = tuple(x.shape[axis] for axis in order)
    kept = len(order) - len(axes)
    steps: list[View] = [("transpose", order), ("reshape", (*shape[:kept], prod(shape[kept:])))]
    return emit_views(context, node, x, steps)


def rows_target(
    context: Context, rows: Tensor, axes: Sequence[int], target: Tensor
) -> Tensor:
    """Return what the rows of a result are written to, that `from_rows` makes ``target`` of."""
    same = list(axes) == [len(target.shape) - 1]
    name = target.name if same else context.names.fresh(target.name, "rows")
    return replace(target, name=name, shape=rows.shape, layout=rows.layout)


def from_rows(
    context: Context, node: onnx.NodeProto, y: Tensor, axes: Sequence[int], target: Tensor
) -> Tensor:
    """Emit what `as_rows` did the other way round, if anything; ``target`` has name and shape."""
    if y.name == target.name:
        return y
    order = _order(target, axes)
    back = tuple(int(axis) for axis in np.argsort(order))
    shape = tuple(target.shape[axis] for axis in order)
    return emit_views(context, node, y, [("reshape", shape), ("transpose", back)], target.name)


def emit_views(
    context: Context, node: onnx.NodeProto, x: Tensor, steps: Sequence[View], name: str = ""
) -> Tensor:
    """Emit some views one after the other but for those that change nothing; the last one writes
    ``name``, if given."""
    shapes, needed = [x.shape], list[tuple[View, tuple[int, ...]]]()
    for kind, argument in steps:
        shape = shapes[-1]
        if kind == "transpose":
            moved = [axis for axis in argument if shape[axis] > 1]
            shape = tuple(shape[axis] for axis in argument)
            # Where axes of one element alone change their place, that is a reshape.
            step: View = (kind, argument) if moved != sorted(moved) else ("reshape", shape)
        else:
            step, shape = (kind, argument), argument
        shapes.append(shape)
        if step[0] == "reshape" and needed and needed[-1][0][0] == "reshape":
            needed.pop()  # only the last one counts
        before = needed[-1][1] if needed else x.shape
        if step[0] == "transpose" or shape != before:
            needed.append((step, shape))
    if name and not needed:
        needed.append((("reshape", x.shape), x.shape))
    for place, (step, shape) in enumerate(needed):
        last = bool(name) and place == len(needed) - 1
        y = replace(x, name=name if last else context.names.fresh(x.name, "view"), shape=shape)
        title = context.names.fresh(node_name(node), step[0])
        made = helper.make_node(step[0].capitalize(), [x.name], [y.name], name=title)
        x = emit_view(context, made, x, step, y)
    return x


def _order(x: Tensor, axes: Sequence[int]) -> tuple[int, ...]:
    """Return the axes of a tensor, ``axes`` last."""
    return *(axis for axis in range(len(x.shape)) if axis not in axes), *sorted(axes)


def _has_rows(x: Tensor, order: tuple[int, ...], axes: int) -> bool:
    """Whether the last ``axes`` of ``order`` lie in one piece, and one such row after the other."""
    length = prod(x.shape[axis] for axis in order[len(order) - axes :])
    places = np.arange(x.size).reshape(x.shape).transpose(order).reshape(-1)[:length]
    rows = x.layout.index(x.shape).reshape(-1, length)
    return bool((rows == rows[:, :1] + places).all())
