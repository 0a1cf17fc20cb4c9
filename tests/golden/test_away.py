# SPDX-License-Identifier: Apache-2.0
"""One rounding, halves away from zero: what the nodes mean, and that the encoding is the same."""

from types import SimpleNamespace

import numpy as np
import pytest

from kiwicha.golden.away import rounded_away
from kiwicha.golden.litert import dense
from kiwicha.golden.requantize import requantize
from kiwicha.machine.away import encode_division, encode_product
from kiwicha.machine.scales import quantize_multiplier

LOW, HIGH = -256, 255
MODES = ["tflite", "tflite-single"]
FURTHEST = 1 << 23
"""Sums of 500 products of the greatest operands; those of 4096 products as trained are less."""


def near_steps(scale, furthest=2**31 - 1):
    """Every sum next to which the result changes, and some others."""
    steps = np.rint((np.arange(LOW - 3, HIGH + 4) + 0.5) / scale)
    sums = (steps[:, None] + np.arange(-2, 3)).ravel()
    some = np.random.default_rng(0).integers(-furthest, furthest, 100)
    return np.clip(np.append(sums, some), -furthest, furthest).astype(np.int64)


@pytest.mark.parametrize("mode", MODES)
def test_products_are_encoded_exactly(mode):
    """Halves among them, of powers of two and of small fractions; the multiplier nearest to the
    scale is not always the one."""
    rng, moved = np.random.default_rng(1), 0
    scales = [*(2.0 ** -rng.integers(0, 20, 12)), *(rng.integers(1, 64, 60) / 2.0**12)]
    scales += [rng.uniform(0.5, 1) * 2.0**power for power in range(-36, 6) for _ in range(6)]
    for scale in scales:
        multiplier, shift = encode_product(mode, scale, LOW, HIGH, FURTHEST)
        acc = near_steps(scale, FURTHEST)
        found = requantize(acc, multiplier, shift, 0, LOW, HIGH, mode)
        np.testing.assert_array_equal(found, dense(acc, scale, 0, LOW, HIGH), f"{scale}")
        moved += int(multiplier) % 2**31 != quantize_multiplier(scale)[0]
    assert moved > 20


def test_bounds_narrow_what_must_be_right():
    for low, high in ((0, 255), (-255, 0), (-3, -1), (7, 90)):
        for scale in (0.013, 1e-12, 0.5, 3.0):
            multiplier, shift = encode_product("tflite", scale, low, high, FURTHEST)
            acc = near_steps(scale, FURTHEST)
            found = requantize(acc, multiplier, shift, 0, low, high, "tflite")
            np.testing.assert_array_equal(found, dense(acc, scale, 0, low, high))


@pytest.mark.parametrize("mode", MODES)
def test_averages_are_encoded_exactly(mode):
    for count in [*range(1, 130), 255, 256, 1000, 4096, 50_176]:
        multiplier, shift = encode_division(mode, 1 / count, -128, 127)
        acc = near_steps(1 / count)
        node = SimpleNamespace(
            kind="pool", scale64=1 / count, low=-128, high=127,
            y=SimpleNamespace(zero_point=0, dtype=np.int8, shape=acc.shape),
        )
        found = requantize(acc, multiplier, shift, 0, -128, 127, mode)
        np.testing.assert_array_equal(found, rounded_away(node, acc, ()), f"{count}")


def test_a_multiplier_may_have_too_few_bits():
    with pytest.raises(ValueError, match=r"no multiplier of 31 bits rounds like it$"):
        encode_product("tflite", 1.4058275907500734e-09, LOW, HIGH)


def test_several_scales_keep_their_places():
    scales = np.array([[0.5, 0.25, 0.5], [0.001, 0.5, 0.25]])
    multiplier, shift = encode_product("tflite", scales, -128, 127)
    assert multiplier.shape == shift.shape == scales.shape
    for place in np.ndindex(*scales.shape):
        assert (multiplier[place], shift[place]) == encode_product(
            "tflite", scales[place], -128, 127
        )


def test_other_modes_have_no_such_rounding():
    for mode in ("onnx", "shift"):
        with pytest.raises(ValueError, match=rf"take requantize_mode tflite.*, not {mode}$"):
            encode_product(mode, 0.5, -128, 127)
