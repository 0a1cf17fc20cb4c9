# SPDX-License-Identifier: Apache-2.0
"""Operands that find faults in a requantizer: corners, ties and what almost is one."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["fixed_point_cases", "float_cases", "int32_corners", "random_int32"]

IntArray = npt.NDArray[np.int64]


def int32_corners() -> IntArray:
    """Powers of two, their neighbours of both signs, and values that binary32 has to round."""
    values = {0}
    for power in (1 << k for k in range(32)):
        values |= {power + d for d in (-3, -2, -1, 0, 1, 2, 3)}
        values |= {power + power // 2, power + (power >> 24), power + 3 * (power >> 25)}
    both = sorted({sign * value for value in values for sign in (1, -1)})
    return np.array([v for v in both if -(1 << 31) <= v < 1 << 31], np.int64)


def random_int32(rng: np.random.Generator, count: int) -> IntArray:
    """Corners, and every magnitude equally often, or saturated results would drown the others."""
    bits = rng.integers(1, 33, count)
    acc = rng.integers(-(1 << 31), 1 << 31, count) >> (32 - bits)
    corners = rng.permutation(int32_corners())[: count // 2]
    acc[: len(corners)] = corners
    rng.shuffle(acc)
    return acc


def float_cases(rng: np.random.Generator, count: int) -> tuple[IntArray, IntArray]:
    """Return ``count`` accumulators and bits of positive normal binary32 scales.

    A third of the products lie within a few units in the last place of k + 1/2: there the product,
    rounded to 24 bits, becomes a tie that it was not, and the third rounding shows it.
    """
    acc = random_int32(rng, count)
    magnitude = np.frexp(np.maximum(np.abs(acc), 1).astype(np.float64))[1]
    aimed = np.clip(127 - magnitude + rng.integers(-2, 11, count), 1, 254)
    exponent = np.where(rng.random(count) < 0.5, aimed, rng.integers(1, 255, count))
    mantissa = rng.integers(0, 1 << 23, count)
    special = np.array([0, 1, 2, (1 << 22) - 1, 1 << 22, (1 << 22) + 1, (1 << 23) - 1])
    mantissa = np.where(rng.random(count) < 0.3, rng.choice(special, count), mantissa)
    # Few significant bits: products that end exactly half way.
    mantissa = np.where(rng.random(count) < 0.2, mantissa & ~0x7FFFF, mantissa)
    near = (_halves(rng, count) / np.maximum(np.abs(acc), 1)).astype(np.float32)
    nudged = near.view(np.uint32).astype(np.int64) + rng.integers(-2, 3, count)
    return acc, np.where(rng.random(count) < 1 / 3, nudged, exponent << 23 | mantissa)


def fixed_point_cases(rng: np.random.Generator, count: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return accumulators, Q0.31 multipliers in [2^30, 2^31) and shifts -31 to 30, ties aplenty."""
    acc = random_int32(rng, count)
    q = rng.integers(1 << 30, 1 << 31, count)
    special = np.array([1 << 30, (1 << 30) + 1, 3 << 29, (1 << 31) - 1, (1 << 31) - 2])
    q = np.where(rng.random(count) < 0.4, rng.choice(special, count), q)
    magnitude = np.frexp(np.maximum(np.abs(acc), 1).astype(np.float64))[1]
    aimed = np.clip(rng.integers(-2, 11, count) - magnitude, -31, 30)
    shift = np.where(rng.random(count) < 0.6, aimed, rng.integers(-31, 31, count))
    fraction, exponent = np.frexp(_halves(rng, count) / np.maximum(np.abs(acc), 1))
    near = np.clip(np.rint(fraction * 2.0**31) + rng.integers(-2, 3, count), 1 << 30, (1 << 31) - 1)
    chosen = (rng.random(count) < 1 / 3) & (exponent >= -31)
    shift = np.where(chosen, exponent, shift)
    return acc, np.where(chosen, near, q).astype(np.int64), shift.astype(np.int64)


def _halves(rng: np.random.Generator, count: int) -> npt.NDArray[Any]:
    # Small results more often than large ones: bits of every weight decide.
    return (rng.integers(0, 1 << 9, count) >> rng.integers(0, 10, count)) + 0.5
