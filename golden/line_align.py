# SPDX-License-Identifier: Apache-2.0
"""Lanes of the activation scratchpad in one unit, whatever the lines that they come from are in."""

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.rounding import round_shift
from kiwicha.machine.line_tags import LONGEST_SHIFT

__all__ = ["aligned_lanes"]


def aligned_lanes(
    codes: NDArray[np.uint8], exponents: NDArray[np.int8] | np.int8, unit: int
) -> NDArray[np.uint8]:
    """Return int8 codes, as bytes, in units of 2^unit: ``sat8(round(code * 2^(exponent - unit)))``,
    half to even; from 8 bits to the right on nothing is left, from 8 to the left all saturates.

    Parameters
    ----------
    exponents : of the line of each code; broadcasts.
    """
    right = unit - np.asarray(exponents, np.int64)
    values = codes.view(np.int8).astype(np.int64) << np.clip(-right, 0, LONGEST_SHIFT)
    rounded = round_shift(values, np.clip(right, 0, LONGEST_SHIFT), "half_even")
    return np.clip(rounded, -128, 127).astype(np.int8).view(np.uint8)
