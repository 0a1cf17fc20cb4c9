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
    powers = np.array([sign << k for k in range(32) for sign in (-1, 1)][:-1])
    if mode == "onnx":
        acc, place = (axis.ravel() for axis in np.meshgrid(powers, np.arange(-3, 13)))
        magnitude = np.frexp(np.abs(acc).astype(np.float64))[1].astype(np.int64) - 1
        return acc, (127 + place - magnitude) << 23, np.zeros_like(acc)
    shifts = np.arange(32) if mode == "shift" else np.arange(-31, 31)
    acc, shift = (axis.ravel() for axis in np.meshgrid(powers, shifts))
    return acc, np.full_like(acc, 1 << 30), shift


def sticky_cases() -> tuple[IntArray, IntArray, IntArray]:
    """Return accumulators, scale bits and uint8 zero points where one lowest bit decides.

    The 48-bit product is half way between two 24-bit numbers but for a single bit below, every
    place in turn; the lower of the two is itself half way between an even integer and the next.
    """
    left, right = np.array(_STICKY_FACTORS, np.int64).T
    significand, mantissa = np.append(left, right), np.append(right, left)
    product = significand * mantissa
    place = 22 + (product >> 47)
    number = product >> (place + 1)
    half = np.log2(number & -number).astype(np.int64)
    bits = (150 - (place + 2 + half)) << 23 | mantissa & 0x7FFFFF
    zeros = np.zeros_like(bits)
    return (
        np.append(significand, -significand),
        np.append(bits, bits),
        np.append(zeros, zeros + 255),
    )


#: Pairs of 24-bit numbers, found by factoring the products that ``sticky_cases`` describes.
_STICKY_FACTORS = [
    (0x9FF001, 0xA01001),
    (0xA5E2E7, 0xC021AE),
    (0x960C31, 0xA73344),
    (0x908519, 0xB83948),
    (0x85F8F8, 0xABF9BE),
    (0xA76732, 0x9F0A90),
    (0x9D0950, 0xBDEAF4),
    (0x9DB51E, 0xA11BC0),
    (0xE30408, 0x83F020),
    (0xB34E00, 0xA59E17),
    (0x862E8F, 0x81BC00),
    (0xAA095A, 0x9C9400),
    (0xAB3200, 0x869548),
    (0xA22B8E, 0x9F7000),
    (0xAD64B0, 0x998C00),
    (0x9C614E, 0xA5C000),
    (0xAB7000, 0x9B4C70),
    (0x9C9C9D, 0xAA0000),
    (0xAC0000, 0xACA6B3),
    (0x808000, 0x8F7090),
    (0x879700, 0x8C3000),
    (0x880000, 0xEB4B4C),
    (0xC01001, 0xBFF001),
    (0xFBAFE6, 0xD5993B),
    (0xD5036D, 0xF9F994),
    (0xB3C2A8, 0xD2C4FD),
    (0xDE3188, 0xEFA5A2),
    (0xE27260, 0x9C029B),
    (0xEADE14, 0xAA94D0),
    (0xBC8B80, 0xCA4EA7),
    (0xD9A900, 0xD15A99),
    (0xC8AE60, 0xD27BB0),
    (0xD09931, 0xFF4400),
    (0xD7E607, 0xBDB800),
    (0xB22800, 0xE5E91A),
    (0xE14040, 0xBF8080),
    (0xFEE000, 0xD4EF8E),
    (0xD968E7, 0xEB8000),
    (0xD6C584, 0xC84000),
    (0xED8000, 0xFA9C4C),
    (0xE48000, 0xB7BCC8),
    (0xF1D000, 0xEF4280),
    (0xF94000, 0xA45540),
    (0xC2C200, 0xD25000),
    (0xF60001, 0xC00000),
]


def _near_halves(rng: np.random.Generator, count: int) -> npt.NDArray[Any]:
    # Small results more often than large ones: bits of every weight decide. A power of two beside
    # the tie breaks the run of equal bits below it at every place.
    whole = rng.integers(0, 1 << 9, count) >> rng.integers(0, 10, count)
    beside = rng.choice([-1, 0, 0, 1], count) * 2.0 ** -rng.integers(2, 24, count)
    return whole + 0.5 + beside
