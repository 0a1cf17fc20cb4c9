# SPDX-License-Identifier: Apache-2.0
"""Tables for sums on VECTOR's way out: fixed-point numbers that give a runtime's sums, all of them.

VECTOR adds an entry for each operand and rounds (`round_sums`): it knows neither scales nor the
runtime. Whether two tables give the runtime's result is tried for all pairs of bytes.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from kiwicha.machine.pair_tables import multiply_add

__all__ = ["FRACTION", "fixed_tables", "multiplied_sums", "pair_sums", "round_sums"]

FRACTION: Final = 20
"""Fractional bits of an entry, which is an int32: values from -2048 to 2048."""

_MOST_NUDGED = 256  # pairs that are looked at one by one
_FARTHEST = 24  # units that an entry is moved
_TRIALS = 16

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]


def round_sums(total: Integers) -> Integers:
    """Return sums of `FRACTION` fractional bits as integers, rounded as binary32 sums are.

    With h for the nearest number n + 1/2 and 2^k for the power of two at or below its magnitude,
    binary32 has the multiples of 2^(k-23) there: what is within half of that of h becomes h, and h
    the even one of n and n + 1. All else is rounded to nearest. The distance is looked at in units
    of the last place: -2^(k-24) counts as within, 2^(k-24) does not, and where that is less than a
    unit, only h itself is h. From 2^7 on k counts as 7: no result is beyond.
    """
    whole = total >> FRACTION
    distance = total - (whole << FRACTION) - (1 << (FRACTION - 1))
    magnitude = np.where(whole < 0, ~whole, whole)
    near = distance == 0
    for k in range(24 - FRACTION, 8):
        reach = 1 << (k - 24 + FRACTION)
        near |= (magnitude >= 1 << k) & (distance >= -reach) & (distance < reach)
    return whole + np.where(near, whole & 1, distance >= 0)


def pair_sums(first: Reals, second: Reals, zero_point: int, low: int, high: int) -> Integers:
    """Return clamp(rint(f(first + second)) + zero_point) of all pairs, as SPECIAL's ADD has it.

    Parameters
    ----------
    first, second : of n and m values; exact in binary64 and in binary32.
    """
    total = multiply_add(first[:, None], 1, second[None, :])
    integers = np.where(np.abs(total) < 2.0**31, np.rint(total), -(2.0**31)).astype(np.int64)
    return np.clip(integers + zero_point, low, high)


def multiplied_sums(
    first: Integers, second: Integers, multiplier: int, shift: int, zero_point: int, low: int,
    high: int,
) -> Integers:
    """Return the same with TFLite's fixed point: what SPECIAL's ADD makes with a multiplier.

    The product with the multiplier is rounded half up, what a negative shift takes off it half
    away from zero; sums times 2^shift fit int32.
    """
    wide = (first[:, None] + second) << max(shift, 0)
    rounded = (wide * multiplier + (1 << 30)) >> 31
    half = (1 << -shift) >> 1 if shift < 0 else 0
    rounded = (rounded + half - ((rounded < 0) & (shift < 0))) >> max(-shift, 0)
    return np.clip(rounded + zero_point, low, high)


def fixed_tables(
    first: Reals, second: Reals, zero_point: int, low: int, high: int,
    wanted: Integers | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
    """Return tables A and B by the raw byte, with which VECTOR makes ``wanted`` of every pair.

    None where none were found: of values beyond 2048, and of many exact halves that are not rounded
    to even numbers.

    Parameters
    ----------
    first, second : values of 256 bytes each.
    wanted : clamped codes [first, second]; `pair_sums` if left out.
    """
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    if wanted is None:
        wanted = pair_sums(first, second, zero_point, low, high)
    rng = np.random.default_rng(1)
    middle = np.rint((first.max() + first.min()) / 2)
    for trial in range(_TRIALS):
        # What one table has more, the other has less: as many ways to round both.
        more = -middle + (rng.uniform(-1, 1) * 2.0**-FRACTION if trial else 0.0)
        a, b = _fixed(first + more), _fixed(second + (zero_point - more))
        if _agree(a, b, wanted, low, high):
            return a.astype(np.int32), b.astype(np.int32)
    return None


def _fixed(values: Reals) -> Integers:
    whole = np.rint(values * 2.0**FRACTION)
    return np.clip(whole, -(2.0**31), 2.0**31 - 1).astype(np.int64)


def _agree(a: Integers, b: Integers, wanted: Integers, low: int, high: int) -> bool:
    """Whether all pairs are right, with a few entries, changed in place, a little off."""

    def wrong(rows: slice, columns: slice) -> NDArray[np.bool_]:
        made = np.clip(round_sums(a[rows, None] + b[columns]), low, high)
        return np.asarray(made != wanted[rows, columns])

    every = slice(None)
    bad = np.argwhere(wrong(every, every))
    if len(bad) > _MOST_NUDGED:
        return False
    for x, z in bad:
        row, column = slice(x, x + 1), slice(z, z + 1)
        for table, place, line in ((a, x, (row, every)), (b, z, (every, column))):
            if not wrong(row, column).any():
                break
            before = table[place]
            for step in range(1, 2 * _FARTHEST + 1):
                table[place] = before + (step + 1) // 2 * (1 if step % 2 else -1)
                if not wrong(*line).any():
                    break
                table[place] = before
    return not wrong(every, every).any()
