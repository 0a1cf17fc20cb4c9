# SPDX-License-Identifier: Apache-2.0
"""i-GELU against the real GELU, and against a value worked out by hand."""

import math

import numpy as np
import pytest

from golden.gelu import gelu, gelu_table


def real_gelu(value):
    return value / 2 * (1 + math.erf(value / math.sqrt(2)))


@pytest.mark.parametrize("x_dtype,y_dtype", [(np.int8, np.int8), (np.uint8, np.int8)])
@pytest.mark.parametrize("x_scale", [0.001, 0.01, 0.02, 0.04, 0.1, 0.3])
def test_distance_from_real_numbers(x_dtype, y_dtype, x_scale):
    """I-BERT's parabola is within 0.019 of the real GELU; half a code of rounding comes on top."""
    x = np.arange(256, dtype=np.uint8).view(x_dtype)
    x_zero = int(np.median(x))
    real = np.array([real_gelu((int(code) - x_zero) * x_scale) for code in x])
    y_scale = (real.max() - real.min()) / 250
    y_zero = int(np.rint(-128 - real.min() / y_scale)) + 2
    codes = gelu(x, x_scale, x_zero, y_scale, y_zero, y_dtype).astype(int)
    assert np.abs((codes - y_zero) * y_scale - real).max() < 0.019 + y_scale / 2
    assert len(set(codes.tolist())) > 50


def test_far_from_zero_it_is_a_relu():
    codes = gelu_table(0.5, 0, np.int8, 0.5, 0, np.int8).view(np.int8)
    positive = np.arange(6, 128)
    assert np.array_equal(codes[positive], positive)
    assert not codes[128:251].any()


def test_by_hand():
    """One value, with the recipe's integers at x = 1.0: S = 2^-20, S' = S / 1.4142."""
    inner = 2.0**-20 / 1.4142
    b, c = math.floor(-1.769 / inner), math.floor(1 / -0.2888 / inner**2)
    erf = ((min(1 << 20, -b) + b) ** 2 + c) // (1 << 14)
    one = math.floor(1 / (-0.2888 * inner**2 * (1 << 14)))
    value = (1 << 20) * (erf + one) * 2.0**-20 * -0.2888 * inner**2 * (1 << 14) / 2
    code = gelu(np.array([16], np.int8), 1 / 16, 0, 1 / 4096, -3400, np.int8)[0]
    assert code == np.rint(value * 4096) - 3400
    assert abs(value - real_gelu(1.0)) < 0.01


def test_zero_points_and_types():
    signed = gelu_table(0.04, -10, np.int8, 0.02, -120, np.int8)
    unsigned = gelu_table(0.04, 118, np.uint8, 0.02, 8, np.uint8)
    x = np.arange(256)  # adding 128 to a byte is the same modulo 256 for either type
    signed = signed.astype(int)
    assert np.array_equal((signed[(x - 128) % 256] + 128) % 256, unsigned[x])


def test_refusals():
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"^x_scale is .*; legal: a positive finite number"):
            gelu_table(scale, 0, np.int8, 1.0, 0, np.int8)
        with pytest.raises(ValueError, match=r"^y_scale is .*; legal: a positive finite number"):
            gelu_table(1.0, 0, np.int8, scale, 0, np.int8)
    with pytest.raises(ValueError, match=r"^x_scale is 8192.0; legal: 2\^-40 to 2\^12"):
        gelu_table(8192.0, 0, np.int8, 1.0, 0, np.int8)
