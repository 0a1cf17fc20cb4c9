# SPDX-License-Identifier: Apache-2.0
"""Scales of LiteRT's reference kernels that are no binary64 number but multiplier and shift."""

import numpy as np
from numpy.typing import NDArray

from kiwicha.machine.scales import FIELDS, quantize_multiplier

__all__ = ["mean_scale"]


def mean_scale(x_scale: float, y_scale: float, count: int) -> NDArray[np.void]:
    """Return MEAN's fields over ``count`` codes, of type `FIELDS`, for a node's ``scale64``: the
    multiplier of Sx / Sy, divided by the count and rounded down.

    Raises
    ------
    ValueError
        Where sums could leave int32 in LiteRT.
    """
    real = float(np.float32(x_scale)) / float(np.float32(y_scale))
    multiplier, shift = quantize_multiplier(real)
    places = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier, shift = (multiplier << places) // count, shift - places
    if (255 * count << max(shift, 0)) >= 1 << 31:
        raise ValueError(f"x_scale / y_scale is {real} in a mean of {count}; LiteRT overflows")
    if multiplier < 1 << 30 and shift > 0:  # what moves left is exact, so that this is the same
        multiplier, shift = multiplier << 1, shift - 1
    return np.array((multiplier, shift), FIELDS)
