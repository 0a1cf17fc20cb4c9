# SPDX-License-Identifier: Apache-2.0
"""golden.low_bit_gradients against the papers' formulas in fractions, and their expectations."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from kiwicha.golden import low_bit_gradients
from kiwicha.golden.low_bit_gradients import (
    dorefa_gradient,
    nearest_power,
    wage_error,
    wage_gradient,
)
from kiwicha.golden.rounding import random_word

LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1


def draw(seed, size=60):
    rng = np.random.default_rng(seed)
    x = rng.integers(LOWEST, HIGHEST + 1, size) >> rng.integers(seed % 3 * 8, 32, size)
    if seed % 2:
        x[:4] = LOWEST, HIGHEST, 0, 1
    return x


def shift(greatest):
    """2^round(log2 x): the power whose ratio to x is nearest to 1."""
    powers = [Fraction(1 << k) for k in range(33)]
    return min(powers, key=lambda power: max(power / greatest, greatest / power))


def uniform(seed, step, index):
    return Fraction(int(random_word(seed, step, [index])[0]), 1 << 32)


def test_nearest_power():
    for value in [*range(1, 3000), 46340, 46341, 3037000499, 3037000500, 1 << 31]:
        assert 1 << nearest_power(value) == shift(Fraction(value)), value
    with pytest.raises(ValueError, match=r"^value is 0; legal: at least 1$"):
        nearest_power(0)


@pytest.mark.parametrize("bits", [2, 3, 8, 16])
@pytest.mark.parametrize("seed", range(6))
def test_wage_errors(seed, bits):
    # The small ones have many halves.
    x = np.arange(-70, 71) if seed == 5 else draw(seed)
    scale, sigma = shift(Fraction(int(np.abs(x).max()))), Fraction(2) ** (1 - bits)
    expected = [
        max(-1 + sigma, min(1 - sigma, sigma * round(int(v) / scale / sigma))) for v in x
    ]
    assert [int(q) * sigma for q in wage_error(x, bits)] == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize(("rate", "rate_shift"), [(8, 0), (1, 0), (65535, 16), (3, 2)])
@pytest.mark.parametrize("seed", range(4))
def test_wage_gradients(seed, rate, rate_shift):
    x = draw(seed)
    scale = shift(Fraction(int(np.abs(x).max())))
    expected = []
    for k, v in enumerate(map(int, x)):
        g = Fraction(rate, 1 << rate_shift) * v / scale
        whole = floor(abs(g))
        step = whole + (uniform(11, 5, 40 + k) < abs(g) - whole)
        expected.append(-step if g < 0 else step)
    found = wage_gradient(x, rate, rate_shift, seed=11, step=5, index=40)
    assert found.tolist() == expected


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("seed", range(4))
def test_dorefa_gradients(seed, bits):
    x = draw(seed)
    levels, half = (1 << bits) - 1, Fraction(1, 2)
    greatest = int(np.abs(x).max())
    found, scale = dorefa_gradient(x, bits, seed=seed, step=9, index=7)
    assert scale == greatest
    for k, v in enumerate(map(int, x)):
        noise = (uniform(seed, 9, 7 + k) - half) / levels
        code = Fraction(floor(levels * (Fraction(v, 2 * greatest) + half + noise) + half), levels)
        assert 2 * greatest * (code - half) == Fraction(greatest * int(found[k]), levels)


def test_dorefa_rounds_up_exactly_where_it_should(monkeypatch):
    """A quotient of 2.25, then remainders r / 2^32 that each word just makes whole, or misses."""
    x = np.full(4000, 1)
    x[0] = 2
    found, _ = dorefa_gradient(x, 2, seed=2)
    # 3 * (1/4 + 1/2) = 2.25: up where the word is three quarters or more.
    up = random_word(2, 0, np.arange(4000)) >= np.uint32(3 << 30)
    assert np.array_equal(found[1:], np.where(up, 3, 1)[1:])
    assert 0.2 < up.mean() < 0.3
    places = np.arange(1, 200)
    word = random_word(6, 3, places).astype(np.int64)
    for less in (0, 1):
        wanted = (1 << 32) - word - less  # 15 * (x + 2^31) modulo 2^32
        x = np.r_[LOWEST, wanted * pow(15, -1, 1 << 32) % (1 << 32) + LOWEST]
        found, greatest = dorefa_gradient(x, 4, seed=6, step=3)
        assert greatest == 1 << 31
        whole = 15 * (x[1:] - LOWEST) >> 32
        assert np.array_equal(found[1:], 2 * (whole + 1 - less) - 15)
    monkeypatch.setattr(low_bit_gradients, "random_word", lambda *_: np.zeros(2, np.uint32))
    found, _ = dorefa_gradient(np.array([LOWEST, 0]), 4)
    assert found.tolist() == [-15, -1]


def test_gradients_are_right_on_average():
    """Stochastic rounding has no bias; four deviations of the mean are allowed for."""
    x = np.full((50, 400), 37)
    x[0, 0] = 512
    steps = wage_gradient(x, 4, seed=1).ravel()[1:]
    assert abs(steps.mean() - 4 * 37 / 512) < 4 * 0.5 / np.sqrt(x.size)
    codes, scale = dorefa_gradient(x, 3, seed=1)
    values = scale * codes.ravel()[1:] / 7
    assert abs(values.mean() - 37) < 4 * (512 / 7) / np.sqrt(x.size)


def test_words_follow_step_and_place():
    x = np.full(64, 3)
    x[0] = 64
    whole = wage_gradient(x, 16, seed=4, step=1)
    assert not np.array_equal(whole, wage_gradient(x, 16, seed=4, step=2))
    assert not np.array_equal(whole, wage_gradient(x, 16, seed=5, step=1))
    part = wage_gradient(np.r_[64, x[33:]], 16, seed=4, step=1, index=32)
    assert np.array_equal(part[1:], whole[33:])


def test_zeros_and_refusals():
    zeros = np.zeros((2, 3), np.int32)
    assert not wage_error(zeros).any()
    assert not wage_gradient(zeros, 8).any()
    codes, scale = dorefa_gradient(zeros, 4)
    assert not codes.any()
    assert scale == 0
    with pytest.raises(ValueError, match=r"^bits is 1; legal: 2 to 16$"):
        dorefa_gradient(zeros, 1)
    with pytest.raises(ValueError, match=r"^bits is 17; legal: 2 to 16$"):
        wage_error(zeros, 17)
    with pytest.raises(ValueError, match=r"^rate is 65536 / 2\^0; legal: "):
        wage_gradient(zeros, 1 << 16)
    with pytest.raises(ValueError, match=r"^values reach 2147483648 in magnitude; legal: int32$"):
        wage_error(np.array([1 << 31]))
