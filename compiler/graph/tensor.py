# SPDX-License-Identifier: Apache-2.0
"""A quantized tensor: shape, type, scale, and where each of its elements lies in memory."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout

__all__ = ["Bounds", "Pair", "Quad", "Shape", "Tensor"]

Shape = tuple[int, ...]
Pair = tuple[int, int]
Quad = tuple[int, int, int, int]
Bounds = tuple[float, float]
"""The least and the greatest value."""


@dataclass(frozen=True)
class Tensor:
    """An int8 or uint8 tensor. Real value = scale * (stored value - zero_point).

    ``x`` of a node holds that node's own reading of the bytes: two nodes may read a tensor of one
    name with different scales or zero points.

    Members
    -------
    shape : in ONNX order (N C H W, N C L, or any matrix stack).
    dtype : np.dtype("int8") or np.dtype("uint8").
    layout : order of the bytes in memory.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    scale: np.float32
    zero_point: int
    layout: Layout = ROW_MAJOR

    @property
    def size(self) -> int:
        """Elements, which are bytes."""
        return prod(self.shape)

    @property
    def image(self) -> Quad:
        """Shape as N, C, H, W: H is 1 for N C L; a matrix stack is one pixel a row."""
        if len(self.shape) == 4:
            return self.shape
        if len(self.shape) == 3 and self.layout != ROW_MAJOR:
            return self.shape[0], self.shape[1], 1, self.shape[2]
        return prod(self.shape[:-1]), self.shape[-1] if self.shape else 1, 1, 1

    @property
    def strides(self) -> Shape | None:
        """Bytes in memory from one element to the next along each axis, 0 along axes of one; None
        where a reshape left no such numbers."""
        if (order := self.layout.order(len(self.shape))) is not None:
            known, size = [0] * len(order), 1
            for axis in reversed(order):
                known[axis] = size if self.shape[axis] > 1 else 0
                size *= self.shape[axis]
            return tuple(known)
        places = np.argsort(self.layout.index(self.shape)).reshape(self.shape)
        first = (0,) * places.ndim
        steps = [
            int(places[(*first[:axis], 1, *first[axis + 1 :])]) if length > 1 else 0
            for axis, length in enumerate(self.shape)
        ]
        ranges = [np.arange(n) * step for n, step in zip(self.shape, steps, strict=True)]
        expected = sum(np.ix_(*ranges), np.zeros((), np.int64))
        return tuple(steps) if np.array_equal(places, expected) else None

    def to_memory(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the flat bytes of ``array`` (ONNX order, this dtype) as memory holds them."""
        return np.ascontiguousarray(self.layout.apply(array.reshape(self.shape)))

    def from_memory(self, flat: NDArray[Any]) -> NDArray[Any]:
        """Return the array in ONNX order and this dtype; ``flat`` is bytes of any 8-bit type."""
        return self.layout.invert(np.ascontiguousarray(flat).view(self.dtype), self.shape)
