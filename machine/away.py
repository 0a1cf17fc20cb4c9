# SPDX-License-Identifier: Apache-2.0
"""Roundings of one step, halves away from zero, as the fields of a fixed-point requantizer.

Where a product with a multiplier of 31 bits ends on the other side of a half than the number that
the multiplier stands for, a neighbour of it does not: both are step functions of the sum, and they
are the same function where their steps are at the same sums. So the encoding is exact for every
sum that a layer can have, and ties need no hardware.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.scales import ONCE, quantize_multiplier

__all__ = ["encode_division", "encode_product"]

_TRIED = 16  # neighbours of the multiplier, to either side

Rounding = Callable[[NDArray[np.int64]], NDArray[Any]]
"""Non-decreasing: what a sum becomes."""


def encode_product(
    mode: RequantizeMode | str, scale64: Any, low: int, high: int, furthest: int = 1 << 31
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return multiplier and shift of ``round(acc * scale64)``, the product in binary64.

    Parameters
    ----------
    scale64 : positive, one or more; results have its shape.
    low, high : the results that must be right, inclusive; all below and above end at these bounds.
    furthest : greatest magnitude of a sum.

    Raises
    ------
    ValueError
        For a mode without such a rounding, or a number for which there is none.
    """
    def rounding(scale: float) -> Rounding:
        def rounded(acc: NDArray[np.int64]) -> NDArray[Any]:
            real = acc * scale
            whole = np.floor(np.abs(real))
            return np.copysign(whole + (np.abs(real) - whole >= 0.5), real)

        return rounded

    return _each(mode, np.asarray(scale64, np.float64), low, high, furthest, rounding)


def encode_division(
    mode: RequantizeMode | str, scale64: Any, low: int, high: int, furthest: int = 1 << 31
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the same of ``round(acc / count)``; ``scale64`` is ``1 / count``, which is whole."""
    def rounding(scale: float) -> Rounding:
        count = round(1 / scale)

        def rounded(acc: NDArray[np.int64]) -> NDArray[Any]:
            return np.sign(acc) * ((np.abs(acc) + count // 2) // count)

        return rounded

    return _each(mode, np.asarray(scale64, np.float64), low, high, furthest, rounding)


def _each(
    mode: RequantizeMode | str, scales: NDArray[np.float64], low: int, high: int, furthest: int,
    rounding: Callable[[float], Rounding],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    mode = RequantizeMode(mode)
    if mode not in (RequantizeMode.TFLITE, RequantizeMode.TFLITE_SINGLE):
        raise ValueError(
            f"halves away from zero take requantize_mode tflite or tflite-single, not {mode.value}"
        )
    flag = ONCE if mode is RequantizeMode.TFLITE else 0
    unique, places = np.unique(scales, return_inverse=True)
    pairs = np.array(
        [_encode(scale, low, high, furthest, rounding(scale)) for scale in map(float, unique)],
        np.int64,
    )
    multiplier, shift = pairs[places.reshape(-1)].T
    return (multiplier | flag).reshape(scales.shape), shift.reshape(scales.shape)


def _encode(
    scale: float, low: int, high: int, furthest: int, rounded: Rounding
) -> tuple[int, int]:
    """Return a multiplier and a shift whose steps are those of ``rounded``."""
    results = np.arange(low + 1, high + 1)
    wanted = _steps(results, scale, furthest, rounded)
    if np.array_equal(wanted, np.where(results > 0, furthest + 1, -furthest)):
        return 0, 0  # every sum becomes 0
    first, shift = quantize_multiplier(scale)
    # Only these can make a difference, and what stands for all beyond.
    kept = np.flatnonzero((wanted > -furthest) & (wanted <= furthest))
    kept = np.unique(np.clip([kept.min() - 1, *kept, kept.max() + 1], 0, len(results) - 1))
    for multiplier in _near(first):
        made = [-(-((2 * int(k) - 1) << (30 - shift)) // multiplier) for k in results[kept]]
        if np.array_equal(np.clip(np.array(made, object), -furthest, furthest + 1), wanted[kept]):
            return multiplier, shift
    raise ValueError(f"scale is {scale}; no multiplier of 31 bits rounds like it")


def _near(first: int) -> Iterator[int]:
    for distance in range(_TRIED + 1):
        for multiplier in {first + distance, first - distance}:
            if 1 << 30 <= multiplier < 1 << 31:
                yield multiplier


def _steps(
    results: NDArray[np.int64], scale: float, furthest: int, rounded: Rounding
) -> NDArray[np.int64]:
    """Return the least sum that becomes each result or more, from -furthest to furthest + 1."""
    sums = np.clip(np.ceil((results - 0.5) / scale), -furthest - 2, furthest + 2).astype(np.int64)
    for _ in range(4):
        sums -= rounded(sums - 1) >= results
        sums += rounded(sums) < results
    return np.clip(sums, -furthest, furthest + 1)
