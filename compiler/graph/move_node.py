# SPDX-License-Identifier: Apache-2.0
"""The node of concatenations, slices, splits, pads and repetitions.

What all nodes have is in `compiler.graph.node`.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kiwicha.compiler.graph.node import BaseNode
from kiwicha.compiler.graph.tensor import Shape, Tensor

__all__ = ["Box", "MoveNode", "Piece"]


@dataclass(frozen=True)
class Box:
    """Elements of a tensor: the first along each axis, the distance to the next, at least 1, and
    how many."""

    first: Shape
    step: Shape
    shape: Shape

    @classmethod
    def whole(cls, shape: Shape) -> "Box":
        """All elements of a tensor of that shape."""
        return cls.at((0,) * len(shape), shape)

    @classmethod
    def at(cls, first: Shape, shape: Shape) -> "Box":
        """Neighbouring elements from ``first`` on."""
        return cls(first, (1,) * len(first), shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """As an index of an array in ONNX order."""
        return tuple(
            slice(first, first + (length - 1) * step + 1, step)
            for first, step, length in zip(self.first, self.step, self.shape, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Piece:
    """A box of one tensor that becomes a box of another, each element requantized as by a
    `compiler.graph.nodes.PoolNode` of one pixel.

    Members
    -------
    source, target : the box in ``x`` and in the result, of one shape.
    """

    x: Tensor
    source: Box
    target: Box
    scale: np.float32
    scale64: np.float64
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class MoveNode(BaseNode):
    """A tensor put together from boxes of others.

    Members
    -------
    pieces : they cover ``y``, none of its elements twice; axes lie in memory in the same order in
        ``y`` and in all that they read (`Tensor.strides`).
    """

    name: str
    op: str
    pieces: tuple[Piece, ...]
    y: Tensor
    kind: ClassVar[str] = "move"

    @property
    def x(self) -> Tensor:  # type: ignore[override]
        """What the first piece reads."""
        return self.pieces[0].x

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What each piece reads."""
        return tuple(piece.x for piece in self.pieces)
