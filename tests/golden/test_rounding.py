# SPDX-License-Identifier: Apache-2.0
"""golden.rounding against exact fractions, and the quality of its random words."""

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import reduce
from math import floor
from operator import xor

import numpy as np
import pytest

from kiwicha.golden.rounding import _TAPS, ROUNDINGS, _advance, random_word, round_shift


def exact(value, shift, rounding, word):
    quotient = Decimal(value) / Decimal(1 << shift)
    if rounding == "half_even":
        return int(quotient.quantize(Decimal(1), ROUND_HALF_EVEN))
    if rounding == "half_away":
        return int(quotient.quantize(Decimal(1), ROUND_HALF_UP))
    if rounding == "half_up":
        return floor(quotient + Decimal("0.5"))
    sign, digits = (-1 if value < 0 else 1), abs(value)
    whole, rest = divmod(digits, 1 << shift)
    if rounding == "lfsr":
        bits = f"{word:032b}".ljust(shift, "0")[:shift]
        return sign * (whole + (int(bits or "0", 2) < rest))
    bits = f"{rest:0{shift}b}" if shift else ""
    cut = (shift + 1) // 2
    upper, lower = bits[:cut], bits[cut:].ljust(cut, "0")
    return sign * (whole + (upper > lower))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_equals_the_definition(rounding):
    rng = np.random.default_rng(1)
    for shift in range(41):
        for k in range(40):
            rest = [int(rng.integers(0, 1 << shift)), 1 << shift >> 1, (1 << shift) - 1][k % 3]
            value = (int(rng.integers(0, 128)) << shift) + rest
            value, word = value * (-1) ** (k // 3), int(rng.integers(0, 1 << 32))
            found = round_shift(value, shift, rounding, word)
            assert found == exact(value, shift, rounding, word), (value, shift, word)


def test_stochastic_rounding_keeps_the_mean():
    word = random_word(11, 5, np.arange(1 << 16))
    for rest in (1, 77, 128, 255):
        mean = float(round_shift(np.full(1 << 16, rest), 8, "lfsr", word).mean())
        # Five standard deviations.
        assert abs(mean - rest / 256) < 5 * 0.5 / 256


def test_the_register_has_the_longest_period():
    # Zero apart, one step goes through all 32-bit numbers; so do 32, as 2^32 - 1 is odd.
    period = 2**32 - 1
    step = [state >> 1 ^ (_TAPS if state & 1 else 0) for state in (1 << bit for bit in range(32))]

    def applied(columns, state):
        return reduce(xor, (column for bit, column in enumerate(columns) if state >> bit & 1), 0)

    def power(exponent):
        result, square = [1 << bit for bit in range(32)], step
        while exponent:
            if exponent & 1:
                result = [applied(square, column) for column in result]
            square = [applied(square, column) for column in square]
            exponent >>= 1
        return result

    unchanged = power(0)
    assert power(period) == unchanged
    assert all(power(period // prime) != unchanged for prime in (3, 5, 17, 257, 65537))
    assert [int(_advance(1 << bit)) for bit in range(32)] == power(32)


def test_random_words_are_unrelated():
    words = [
        random_word(seed, step, np.arange(1 << 14)).astype(float)
        for seed, step in [(1, 0), (1, 1), (2, 0)]
    ]
    pairs = [(words[0], words[1]), (words[0], words[2])]
    pairs += [(words[0][:-lag], words[0][lag:]) for lag in (1, 2, 4, 16, 256)]
    for a, b in pairs:
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
    assert len(np.unique(words[0])) == 1 << 14


@pytest.mark.parametrize(("shift", "rounding"), [(49, "half_up"), (-1, "half_up"), (3, "up")])
def test_bad_arguments(shift, rounding):
    with pytest.raises(ValueError, match="legal: "):
        round_shift(5, shift, rounding)
