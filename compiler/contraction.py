# SPDX-License-Identifier: Apache-2.0
"""The one kind of work the machine does: a sliding-window reduction, with its tensors placed.

Convolution, matrix product and pooling all are this with other numbers: a matrix product is a
1x1 convolution over an image one pixel wide, a pooling reduces by maximum instead of sum.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Contraction", "Place"]


@dataclass(frozen=True)
class Place:
    """A tensor in memory: dense NHWC bytes from ``address`` on."""

    address: int
    images: int
    height: int
    width: int
    channels: int

    @property
    def row_bytes(self) -> int:
        """Bytes from one image row to the next."""
        return self.width * self.channels

    @property
    def image_bytes(self) -> int:
        """Bytes from one image to the next."""
        return self.height * self.row_bytes


@dataclass(frozen=True, eq=False)
class Contraction:
    """One layer for the array.

    ``weights`` is ``int8`` or ``uint8`` of shape (outputs, kernel height, kernel width,
    inputs / groups), or None for a maximum pooling. ``bias``, ``multiplier``, ``shift`` and
    ``weight_zero`` hold one value per output channel, in the encoding of `golden.requantize`.
    """

    name: str
    op: str
    x: Place
    y: Place
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]  # top, left; the far sides follow from the output's size
    dilations: tuple[int, int]
    groups: int
    weights: np.ndarray | None
    weight_zero: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    x_signed: bool
    x_zero: int
    pad: int  # what padding reads as once the zero point is off
    y_zero: int
    low: int
    high: int

    @property
    def is_pool(self) -> bool:
        """Whether this reduces by maximum."""
        return self.weights is None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layer, taps in the padding included; 0 for pooling."""
        if self.weights is None:
            return 0
        return self.y.images * self.y.height * self.y.width * self.weights.size
