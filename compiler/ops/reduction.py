# SPDX-License-Identifier: Apache-2.0
"""Reductions over any axes as windows of images: the axes as they follow one another in memory are
rows, columns and channels, whatever they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod
from typing import cast

import onnx

from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Pair, Shape, Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout, channels_last
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.rows import emit_views
from kiwicha.compiler.ops.view import View

__all__ = ["Axes", "Run", "Windows", "as_image", "from_image", "in_memory",
    "innermost", "reduced_axes"]


@dataclass(frozen=True)
class Axes:
    """Which axes of a tensor are reduced, and the shape of the result."""

    reduced: tuple[int, ...]
    shape: Shape


@dataclass(frozen=True)
class Run:
    """Neighbouring axes in memory that are all reduced or all kept: how many elements."""

    length: int
    reduced: bool


@dataclass(frozen=True)
class Windows:
    """Memory as images x rows x (groups x columns) x channels; each window is all rows of one image
    and the columns of one group."""

    images: int
    rows: int
    groups: int
    columns: int
    channels: int

    @property
    def kernel(self) -> Pair:
        """Rows and columns of a window."""
        return self.rows, self.columns

    @property
    def shape(self) -> Shape:
        """Images, rows, columns, channels."""
        return self.images, self.rows, self.groups * self.columns, self.channels

    @property
    def size(self) -> int:
        """Pixels of a window."""
        return self.rows * self.columns

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Windows | None":
        """Return the windows of runs; None where more than two are reduced."""
        lengths, place, runs = [1, 1, 1, 1, 1], 0, list(runs)
        if any(run.reduced for run in runs) and not runs[-1].reduced:
            lengths[4] = runs.pop().length
        for run in runs:
            place += place % 2 != run.reduced
            if place > 3:
                return None
            lengths[place] *= run.length
            place += 1
        return cls(*lengths)


def reduced_axes(context: Context, node: onnx.NodeProto, shape: Shape) -> Axes:
    """Return the axes of a Reduce operator: an attribute before opset 18 (13, of ReduceSum) and an
    input after; all where left out, or none if the node says so."""
    attribute, rank = attributes(node), len(shape)
    given = attribute.get("axes")
    if len(node.input) > 1 and node.input[1]:
        given = context.constant(node, 1, "axes").reshape(-1)
    if given is not None and len(given):
        reduced = tuple(sorted(int(axis) % rank for axis in given))
    else:
        reduced = () if attribute.get("noop_with_empty_axes", 0) else tuple(range(rank))
    kept = [1 if axis in reduced else length for axis, length in enumerate(shape)]
    if not attribute.get("keepdims", 1):
        kept = [length for axis, length in enumerate(kept) if axis not in reduced]
    return Axes(reduced, tuple(kept))


def innermost(runs: Sequence[Run]) -> bool:
    """Whether what is reduced lies in one piece for each element of the result."""
    return [run.reduced for run in runs] in ([True], [False, True])


def in_memory(
    context: Context, x: Tensor, axes: Axes, most: int | None = None
) -> tuple[Tensor, list[Run]]:
    """Return ``x`` settled, and its axes as runs in the order of its bytes.

    Parameters
    ----------
    most : rows times columns of a window; where there are more, or more than two runs that are
        reduced, ``x`` is copied with them innermost.
    """
    x = context.settled(x)
    if x.strides is None:
        x = context.settle(x, ROW_MAJOR)
    runs = _runs(x, axes)
    windows = Windows.of(runs)
    if most is not None and (windows is None or windows.size > most) and not innermost(runs):
        kept = [axis for axis in range(len(x.shape)) if axis not in axes.reduced]
        x = context.settle(x, Layout((("transpose", (*kept, *axes.reduced)),)))
        runs = _runs(x, axes)
    return x, runs


def _order(x: Tensor) -> tuple[int, ...]:
    """Return the axes of a tensor in the order of memory, those of one element first."""
    steps = x.strides
    assert steps is not None, f"{x.name} has no order of axes"
    return tuple(sorted(range(len(steps)), key=lambda axis: (steps[axis] > 0, -steps[axis])))


def _runs(x: Tensor, axes: Axes) -> list[Run]:
    long = [axis for axis in _order(x) if x.shape[axis] > 1]
    return [
        Run(prod(x.shape[axis] for axis in run), reduced)
        for reduced, run in groupby(long, lambda axis: axis in axes.reduced)
    ]


def as_image(
    context: Context, node: onnx.NodeProto, x: Tensor, windows: Windows, *, first: bool
) -> Tensor:
    """Return ``x``, or the image that a reduction left, as an image N C H W for the next one.

    Parameters
    ----------
    first : it is ``x`` as it is, in an order of axes.
    """
    start = _order(x) if first else (0, 2, 3, 1)
    steps: list[View] = [
        ("transpose", start), ("reshape", windows.shape), ("transpose", (0, 3, 1, 2)),
    ]
    return context.settle(emit_views(context, node, x, steps), channels_last(4))


def from_image(
    context: Context, node: onnx.NodeProto, y: Tensor, x: Tensor, axes: Axes, name: str
) -> Tensor:
    """Emit the views from the last image to the result of reducing ``x``."""
    kept = [axis for axis in _order(x) if axis not in axes.reduced]
    order = cast(Shape, tuple(kept.index(axis) for axis in sorted(kept)))
    steps: list[View] = [
        ("transpose", (0, 2, 3, 1)), ("reshape", tuple(x.shape[axis] for axis in kept)),
        ("transpose", order), ("reshape", axes.shape),
    ]
    return emit_views(context, node, replace(y, layout=channels_last(4)), steps, name)
