# SPDX-License-Identifier: Apache-2.0
"""Scales encoded for each mode: published examples, ranges, and what is refused."""

import numpy as np
import pytest

from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.scales import encode_scale, quantize_multiplier


def test_quantize_multiplier_published_examples():
    assert quantize_multiplier(1 / 3) == (1431655765, -1)
    assert quantize_multiplier(0.5) == (1 << 30, 0)
    assert quantize_multiplier(2.0**-7) == (1 << 30, -6)
    assert quantize_multiplier(1 - 2.0**-40) == (1 << 30, 1)
    assert quantize_multiplier(2.0**-32) == (1 << 30, -31)
    assert quantize_multiplier(2.0**-33) == (0, 0)


def test_encode_scale():
    assert encode_scale("onnx", np.float32(1.5)) == (0x3FC00000, 0)
    assert encode_scale(RequantizeMode.TFLITE, 1 / 3) == (1431655765, -1)
    assert encode_scale("tflite-single", 2.0**40) == ((1 << 31) - 1, 30)
    assert encode_scale("shift", 2.0**-31) == (0, 31)
    multiplier, shift = encode_scale("shift", np.array([[1.0, 0.25]]))
    assert multiplier.tolist() == [[0, 0]]
    assert shift.tolist() == [[0, 2]]
    multiplier, shift = encode_scale("onnx", np.array([0.5, 2.0], np.float32))
    assert multiplier.tolist() == [126 << 23, 128 << 23]
    assert shift.tolist() == [0, 0]


def test_only_the_modes_of_tflite_take_binary64():
    factors = np.float32(0.1), np.float32(0.3), np.float32(0.7)
    single = factors[0] * factors[1] / factors[2]
    double = float(factors[0]) * float(factors[1]) / float(factors[2])
    assert quantize_multiplier(double) != quantize_multiplier(float(single))
    for mode in ("tflite", "tflite-single"):
        assert encode_scale(mode, single, double) == quantize_multiplier(double)
    assert encode_scale("onnx", single, double) == encode_scale("onnx", single)
    assert encode_scale("shift", 0.5, double) == (0, 1)


@pytest.mark.parametrize(
    "mode,scale,message",
    [
        ("onnx", 1 / 3, r"legal in mode onnx: a normal binary32 number$"),
        ("onnx", float("nan"), r"^scale is nan; legal: a positive finite number$"),
        ("tflite", 0.0, r"^scale is 0.0; legal: a positive finite number$"),
        ("tflite", 2.0**30, r"legal in mode tflite: below 2\^30$"),
        ("shift", 0.3, r"legal in mode shift: a power of two, 2\^-31 to 1$"),
        ("shift", 2.0, r"legal in mode shift: a power of two, 2\^-31 to 1$"),
        ("bogus", 1.0, r"'bogus' is not a valid RequantizeMode"),
    ],
)
def test_encode_scale_refuses(mode, scale, message):
    with pytest.raises(ValueError, match=message):
        encode_scale(mode, scale)


@pytest.mark.parametrize("scale", [0.0, -0.5, np.nan, np.inf, 1e-39])
def test_onnx_takes_positive_normal_numbers(scale):
    with pytest.raises(ValueError, match=r"^scale is "):
        encode_scale("onnx", np.float32(scale))
