# SPDX-License-Identifier: Apache-2.0
"""What SPECIAL's two tables hold for sums and products, and what those are of single entries.

Tables are ``uint32[256]``; the engine's docstrings and `golden.special` say how they are used.
"""

import math

import numpy as np
import numpy.typing as npt

__all__ = [
    "Tables", "add_tables", "factor_tables", "mul_ratio", "mul_tables", "multiply", "multiply_add",
    "require_single", "sum_tables",
]

Tables = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], int]
Reals = npt.NDArray[np.float64]

def add_tables(
    a_scale: float,
    a_zero: int,
    a_dtype: npt.DTypeLike,
    b_scale: float,
    b_zero: int,
    b_dtype: npt.DTypeLike,
    y_scale: float,
    y_zero: int,
) -> Tables:
    """Return ADD's tables A and B by the raw byte and the field shift, for every pair of scales.

    y = rint(f(±A[a] * 2^shift + B[b])): A, integers, and shift hold the products a * rA as they
    are, without their signs; B = f(b * rB + F) is binary32. rA, rB and F are as in `golden.add`,
    whose `exchanged` says when to exchange the operands.

    Products that are all below 2^-40 are 0. Beside a B of 2^-14 or more they are less than half of
    what f() can tell, and with a lesser one the sum is rounded to 0. Where a scale's ratio to
    y_scale overflows, no sum is finite: B is infinite.

    Raises
    ------
    ValueError
        On scales that are not positive normal binary32 numbers; that of b may be negative, which
        makes the sum a difference.
    """
    y_single, a_single = require_single("y_scale", y_scale), require_single("a_scale", a_scale)
    b_single = np.copysign(require_single("b_scale", abs(b_scale)), np.float32(b_scale))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        ratio_a, ratio_b = a_single / y_single, b_single / y_single
        zero = multiply_add(ratio_a, a_zero, ratio_b * np.float32(b_zero))
        b = multiply_add(_codes(b_dtype), ratio_b, np.float32(y_zero) - zero)
    if not np.isfinite(ratio_a):
        ratio_a, b = np.float32(0), np.full(256, np.inf, np.float32)
    fraction, exponent = math.frexp(float(ratio_a))
    factor, shift = int(fraction * (1 << 24)), exponent - 24
    if shift < -71:
        factor, shift = 0, 0
    products = np.abs(_codes(a_dtype).astype(np.int64)) * factor
    return products.astype(np.uint32), b.view(np.uint32), shift


def mul_ratio(a_scale: float, b_scale: float, y_scale: float) -> np.float32:
    """Return f(f(a_scale b_scale) / y_scale), infinite or denormal where that is so."""
    with np.errstate(over="ignore", under="ignore"):
        return np.float32(a_scale) * np.float32(b_scale) / np.float32(y_scale)


def mul_tables(
    a_zero: int,
    a_dtype: npt.DTypeLike,
    b_zero: int,
    b_dtype: npt.DTypeLike,
    ratio: np.float32,
    offset: int,
) -> Tables:
    """Return MUL's tables A and B by the raw byte and the field shift, for every pair of zeros.

    y = rint(f(f((a - a_zero) (b - b_zero) ratio) + offset)). Bits 0 to 7 of an entry are the size
    of a factor, bit 8 its sign; bits 16 to 31 of A are the upper half of the offset as binary32,
    bits 9 to 31 of B the ratio's fraction, whose power of two is in the shift.

    Products that are all below 2^-30 are 0: beside them f() leaves the offset as it is. Where the
    ratio is infinite, so is the offset: no product is finite.

    Parameters
    ----------
    ratio : not negative; infinite and denormal too.
    offset : -128 to 255.
    """
    fraction, exponent = math.frexp(float(ratio) if np.isfinite(ratio) else 0.0)
    significand, shift = int(fraction * (1 << 24)), exponent - 24
    factors = [_factors(a_dtype, a_zero), _factors(b_dtype, b_zero)]
    if not significand or shift < -71:
        factors, significand, shift = [np.zeros(256, np.uint32)] * 2, 1 << 23, 0
    added = np.float32(offset if np.isfinite(ratio) else np.inf)
    a = factors[0] | (added.view(np.uint32) & np.uint32(0xFFFF0000))
    b = factors[1] | np.uint32((significand - (1 << 23)) << 9)
    return a, b, shift


def _factors(dtype: npt.DTypeLike, zero: int) -> npt.NDArray[np.uint32]:
    """Return the distance of each code from a zero point, sign and magnitude."""
    real = _codes(dtype).astype(np.int64) - zero
    return (np.abs(real) | (real < 0) << 8).astype(np.uint32)


def sum_tables(first: Reals, second: Reals) -> Tables:
    """Return ADD's tables A and B and the field shift for the sum of any real functions of the raw
    bytes of both operands, finite and below 2^30, with unsigned x.

    A is exact to 2^-31 of the range of the first, B is rounded to binary32; both are exact where
    all values are integers of 9 bits.
    """
    low = first.min()
    shift = math.frexp(max(float(first.max() - low), 2.0**-40))[1] - 31
    a = np.rint((first - low) * 2.0**-shift) + (1 << 23)
    b = (second + low - 2.0 ** (shift + 23)).astype(np.float32)
    return np.minimum(a, (1 << 32) - 1).astype(np.uint32), b.view(np.uint32), shift


def factor_tables(
    factors: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], second: Reals
) -> Tables:
    """Return MUL's tables A and B and the field shift: integers of the first operand times a real
    function of the second, and integers of the first besides.

    A value of the second that is not 0 and less than 2^-8 of the largest becomes 0 or 2^-7 of the
    largest's power of two; all beyond 2^10 have the same products, which saturate.

    Parameters
    ----------
    factors, offsets : -255 to 255, by the raw byte.
    """
    size = np.minimum(np.abs(second), 2.0**10).astype(np.float32).astype(np.float64)
    top = math.frexp(max(float(size.max()), 2.0**-60))[1] - 8
    mantissa, exponent = np.frexp(size)
    place = exponent - 1 - top
    small = (place < 0) | (size == 0)
    magnitude = np.where(small, np.rint(size * 2.0**-top), 2.0 ** np.maximum(place, 0))
    significand = np.where(small, 1 << 23, mantissa * (1 << 24)).astype(np.int64)
    b = magnitude.astype(np.int64) | (second < 0) << 8 | (significand - (1 << 23)) << 9
    a = np.abs(factors) | (factors < 0) << 8 | offsets.astype(np.float32).view(np.uint32)
    return a.astype(np.uint32), b.astype(np.uint32), top - 23


def multiply(
    a: npt.NDArray[np.uint32], b: npt.NDArray[np.uint32], shift: int
) -> npt.NDArray[np.float32]:
    """Return what MUL makes of entries before it is rounded to integers."""
    first, second = (
        (word & 255).astype(np.int64) * np.where(word & 256, -1, 1) for word in (a, b)
    )
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        # The product has 40 bits: exact in a double.
        exact = np.ldexp((first * second * ((b >> 9) + (1 << 23))).astype(np.float64), shift)
        total = exact.astype(np.float32) + (a & np.uint32(0xFFFF0000)).view(np.float32)
    return np.asarray(total)


def multiply_add(x: npt.ArrayLike, y: npt.ArrayLike, z: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return x * y + z rounded once to binary32, of products exact in a double."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = np.asarray(x, np.float64) * np.asarray(y, np.float64)
        z = np.asarray(z, np.float64)
        total = np.asarray(product + z)
        # The sum's own rounding error, exactly (Knuth), then the sum rounded to odd instead of to
        # nearest: from there to binary32 nothing is rounded twice.
        back = total - product
        error = (product - (total - back)) + (z - back)
        inexact = np.isfinite(total) & (error != 0) & ((total.view(np.int64) & 1) == 0)
        odd = np.where(inexact, np.nextafter(total, np.copysign(np.inf, error)), total)
        return odd.astype(np.float32)


def _codes(dtype: npt.DTypeLike) -> npt.NDArray[np.float32]:
    """All values of an 8-bit type by their raw byte."""
    return np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)


def require_single(name: str, scale: float) -> np.float32:
    """Return a scale.

    Raises
    ------
    ValueError
        Where it is no positive normal binary32 number; names it.
    """
    limits = np.finfo(np.float32)
    if not float(limits.tiny) <= scale <= float(limits.max):
        raise ValueError(f"{name} is {scale}; legal: a positive normal binary32 number")
    return np.float32(scale)
