# SPDX-License-Identifier: Apache-2.0
"""Where in memory each element of a tensor lies, as steps from ONNX order to memory order."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROW_MAJOR", "Layout", "channels_last"]

Step = tuple[Literal["reshape", "transpose"], tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """The order in which the bytes of a tensor lie in memory, densely.

    Parameters
    ----------
    steps : ("reshape", shape) and ("transpose", axes), applied one after the other to the array
        in ONNX order; the result, flattened, is memory. No step: row-major.
    """

    steps: tuple[Step, ...] = ()

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return ``array`` (ONNX order) as the flat sequence that memory holds."""
        for kind, argument in self.steps:
            array = array.reshape(argument) if kind == "reshape" else array.transpose(argument)
        return array.reshape(-1)

    def index(self, shape: tuple[int, ...]) -> NDArray[np.int32]:
        """Return, for each place in memory, the ONNX-order position of the element there."""
        return self.apply(np.arange(np.prod(shape, dtype=np.int64), dtype=np.int32).reshape(shape))

    def invert(self, flat: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the ONNX-order array of ``shape`` whose memory is ``flat``."""
        array = np.empty(flat.size, flat.dtype)
        array[self.index(shape)] = flat
        return array.reshape(shape)

    def reshaped(self, shape: tuple[int, ...]) -> "Layout":
        """Return the layout of a reshaped view of a tensor that has ``shape`` and this layout."""
        return Layout((("reshape", shape), *self.steps))

    def transposed(self, axes: tuple[int, ...]) -> "Layout":
        """Return the layout of a transposed view of a tensor that has this layout."""
        inverse = tuple(int(axis) for axis in np.argsort(axes))
        return Layout((("transpose", inverse), *self.steps))

    def order(self, rank: int) -> tuple[int, ...] | None:
        """Return the axes, outermost in memory first; None where a reshape comes in between."""
        axes = tuple(range(rank))
        for kind, argument in self.steps:
            if kind == "reshape":
                return None
            axes = tuple(axes[axis] for axis in argument)
        return axes

    def same(self, other: "Layout", shape: tuple[int, ...]) -> bool:
        """Whether both put every element of a tensor of ``shape`` at the same place."""
        return self == other or np.array_equal(self.index(shape), other.index(shape))


ROW_MAJOR: Final = Layout()


def channels_last(rank: int) -> Layout:
    """Return the layout that puts axis 1 last: NHWC memory for an NCHW array."""
    return Layout((("transpose", (0, *range(2, rank), 1)),)) if rank > 2 else ROW_MAJOR
