# SPDX-License-Identifier: Apache-2.0
"""How two operands that broadcast to one shape meet in memory: as rows of the result."""

from dataclasses import dataclass, replace
from itertools import product
from math import prod

from kiwicha.compiler.graph.graph import PairNode, Tensor

__all__ = ["Meeting", "Part", "meetings"]


@dataclass(frozen=True)
class Part:
    """What of an operand the rows of a result meet, from byte ``start`` on: rows of their length,
    or with ``byte`` of one byte, for all elements of a row; with ``row`` all the same one."""

    start: int
    row: bool = False
    byte: bool = False

    def at(self, row: int, length: int) -> int:
        """Return the first byte that a row of so many elements meets."""
        return self.start + (0 if self.row else row * (1 if self.byte else length))

    def extent(self, rows: int, length: int) -> int:
        """Return how many bytes so many rows meet."""
        return (1 if self.row else rows) * (1 if self.byte else length)


@dataclass(frozen=True)
class Meeting:
    """``rows`` rows of ``length`` bytes of the result from byte ``y`` on, and their operands."""

    y: int
    rows: int
    length: int
    x: Part
    z: Part


@dataclass(frozen=True)
class _Axis:
    """Elements of the result, and bytes from one to the next in both operands."""

    length: int
    x: int
    z: int


def meetings(node: PairNode) -> list[Meeting]:
    """Return what each byte of the result is made of, in memory order.

    Raises
    ------
    ValueError
        Where the axes of an operand do not lie in the order of those of the result.
    """
    axes = _axes(node)
    inner = axes.pop() if axes else _Axis(1, 1, 1)
    if not {inner.x, inner.z} <= {0, 1}:
        name = node.x.name if inner.x not in (0, 1) else node.z.name
        raise ValueError(f"'{name}' is not repeated along whole axes")
    rows = _Axis(1, 0, 0)
    if axes and _follows(axes[-1].x, inner.x, inner) and _follows(axes[-1].z, inner.z, inner):
        rows = axes.pop()
    size = rows.length * inner.length
    made = []
    for turn, place in enumerate(product(*(range(axis.length) for axis in axes))):
        x, z = (
            Part(
                sum(index * getattr(axis, side) for index, axis in zip(place, axes, strict=True)),
                row=rows.length > 1 and getattr(rows, side) == 0,
                byte=getattr(inner, side) == 0,
            )
            for side in "xz"
        )
        made.append(Meeting(turn * size, rows.length, inner.length, x, z))
    return made


def _follows(step: int, inside: int, inner: _Axis) -> bool:
    """Whether rows of an operand lie densely, or are one row."""
    return step in (0, inner.length if inside else 1)


def _axes(node: PairNode) -> list[_Axis]:
    """Return the axes of the result, outermost first, those joined that make one in memory."""
    y = node.y
    if all(x.shape == y.shape and x.layout.same(y.layout, y.shape) for x in (node.x, node.z)):
        return [_Axis(y.size, 1, 1)]
    own, x, z = (_steps(tensor, y) for tensor in (y, node.x, node.z))
    order = sorted((a for a, n in enumerate(y.shape) if n > 1), key=lambda a: -own[a])
    joined: list[_Axis] = []
    for axis in (_Axis(y.shape[a], x[a], z[a]) for a in order):
        if joined and all(
            getattr(joined[-1], side) == axis.length * getattr(axis, side) for side in "xz"
        ):
            joined[-1] = replace(axis, length=joined[-1].length * axis.length)
        else:
            joined.append(axis)
    return joined


def _steps(tensor: Tensor, y: Tensor) -> tuple[int, ...]:
    """Return the bytes from one element of a tensor to the next along each axis of ``y``."""
    steps = tensor.strides
    if steps is None or prod(tensor.shape) < 1:
        raise ValueError(f"'{tensor.name}' is not repeated along whole axes")
    return (0,) * (len(y.shape) - len(steps)) + steps
