# SPDX-License-Identifier: Apache-2.0
"""Maximum and sum over windows of 8-bit integers; arrays are N C H W as in ONNX."""

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.conv import patches

__all__ = ["max_pool2d", "sum_pool2d"]


def max_pool2d(
    x: NDArray[np.integer],
    kernel: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
) -> NDArray[np.int32]:
    """Return the maximum of every window, N x C x H' x W'; padding never wins.

    Parameters
    ----------
    x : N x C x H x W, int8 or uint8 (or these minus their zero point).
    pads : top, left, bottom, right; negative infinity is what they hold.

    Raises
    ------
    ValueError
        Where a window lies in the padding altogether: it has no maximum.
    """
    best = patches(x.astype(np.float64), kernel, strides, pads, dilations, -np.inf).max(axis=(4, 5))
    if np.isinf(best).any():
        raise ValueError("a window lies in the padding altogether")
    return best.astype(np.int32)


def sum_pool2d(
    x: NDArray[np.integer],
    kernel: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
) -> NDArray[np.int32]:
    """Return the sum of every window, N x C x H' x W', modulo 2^32 as in the accumulators.

    Parameters
    ----------
    x : N x C x H x W, int8 or uint8 minus their zero point.
    pads : top, left, bottom, right; 0 is what they hold.
    """
    return patches(x.astype(np.int32), kernel, strides, pads, dilations, 0).sum(
        axis=(4, 5), dtype=np.int32
    )
