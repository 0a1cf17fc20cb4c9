# SPDX-License-Identifier: Apache-2.0
"""The tables of SPECIAL: what they promise to the hardware, and what they refuse.

That they give the operators' results is tested in tests/golden/test_special.py.
"""

import math
from fractions import Fraction

import numpy as np
import pytest

from kiwicha.machine.pair_tables import add_tables, mul_tables, multiply_add
from kiwicha.machine.tables import softmax_tables

TINY = float(np.finfo(np.float32).tiny)


def singles(bits):
    return bits.view(np.float32).astype(np.float64)


@pytest.mark.parametrize("length", [2, 64, 4096, 60593])
@pytest.mark.parametrize("x_scale", [TINY, 0.02, 0.6, 0.7, 3.0, 1e30])
def test_softmax_onnx_entries(x_scale, length):
    a, b = softmax_tables("onnx", x_scale, length)
    assert a.dtype == b.dtype == np.uint32
    for table in (singles(a), singles(b)):
        assert table.shape == (256,)
        assert np.all((table == 0) | (table >= TINY))
        assert np.isfinite(table).all()
        assert np.all(np.diff(table) <= 0)
    assert singles(a)[0] >= 2.0**104
    assert singles(a)[0] * length < float(np.finfo(np.float32).max)
    assert np.array_equal(singles(b)[singles(a) > 0], singles(a)[singles(a) > 0] * 256)
    expected = singles(a)[0] * np.exp(-x_scale * np.arange(256))
    kept = singles(a) > 0
    assert np.allclose(singles(a)[kept], expected[kept], rtol=1e-5, atol=0)


@pytest.mark.parametrize("x_scale", [1.5e-8, 1e-4, 0.013, 0.1, 0.5, 3.0, 100.0])
def test_softmax_tflite_entries(x_scale):
    a, b = softmax_tables("tflite", x_scale, 4095)
    assert (a[0], b[0]) == (1 << 19, (1 << 31) - 1)
    exact = np.exp(-float(np.float32(x_scale)) * np.arange(256))
    left_out = x_scale * np.arange(256) >= 31
    assert not b[left_out].any()
    assert np.abs(b / 2.0**31 - exact).max() < 2.5e-7
    assert np.array_equal(a, (b.astype(np.int64) + 2048) >> 12)


@pytest.mark.parametrize("x_scale", [2.0**-30, 1e-4, 0.013, 0.1, 0.5, 3.0, 1000.0])
def test_softmax_integer_entries(x_scale):
    a, b = softmax_tables("integer", x_scale, 65535)
    assert a[0] == 32767
    assert np.array_equal(a, b)
    exact = np.exp(-float(np.float32(x_scale)) * np.arange(256))
    assert np.abs(a / 32767 - exact).max() < 0.002


def test_softmax_refusals():
    for mode, longest in (("onnx", 60593), ("tflite", 4095), ("integer", 65535)):
        for length in (0, longest + 1):
            text = rf"^a row has {length} elements; legal in mode {mode}: 1 to {longest}$"
            with pytest.raises(ValueError, match=text):
                softmax_tables(mode, 0.1, length)
        for scale in (0.0, -0.5, TINY / 2, 1e39, math.inf, math.nan):
            with pytest.raises(ValueError, match=r"^x_scale is .*; legal: a positive normal"):
                softmax_tables(mode, scale, 8)
            with pytest.raises(ValueError, match=r"^y_scale is .*; legal: a positive normal"):
                softmax_tables(mode, 0.1, 8, scale)
    with pytest.raises(ValueError, match=r"^y_scale is 0.00390625; too small for a row of 1 "):
        softmax_tables("onnx", 0.1, 1)
    for mode in ("tflite", "integer"):
        with pytest.raises(ValueError, match=rf"^y_scale is 0.01; legal in mode {mode}: 1/256"):
            softmax_tables(mode, 0.1, 8, 0.01)
    with pytest.raises(ValueError, match=r"legal in mode tflite: above 2\^-26"):
        softmax_tables("tflite", 2.0**-26, 8)
    with pytest.raises(ValueError, match=r"legal in mode integer: 2\^-30 to 2\^16"):
        softmax_tables("integer", 2.0**18, 8)
    with pytest.raises(ValueError, match="is not a valid SoftmaxMode"):
        softmax_tables("float", 0.1, 8)


def round_to_single(value):
    """Round a rational half to even to 24 bits, by comparing with the neighbours."""
    near = np.float32(float(value))
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    return min(around, key=lambda s: (abs(Fraction(float(s)) - value), int(s.view(np.uint32)) & 1))


def test_multiply_add_rounds_once():
    rng = np.random.default_rng(51)
    x = rng.integers(-128, 256, 20_000)
    y = np.exp(rng.normal(0, 3, len(x))).astype(np.float32)
    z = (rng.normal(0, 100, len(x)) * 2.0 ** rng.integers(-40, 40, len(x))).astype(np.float32)
    # Sums beside a tie between two binary32 numbers, whose difference only the last bit shows.
    x[::2], y[::2] = 1, 1
    z[::4] = 2.0**-24 * (1 + 2.0**-23)
    z[2::4] = -(2.0**-25) * (1 - 2.0**-23)
    found = multiply_add(x, y, z)
    for index in range(len(x)):
        exact = int(x[index]) * Fraction(float(y[index])) + Fraction(float(z[index]))
        assert found[index] == round_to_single(exact)
    twice = x.astype(np.float32) * y + z
    assert np.any(twice != found)


def test_multiply_add_where_a_double_rounds_twice():
    # 1 + 2^-24 + 2^-60 in double is the tie 1 + 2^-24, which would go down to 1.
    assert multiply_add(1, 1 + 2.0**-24, 2.0**-60) == np.nextafter(np.float32(1), np.float32(2))
    assert multiply_add(1, 1 + 2.0**-24, -(2.0**-60)) == 1
    assert multiply_add(1, 1 + 3 * 2.0**-24, -(2.0**-60)) == 1 + 2.0**-23
    assert multiply_add(-1, 1 + 2.0**-24, -(2.0**-60)) == -1 - 2.0**-23


RATIOS = [0.3, 1.0, 0.06 / 0.02, 2.0**-47, 2.0**-49, 2.0**-149, 2.0**40, 2.0**126]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("ratio", RATIOS)
def test_add_entries_are_the_products(ratio, dtype):
    y_scale = 1.0 if ratio > TINY else 2.0**100
    a, b, shift = add_tables(ratio * y_scale, 3, dtype, 1.0, -4, dtype, y_scale, 5)
    assert a.dtype == b.dtype == np.uint32
    assert -128 <= shift <= 127
    codes = [int(code) for code in np.arange(256, dtype=np.uint8).view(dtype)]
    exact = [abs(code) * Fraction(float(np.float32(ratio))) for code in codes]
    if max(exact) < Fraction(1, 1 << 40):
        assert not a.any()
    else:
        assert [int(entry) * Fraction(2) ** shift for entry in a] == exact
        assert all(entry >= 1 << 23 for entry, code in zip(a, codes, strict=True) if code)
    fixed = multiply_add(ratio, 3, np.float32(1 / y_scale) * -4)
    expected = multiply_add(codes, np.float32(1 / y_scale), 5 - fixed)
    assert np.array_equal(b, expected.view(np.uint32))


def test_add_products_that_vanish_do_not_matter():
    """Just below 2^-40, beside sums that are a half and the numbers next to it."""
    a = 255 * Fraction(float(np.nextafter(np.float32(2.0**-48), np.float32(0))))
    for code in range(-128, 256):
        half = np.float32(code - 0.5)
        for b in (half, np.nextafter(half, np.float32(-999)), np.nextafter(half, np.float32(999))):
            for product in (a, -a):
                assert round_to_single(Fraction(float(b)) + product) == b


def test_add_ratios_that_overflow():
    """No sum is finite: infinity, or the difference of two."""
    for a_scale, b_scale in ((8.0, 1e-30), (1e-30, 8.0), (8.0, 8.0)):
        for b_zero in (0, 4):
            _, b, _ = add_tables(a_scale, 3, np.int8, b_scale, b_zero, np.int8, TINY, 5)
            assert not np.isfinite(singles(b)).any()


def test_differences():
    a, b, shift = add_tables(0.5, 3, np.int8, -0.25, 4, np.uint8, 1.0, 0)
    codes = np.arange(256, dtype=np.uint8)
    real = np.arange(256)[:, None].astype(np.uint8).view(np.int8) * 0.5 - 1.5 - (codes - 4.0) / 4
    signs = np.where(codes > 127, -1.0, 1.0)
    made = (signs * a * 2.0**shift)[:, None] + singles(b)
    assert np.array_equal(made, real)


@pytest.mark.parametrize("ratio", [0.0, 1e-40, 1e-20, 1e-3, 1.0, 3e9, 3e38, math.inf])
def test_mul_tables_hold_factors_ratio_and_offset(ratio):
    ratio = np.float32(ratio)
    a, b, shift = mul_tables(-128, np.int8, 200, np.uint8, ratio, -77)
    offset = singles(a & np.uint32(0xFFFF0000))
    assert np.array_equal(offset, np.full(256, -77 if np.isfinite(ratio) else np.inf, np.float32))
    first, second = (np.where(word & 256, -1.0, 1.0) * (word & 255) for word in (a, b))
    made = ((b >> 9) + (1 << 23)).astype(float) * 2.0**shift
    if 1e-14 < ratio < math.inf:
        assert np.array_equal(first, np.arange(256, dtype=np.uint8).view(np.int8) + 128.0)
        assert np.array_equal(second, np.arange(256) - 200.0)
        assert (made == ratio).all()
    elif ratio < 1:
        assert (np.abs(first[:, None] * second * made) < 2.0**-30).all()
    assert -128 <= shift <= 119


def test_add_refusals():
    rest = (3, np.int8, 0.3, 4, np.int8, 0.3, 5)
    for scale in (0.0, -0.5, TINY / 2, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"^a_scale is .*; legal: a positive normal"):
            add_tables(scale, *rest)
        if scale != -0.5:  # a difference
            with pytest.raises(ValueError, match=r"^b_scale is .*; legal: a positive normal"):
                add_tables(0.1, 3, np.int8, scale, 4, np.int8, 0.1, 5)
        with pytest.raises(ValueError, match=r"^y_scale is .*; legal: a positive normal"):
            add_tables(0.1, 3, np.int8, 0.1, 4, np.int8, scale, 5)
