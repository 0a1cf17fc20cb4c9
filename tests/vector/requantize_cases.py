# SPDX-License-Identifier: Apache-2.0
"""Operands that find faults in a requantizer: corners, ties and what almost is one."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "fixed_point_cases",
    "float_cases",
    "int32_corners",
    "power_grid",
    "random_int32",
    "sticky_cases",
]

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

    Half of the products lie within a few units in the last place of k + 1/2, or of that plus
    or minus a power of two: there the product, rounded to 24 bits, becomes a tie that it was not,
    and the third rounding shows it.
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
    near = (_near_halves(rng, count) / np.maximum(np.abs(acc), 1)).astype(np.float32)
    nudged = near.view(np.uint32).astype(np.int64) + rng.integers(-2, 3, count)
    return acc, np.where(rng.random(count) < 0.5, nudged, exponent << 23 | mantissa)


def fixed_point_cases(rng: np.random.Generator, count: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return accumulators, Q0.31 multipliers in [2^30, 2^31) and shifts -31 to 30, ties aplenty."""
    acc = random_int32(rng, count)
    q = rng.integers(1 << 30, 1 << 31, count)
    special = np.array([1 << 30, (1 << 30) + 1, 3 << 29, (1 << 31) - 1, (1 << 31) - 2])
    q = np.where(rng.random(count) < 0.4, rng.choice(special, count), q)
    magnitude = np.frexp(np.maximum(np.abs(acc), 1).astype(np.float64))[1]
    aimed = np.clip(rng.integers(-2, 11, count) - magnitude, -31, 30)
    shift = np.where(rng.random(count) < 0.6, aimed, rng.integers(-31, 31, count))
    # Products that the first rounding leaves at, or one unit beside, a tie of the second.
    right = rng.integers(1, 31, count)
    target = _near_halves(rng, count) * 2.0**right
    near_acc = np.floor(target * (1 + rng.random(count))) + 1
    near_q = np.rint((target + rng.choice([-1, -0.5, 0, 0.5, 1], count)) / near_acc * 2.0**31)
    near = (near_acc < 1 << 31) & (near_q >= 1 << 30) & (near_q < 1 << 31)
    near &= rng.random(count) < 0.5
    acc = np.where(near, near_acc * rng.choice([-1, 1], count), acc).astype(np.int64)
    return acc, np.where(near, near_q, q).astype(np.int64), np.where(near, -right, shift)


def power_grid(mode: str) -> tuple[IntArray, IntArray, IntArray]:
    """Return accumulators, multipliers and shifts, all powers of two: one bit decides each result.

    Every accumulator with every shift; ``onnx``: with the scales that bring it near the output.
    """
    powers = np.array([sign << k for k in range(32) for sign in (1, -1)][:-2] + [-(1 << 31)])
    if mode == "onnx":
        acc, place = (axis.ravel() for axis in np.meshgrid(powers, np.arange(-3, 13)))
        magnitude = np.frexp(np.abs(acc).astype(np.float64))[1].astype(np.int64) - 1
        return acc, (127 + place - magnitude) << 23, np.zeros_like(acc)
    shifts = np.arange(32) if mode == "shift" else np.arange(-31, 31)
    acc, shift = (axis.ravel() for axis in np.meshgrid(powers, shifts))
    return acc, np.full_like(acc, 1 << 30), shift


def sticky_cases(rng: np.random.Generator) -> tuple[IntArray, IntArray, IntArray]:
    """Return accumulators, scale bits and zero points (uint8) where one lowest bit decides.

    The 48-bit product is half way between two 24-bit numbers but for at most one bit below, found
    by inverting the scale's mantissa modulo a power of two; and the 24-bit number is, or becomes
    by that rounding, half way between two integers.
    """
    count = 1 << 22
    mantissa = rng.integers(1 << 22, 1 << 23, count) * 2 + 1
    inverse = mantissa
    for _ in range(4):
        inverse = inverse * (2 - mantissa * inverse) & 0xFFFFFF
    place = 22 + rng.integers(0, 2, count)
    bit = np.where(rng.random(count) < 0.1, 0, 1 << rng.integers(0, place))
    significand = ((1 << place) + bit) * inverse & ((2 << place) - 1) | (place == 22) << 23
    product = significand * mantissa
    top = product >> (place + 1)
    fraction, odd = top & 0xFFFF, top >> 16 & 1
    tie = ((fraction == 0x8000) | (fraction == 0x7FFF)) & (odd == 0)
    tie &= (product >> (24 + place) == 1) & (significand >= 1 << 23)
    significand, mantissa, place = significand[tie], mantissa[tie], place[tie]
    # Eight integer bits: 17 + place below them.
    bits = (150 - 17 - place) << 23 | mantissa & 0x7FFFFF
    negative = rng.integers(0, 2, len(bits))
    return np.where(negative, -significand, significand), bits, 255 * negative


def _near_halves(rng: np.random.Generator, count: int) -> npt.NDArray[Any]:
    # Small results more often than large ones: bits of every weight decide. A power of two beside
    # the tie breaks the run of equal bits below it at every place.
    whole = rng.integers(0, 1 << 9, count) >> rng.integers(0, 10, count)
    beside = rng.choice([-1, 0, 0, 1], count) * 2.0 ** -rng.integers(2, 24, count)
    return whole + 0.5 + beside
