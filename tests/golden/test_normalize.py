# SPDX-License-Identifier: Apache-2.0
"""Integer layer normalization: the recipe in Python's integers, and its distance from real numbers.

The float reference is LayerNormalization in double precision followed by QuantizeLinear.
"""

from math import isqrt

import numpy as np
import pytest

from kiwicha.golden.normalize import normalize, normalize_rows
from kiwicha.machine.tables import normalize_epsilon, normalize_parameters

LENGTHS = (1, 2, 3, 4, 7, 16, 64, 256, 768, 1024, 4096)


def fits(value, bits, signed):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    assert low <= value <= high, f"{value} has more than {bits} bits"
    return value


def one_row(x, gains, offsets, shift, epsilon, zero_point, low, high, x_zero=None):
    """The table of `golden.normalize` line by line, widths checked."""
    n, centred = len(x), x_zero is None
    if not centred:
        x = [fits(value - x_zero, 9, True) for value in x]
    total = fits(sum(x), 20, True) if centred else 0
    squares = fits(sum(value * value for value in x), 27 if centred else 28, False)
    fits(n * squares, 39 if centred else 40, False)
    fits(total * total, 39, False)
    w = fits(n * squares - total * total, 38 if centred else 40, False)
    v = fits((256 if centred else 64) * w + fits(epsilon, 32, False), 46, False)
    s = (48 - v.bit_length()) // 2
    root = fits(isqrt(v << 2 * s), 24, False)
    f = fits((1 << 47) // root if root else 0, 25, False)
    f = f if centred else min(f, (1 << 24) - 1)
    codes = []
    for j, value in enumerate(x):
        d = fits(n * value - total, 21, True)
        u = fits((d * f) >> (27 - s if centred else 28 - s), 23, True)
        p = fits(u * fits(gains[j], 24, True), 46, True)
        y = (fits((p >> shift) + fits(offsets[j], 32, True), 47, True) >> 16) + zero_point
        codes.append(min(max(y, low), high))
    return codes


def rows_of(kind, rng, count, n):
    if kind == "normal":
        x = np.clip(np.rint(rng.normal(5, 30, (count, n))), -128, 127)
    elif kind == "uniform":
        x = rng.integers(-128, 128, (count, n))
    elif kind == "hot":
        x = np.where(rng.random((count, n)) < 1.5 / n, rng.integers(-128, 128, (count, n)), -128)
        x[0] = np.where(np.arange(n) == n // 2, 127, -128)
        x[1] = np.where(np.arange(n) % 2, 127, -128)
        x[2] = 17
    else:
        x = rng.integers(-1, 1, (count, n))
    return x.astype(np.int8)


@pytest.mark.parametrize("n", LENGTHS)
def test_recipe(n):
    rng = np.random.default_rng([31, n])
    for kind in ("normal", "hot", "nearly equal"):
        x = rows_of(kind, rng, 4 if n > 1000 else 12, n)
        gains = rng.integers(-(1 << 23), 1 << 23, n).astype(np.int32)
        offsets = rng.integers(-(1 << 31), 1 << 31, n).astype(np.int32)
        if kind == "hot":
            gains[: n // 2 + 1] = -(1 << 23)
        for shift, epsilon, zero_point, low, high in (
            (0, 0, 0, -128, 127), (17, 1, -7, -128, 127), (20, 12345, 131, 0, 255),
            (31, (1 << 32) - 1, 3, -20, 30),
        ):
            rest = (shift, epsilon, zero_point, low, high)
            for zero in (None, -128, 0, 127):
                expected = [
                    one_row(r, gains.tolist(), offsets.tolist(), *rest, zero) for r in x.tolist()
                ]
                found = normalize_rows(x, gains, offsets, *rest, zero)
                assert np.array_equal(found, expected)


def test_one_peak_of_the_longest_row_fits():
    """Its root is a power of two, and the element 64 of them; and the widest of all rows."""
    x = np.zeros((5, 4096), np.int8)
    for row, peak in enumerate((64, -64, 1, 127)):
        x[row, 4095] = peak
    x[4] = 127
    gains, offsets = np.full(4096, (1 << 23) - 1), np.zeros(4096, np.int64)
    for zero in (0, -128):
        for epsilon in (0, (1 << 32) - 1):
            rest = (20, epsilon, 0, -128, 127, zero)
            expected = [one_row(r, gains.tolist(), offsets.tolist(), *rest) for r in x.tolist()]
            assert np.array_equal(normalize_rows(x, gains, offsets, *rest), expected)


def real_normalize(x, gamma, beta, y_scale, x_scale, epsilon, x_zero):
    value = x.astype(np.float64) * x_scale
    mean = value.mean(axis=-1, keepdims=True) if x_zero is None else x_zero * x_scale
    centred = value - mean
    variance = (centred * centred).mean(axis=-1, keepdims=True) + epsilon
    with np.errstate(invalid="ignore"):
        unit = np.where(variance > 0, centred / np.sqrt(variance), 0)
    return (unit * gamma + beta) / y_scale


@pytest.mark.parametrize("x_zero", [None, 0, -100])
@pytest.mark.parametrize("kind", ["normal", "uniform", "hot", "nearly equal"])
@pytest.mark.parametrize("n", LENGTHS)
def test_distance_from_real_numbers(n, kind, x_zero):
    """At most one code, in at most 1 of 1000 elements, all of them next to a half."""
    rng = np.random.default_rng([32, n, len(kind)])
    x = rows_of(kind, rng, max(8, 40_000 // n), n)
    gamma, beta = rng.normal(1, 0.3, n), rng.normal(0, 0.5, n)
    reach = np.sqrt(n) if kind == "hot" else 4
    y_scale = 1.3 * reach / 127
    for x_scale, epsilon in ((0.05, 1e-5), (0.01, 1e-12), (1.0, 0.0)):
        y = normalize(
            x, gamma, beta, y_scale, 3, np.int8, x_scale=x_scale, epsilon=epsilon, x_zero=x_zero
        )
        real = real_normalize(x, gamma, beta, y_scale, x_scale, epsilon, x_zero)
        difference = np.abs(y - np.clip(np.rint(real) + 3, -128, 127))
        assert difference.max() <= 1
        # Nearly equal elements far from the zero point make one result of a whole column.
        alike = x_zero is not None and kind == "nearly equal"
        assert np.mean(difference != 0) <= 1e-3 + alike / n
        if difference.any():
            # In very short rows epsilon's own rounding shows.
            from_half = np.abs(real[difference != 0] % 1 - 0.5)
            assert from_half.max() < (0.03 if n < 8 else 0.002)


def test_epsilon_counts():
    """Rows that hardly vary: without epsilon they would be blown up to full size."""
    x = np.zeros((1, 768), np.int8)
    x[0, 5] = 1
    arguments = (np.ones(768), np.zeros(768), 0.25, 0, np.int8)
    with_epsilon = normalize(x, *arguments, x_scale=0.01, epsilon=1e-5)[0, 5]
    assert with_epsilon == np.rint(0.01 / np.sqrt(1e-5 + 1e-4 * 767 / 768**2) * 767 / 768 * 4)
    assert normalize(x, *arguments)[0, 5] == np.rint(np.sqrt(767) * 4)


@pytest.mark.parametrize("n", LENGTHS)
def test_equal_elements_give_beta(n):
    beta = np.linspace(-3, 3, n)
    for value in (-128, 0, 127):
        y = normalize(np.full((2, n), value, np.int8), np.ones(n), beta, 0.05, 4, np.int8)
        assert np.array_equal(y, np.broadcast_to(np.floor(beta / 0.05 + 0.5) + 4, (2, n)))


def test_zero_point_of_x_does_not_matter():
    rng = np.random.default_rng(33)
    x = rng.integers(-128, 128, (5, 3, 40)).astype(np.int8)
    arguments = (rng.normal(1, 1, 40), rng.normal(0, 1, 40), 0.03, 120, np.uint8)
    y = normalize(x, *arguments)
    assert y.dtype == np.uint8
    assert np.array_equal(y, normalize((x.astype(int) + 128).astype(np.uint8), *arguments))
    half = (x >> 1).astype(np.int8)
    assert np.array_equal(normalize(half, *arguments), normalize(half + np.int8(60), *arguments))


def test_parameters():
    gains, offsets, shift = normalize_parameters([1.0, -0.5, 0.001], [0.0, 1.0, -2.0], 0.05)
    assert shift == 18  # 20 * 2^18 is below 2^23, 20 * 2^19 is not
    assert gains.tolist() == [20 << 18, -10 << 18, round(0.02 * 2**18)]
    assert offsets.tolist() == [1 << 15, (20 << 16) + (1 << 15), (-40 << 16) + (1 << 15)]
    assert normalize_parameters([0.0], [0.0], 1.0) == (0, 1 << 15, 31)
    assert normalize_epsilon(768, 0.05, 1e-5) == round(256 * 768**2 * 1e-5 / 0.05**2)


def test_refusals():
    for gamma, beta in (([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])):
        with pytest.raises(ValueError, match=r"^gamma \(.*; legal: one length, at least 1"):
            normalize_parameters(gamma, beta, 1.0)
    for bad in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"^y_scale is .*; legal: a positive finite number"):
            normalize_parameters([1.0], [1.0], bad)
        with pytest.raises(ValueError, match=r"^x_scale is .*; legal: a positive finite number"):
            normalize_epsilon(4, bad, 0.0)
    with pytest.raises(ValueError, match=r"^gamma has nan; legal: finite"):
        normalize_parameters([np.nan], [1.0], 1.0)
    with pytest.raises(ValueError, match=r"^beta has -inf; legal: finite"):
        normalize_parameters([1.0], [-np.inf], 1.0)
    with pytest.raises(ValueError, match=r"^gamma / y_scale reaches 8388608.0; legal: below 2\^23"):
        normalize_parameters([2.0**23], [1.0], 1.0)
    with pytest.raises(ValueError, match=r"^beta / y_scale reaches 32768.0; legal: below 2\^15"):
        normalize_parameters([1.0], [2.0**15], 1.0)
    with pytest.raises(ValueError, match=r"^epsilon is -1; legal: 0 or more"):
        normalize_epsilon(4, 1.0, -1)
    with pytest.raises(
        ValueError, match=r"^epsilon / x_scale\^2 is 2.0; .* 4096 elements: below 1"
    ):
        normalize_epsilon(4096, 1.0, 2.0)
    for n in (0, 4097):
        with pytest.raises(ValueError, match=rf"^a row has {n} elements; legal: 1 to 4096"):
            normalize_epsilon(n, 1.0, 0.0)
        with pytest.raises(ValueError, match=rf"^a row has {n} elements; legal: 1 to 4096"):
            normalize_rows(np.zeros((1, n), np.int8), *[np.zeros(n, np.int32)] * 2, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match=r"^\(3,\) gains, \(4,\) offsets; legal: one each for 4"):
        normalize_rows(
            np.zeros((1, 4), np.int8), np.zeros(3, np.int32), np.zeros(4, np.int32), 0, 0, 0, 0, 0
        )
