# SPDX-License-Identifier: Apache-2.0
"""Slots of tensors whose scale is a power of two: what VECTOR's mode RANGE makes of a range.

After NITI (arXiv 2009.13108). A tensor is int8 numbers and an exponent e, their unit being 2^e. The
record of a slot then holds 2^e as its scale and, in the place of a zero point, by how many bits the
sums were shifted.
"""

from typing import Final

import numpy as np

__all__ = [
    "ACTIVATION_BITS", "ALL_GONE", "BINARY32_BIAS", "EXPONENTS", "exponent_of", "range_exponent",
    "settled",
]

ACTIVATION_BITS: Final = 7
"""Bits of a magnitude that activations and errors keep."""
ALL_GONE: Final = 32
"""The shift that leaves 0 of any sum."""
BINARY32_BIAS: Final = 127
"""Of the exponent in a slot's scale."""
EXPONENTS: Final = (-126, 127)
"""Legal exponents, those of normal binary32 numbers; beyond, the nearest is taken."""


def range_exponent(magnitude: int) -> int:
    """Return NITI's RangeEstimate: the ceiling of log2 of the greatest magnitude, 0 for 0 and 1."""
    return max(0, int(magnitude) - 1).bit_length()


def exponent_of(scale: float) -> int:
    """Return e of a slot's scale: what its eight bits of binary32 say, whatever the others do."""
    bits = int(np.asarray(scale, np.float32).view(np.uint32))
    return (bits >> 23 & 0xFF) - BINARY32_BIAS


def settled(
    magnitude: int, bits: int, exponent: int, *, gradient: bool = False,
    floor: int | None = None,
) -> tuple[int, int]:
    """Return (shift, exponent) of results whose sums are at most ``magnitude``.

    Parameters
    ----------
    magnitude : 0 to 2^31.
    bits : how many a magnitude keeps, 1 to 7.
    exponent : of the sums.
    gradient : magnitudes of 0 and 1 leave nothing.
    floor : the least exponent that the results may have: what makes two tensors ready for a sum.
    """
    length = range_exponent(magnitude)
    if gradient and not length:
        return ALL_GONE, min(max(exponent + ALL_GONE, EXPONENTS[0]), EXPONENTS[1])
    shift = max(0, length - bits)
    if floor is not None:
        shift = max(shift, floor - exponent)
    return min(shift, ALL_GONE), min(max(exponent + shift, EXPONENTS[0]), EXPONENTS[1])
