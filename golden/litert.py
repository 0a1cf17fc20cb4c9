# SPDX-License-Identifier: Apache-2.0
"""AVERAGE_POOL_2D, MEAN and the rounding of FULLY_CONNECTED as the reference kernels of LiteRT
compute them.

Windows with halves in them are rounded away from zero; MEAN goes through gemmlowp's fixed point.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.fixed_pair import multiply_by
from kiwicha.machine.scales import quantize_multiplier

__all__ = ["average_pool", "dense", "mean"]


def average_pool(
    x: NDArray[Any], kernel: tuple[int, int], strides: tuple[int, int],
    pads: tuple[int, int, int, int], low: int, high: int,
) -> NDArray[Any]:
    """Return the average of every window: the sum of the codes inside the image over their count,
    halves away from zero, clamped.

    Codes are not centred before, so that halves go away from code 0, whatever it stands for.

    Parameters
    ----------
    x : N C H W, int8 or uint8; the result has its type.
    pads : top, left, bottom, right.
    """
    sizes = [
        (x.shape[2 + axis] + pads[axis] + pads[2 + axis] - kernel[axis]) // strides[axis] + 1
        for axis in (0, 1)
    ]
    y = np.empty((*x.shape[:2], *sizes), x.dtype)
    for row, column in np.ndindex(*sizes):
        top, left = row * strides[0] - pads[0], column * strides[1] - pads[1]
        part = x[
            :, :, max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1]
        ].astype(np.int64)
        count = part.shape[2] * part.shape[3]
        total = part.sum((2, 3))
        size = (np.abs(total) + count // 2) // count
        y[:, :, row, column] = np.clip(np.sign(total) * size, low, high)
    return y


def mean(
    x: NDArray[Any], axes: tuple[int, ...], x_scale: float, x_zero: int, y_scale: float,
    y_zero: int,
) -> NDArray[np.int64]:
    """Return the mean along ``axes``, which stay as axes of one element: the sum of x - Zx times
    the multiplier of Sx / Sy, divided by the count and rounded down, plus Zy, clamped to x's type.
    """
    count = int(np.prod([x.shape[axis] for axis in axes]))
    real = float(np.float32(x_scale)) / float(np.float32(y_scale))
    multiplier, shift = quantize_multiplier(real)
    places = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier, shift = (multiplier << places) // count, shift - places
    total = (x.astype(np.int64) - x_zero).sum(axes, keepdims=True)
    info = np.iinfo(x.dtype)
    return np.clip(multiply_by(total, multiplier, shift) + y_zero, info.min, info.max)


def dense(
    total: NDArray[np.int64], scale: NDArray[np.float64], y_zero: int, low: int, high: int
) -> NDArray[np.int64]:
    """Return the codes of FULLY_CONNECTED's int8 sums: the binary64 product with Sx Sw / Sy,
    halves away from zero, plus Zy, clamped."""
    real = total.astype(np.float64) * scale
    away = np.copysign(np.floor(np.abs(real) + 0.5), real)
    return np.clip(np.clip(away, -512, 511).astype(np.int64) + y_zero, low, high)
