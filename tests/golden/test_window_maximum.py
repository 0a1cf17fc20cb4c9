# SPDX-License-Identifier: Apache-2.0
"""Windows of accumulators against loops, and that a maximum may be taken before requantizing."""

import numpy as np
import pytest

from kiwicha.golden.requantize import requantize, requantize_onnx_integer
from kiwicha.golden.window_maximum import window_entries, window_maximum
from kiwicha.machine.modes import RequantizeMode

from ..vector.requantize_cases import fixed_point_cases, float_cases, random_int32


@pytest.mark.parametrize("seed", range(6))
def test_windows_against_loops(seed):
    rng = np.random.default_rng(seed)
    rows, columns, pixels, lines = (int(n) for n in rng.integers(1, 5, 4))
    pixel, line, row, first = (int(n) for n in rng.integers(0, 20, 4))
    accumulator = rng.integers(-(1 << 31), 1 << 31, (200, 3)).astype(np.int32)
    window = {"rows": rows, "columns": columns, "pixel_entries": pixel, "line_entries": line}
    found = window_maximum(accumulator, window_entries(first, pixels, lines, window, row))
    assert found.shape == (lines * pixels, 3)
    for place in range(lines * pixels):
        corner = first + place // pixels * line + place % pixels * pixel
        for channel in range(3):
            assert found[place, channel] == max(
                int(accumulator[corner + r * row + c, channel])
                for r in range(rows) for c in range(columns)
            )


def cases(mode, rng, count):
    """Return accumulators, a multiplier and a shift each; corners of scales among them."""
    if mode is RequantizeMode.ONNX:
        total, multiplier = float_cases(rng, count)
        return total, multiplier, np.zeros(len(total), np.int64)
    if mode is RequantizeMode.SHIFT:
        return random_int32(rng, count), np.zeros(count, np.int64), rng.integers(0, 32, count)
    total, multiplier, shift = fixed_point_cases(rng, count)
    multiplier = np.where(rng.random(len(multiplier)) < 0.05, 0, multiplier)
    return total, multiplier, np.clip(shift, -31, 30)


@pytest.mark.parametrize("mode", RequantizeMode)
def test_the_maximum_of_codes_is_the_code_of_the_maximum(mode):
    """Neighbours, values at ties and corners of int32, in every mode; clamped and not."""
    rng = np.random.default_rng(9)
    total, multiplier, shift = cases(mode, rng, 20000)
    total, multiplier, shift = (np.asarray(a, np.int64) for a in (total, multiplier, shift))
    if mode in (RequantizeMode.TFLITE, RequantizeMode.TFLITE_SINGLE):
        legal = (multiplier == 0) | ((multiplier >= 1 << 30) & (multiplier < 1 << 31))
        total, multiplier, shift = total[legal], multiplier[legal], shift[legal]
    other = np.where(
        rng.random(total.size) < 0.6, total + rng.integers(-3, 4, total.size),
        rng.choice([-(1 << 31), -1, 0, 1, (1 << 31) - 1], total.size),
    )
    pair = np.clip(np.stack([total, other]), -(1 << 31), (1 << 31) - 1)

    def codes(acc, low, high, zero):
        if mode is RequantizeMode.ONNX:  # zero, denormal and infinite scales too
            return requantize_onnx_integer(acc, multiplier, zero, low, high)
        return requantize(acc, multiplier, shift, zero, low, high, mode)

    bounds = [(-128, 127, 3), (0, 255, 0), (0, 255, 255), (-5, -5, -128), (17, 90, 1)]
    for low, high, zero in bounds:
        np.testing.assert_array_equal(
            codes(pair, low, high, zero).max(axis=0), codes(pair.max(axis=0), low, high, zero)
        )


def test_a_bias_that_wraps_does_not_commute():
    """Which the compiler therefore excludes."""
    acc, bias = np.array([(1 << 31) - 1, 0]), 1
    each = requantize(acc, 0, 0, 0, -128, 127, RequantizeMode.SHIFT, bias=bias)
    both = requantize(acc.max(), 0, 0, 0, -128, 127, RequantizeMode.SHIFT, bias=bias)
    assert each.max() != both
