# SPDX-License-Identifier: Apache-2.0
"""The node of concatenations, parts, pads, repetitions, and copies into another order.

What all nodes have is in `compiler.graph.node`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.node import BaseNode
from kiwicha.compiler.graph.tensor import Shape, Tensor

__all__ = ["Box", "MoveNode", "Picked", "Piece"]


@dataclass(frozen=True)
class Box:
    """Elements of a tensor: along each axis which ones, in any order and as often as listed."""

    axes: tuple[Sequence[int], ...]

    @classmethod
    def whole(cls, shape: Shape) -> "Box":
        """All elements of a tensor of that shape."""
        return cls(tuple(range(length) for length in shape))

    @classmethod
    def at(cls, first: Shape, shape: Shape) -> "Box":
        """Neighbouring elements from ``first`` on."""
        return cls(tuple(range(f, f + n) for f, n in zip(first, shape, strict=True)))

    def along(self, axis: int, taken: Sequence[int]) -> "Box":
        """Return the same with other elements along one axis."""
        return Box((*self.axes[:axis], taken, *self.axes[axis + 1 :]))

    @property
    def shape(self) -> Shape:
        """How many along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def index(self) -> tuple[Any, ...]:
        """As an index of an array in ONNX order."""
        ranges = [axis for axis in self.axes if isinstance(axis, range) and axis.step > 0]
        if len(ranges) == len(self.axes):
            return tuple(slice(axis.start, axis.stop, axis.step) for axis in ranges)
        return np.ix_(*(np.asarray(axis, np.int64) for axis in self.axes))


@dataclass(frozen=True, eq=False)
class Picked:
    """Elements of a tensor, each at places of its own: one array for each of its axes, all of the
    shape of what is picked."""

    index: tuple[NDArray[np.int64], ...]

    @property
    def shape(self) -> Shape:
        """Of what is picked."""
        return self.index[0].shape


@dataclass(frozen=True, eq=False)
class Piece:
    """A box of one tensor that becomes a box of another, each element requantized as by a
    `compiler.graph.nodes.PoolNode` of one pixel.

    Members
    -------
    source, target : what of ``x`` goes where in the result, of one shape.
    values : ``x`` in ONNX order where it is a constant.
    """

    x: Tensor
    source: Box | Picked
    target: Box
    scale: np.float32
    scale64: np.float64
    low: int
    high: int
    values: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class MoveNode(BaseNode):
    """A tensor put together from boxes of others.

    Members
    -------
    pieces : they cover ``y``, none of its elements twice; ``y`` and what they read may lie in
        memory in any order.
    """

    name: str
    op: str
    pieces: tuple[Piece, ...]
    y: Tensor
    kind: ClassVar[str] = "move"

    @property
    def x(self) -> Tensor:  # type: ignore[override]
        """What the first piece reads that is no constant."""
        return self.inputs[0]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What each piece reads that is no constant."""
        return tuple(piece.x for piece in self.pieces if piece.values is None)
