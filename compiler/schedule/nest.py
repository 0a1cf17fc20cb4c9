# SPDX-License-Identifier: Apache-2.0
"""Which byte goes where, as nested loops: what a copy between any two layouts is made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import Piece, Tensor
from kiwicha.compiler.schedule.within import Within

__all__ = ["Axis", "Nest", "Offsets", "nest_of", "places_of"]

Offsets = NDArray[np.int64]
_NONE: Mapping[str, Within] = {}


@dataclass(frozen=True, eq=False)
class Axis:
    """A loop: in each turn, bytes from the first turn's byte in what is read and written."""

    x: Offsets
    y: Offsets

    @property
    def length(self) -> int:
        """Turns."""
        return self.x.size

    @property
    def x_step(self) -> int | None:
        """Bytes from turn to turn in what is read; None where they differ."""
        return _step(self.x)

    @property
    def y_step(self) -> int | None:
        """The same in what is written."""
        return _step(self.y)

    @property
    def is_regular(self) -> bool:
        """Whether both have a step."""
        return self.x_step is not None and self.y_step is not None

    def part(self, first: int, last: int) -> "Axis":
        """Return some turns, from the first of them on."""
        return Axis(
            self.x[first:last] - self.x[first], self.y[first:last] - self.y[first]
        )

    def inside(self, outer: "Axis") -> "Axis":
        """Return both loops as one."""
        x, y = (
            (b[:, None] + a).reshape(-1) for a, b in ((self.x, outer.x), (self.y, outer.y))
        )
        return Axis(x, y)


@dataclass(frozen=True, eq=False)
class Nest:
    """Bytes ``x`` and ``y`` of two tensors, and the loops around them, innermost first."""

    x: int
    y: int
    axes: tuple[Axis, ...]


def nest_of(piece: Piece, result: Tensor, within: Mapping[str, Within] = _NONE) -> Nest:
    """Return the loops of a piece, in the order in which its bytes lie in the result: as few as
    there can be, those of one step each as long as they can be.

    Parameters
    ----------
    within : where tensors are that lie inside others.
    """
    x = places_of(piece.x, within)[piece.source.index].reshape(-1)
    y = places_of(result, within)[piece.target.index].reshape(-1)
    order = np.argsort(y)
    x, y = x[order], y[order]
    first = int(x[0]), int(y[0])
    axes: list[Axis] = []
    while x.size > 1:
        size = _repeated(x, y)
        axis = Axis(x[:size] - x[0], y[:size] - y[0])
        if axes and axes[-1].is_regular and (both := axes[-1].inside(axis)).is_regular:
            axes[-1] = both
        else:
            axes.append(axis)
        x, y = x[::size], y[::size]
    return Nest(*first, tuple(axes))


def places_of(tensor: Tensor, within: Mapping[str, Within] = _NONE) -> Offsets:
    """Return the byte of each element, in ONNX order."""
    dense = np.arange(tensor.size)
    places = np.empty(tensor.size, np.int64)
    places[tensor.layout.index(tensor.shape)] = (
        within[tensor.name].places(dense) if tensor.name in within else dense
    )
    return places.reshape(tensor.shape)


def _repeated(x: Offsets, y: Offsets) -> int:
    """Return the length of the shortest stretch, of two bytes at least, of which all others are
    copies at another place."""
    for size in _divisors(x.size):
        if all(_repeats(line, size) for line in (x, y)):
            return size
    return x.size


def _repeats(line: Offsets, size: int) -> bool:
    first, blocks = line[:size] - line[0], line.reshape(-1, size)
    second = bool((blocks[1] - blocks[1, 0] == first).all())  # soon says no
    return second and bool((blocks - blocks[:, :1] == first).all())


def _divisors(number: int) -> Iterator[int]:
    """Yield those above 1 and below the number, the smallest first."""
    small = [n for n in range(2, int(number**0.5) + 1) if number % n == 0]
    yield from small
    yield from (number // n for n in reversed(small) if n * n != number)


def _step(offsets: Offsets) -> int | None:
    if offsets.size == 1:
        return 0
    steps = np.diff(offsets)
    return int(steps[0]) if (steps == steps[0]).all() else None
