# SPDX-License-Identifier: Apache-2.0
"""NITI's integers against the paper's formulas, element by element and with exact fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from kiwicha.golden.niti import cross_entropy_errors, magnitude, shifted


def pseudo(value, shift):
    """Shift a number as PstoShift does, with strings of bits."""
    bits = format(abs(value), "064b")
    kept, dropped = int(bits[: 64 - shift], 2), bits[64 - shift :]
    upper, lower = dropped[: (shift + 1) // 2], dropped[(shift + 1) // 2 :]
    lower = lower.ljust(len(upper), "0")
    up = bool(dropped) and int(upper, 2) > int(lower or "0", 2)
    return (kept + up) * (1 if value >= 0 else -1)


@pytest.mark.parametrize("shift", range(0, 32))
def test_shifted(shift):
    corners = [0, 1, -1, 127, 128, -128, 2**31 - 1, -(2**31), 3 << 20, -(3 << 20)]
    acc = np.array(corners + np.random.default_rng(shift).integers(-2**31, 2**31, 200).tolist())
    for rounding, exact in (
        ("half_up", lambda x: floor(Fraction(x, 2**shift) + Fraction(1, 2))),
        ("pseudo", lambda x: pseudo(x, shift)),
    ):
        found = shifted(acc, shift, rounding)
        assert found.tolist() == [max(-127, min(127, exact(int(x)))) for x in acc]
    relu = shifted(acc, shift, low=0)
    assert relu.min() >= 0


def test_nothing_remains_of_a_shift_by_32():
    assert not shifted([2**31 - 1, -(2**31)], 32, "pseudo").any()


def test_magnitude_of_the_lowest_number():
    assert magnitude(np.array([5, -(2**31)], np.int32)) == 2**31
    assert magnitude([]) == 0


def by_fractions(row, exponent, label):
    """Errors of one row, every step with Python's integers and fractions."""
    exponent = max(-16, min(8, exponent))
    if exponent > -7:
        z = [floor(Fraction(x * 47274, 2**15)) for x in row]
        z = [floor(Fraction(value) * Fraction(2) ** exponent) for value in z]
        top = max(z)
        g = [2 ** max(value - top + 10, 0) - 1 for value in z]
    else:
        unit = Fraction(2) ** exponent  # e^u = 1 + u + u^2 / 2, times 2^(1 - 2e)
        g = [2 / unit**2 * (1 + x * unit + (x * unit) ** 2 / 2) for x in row]
    t = [floor(Fraction(value) * 2**11 / sum(g)) for value in g]
    if 0 <= label < len(row):
        t[label] -= sum(t)
    return [max(-127, min(127, pseudo(int(value), 4))) for value in t]


@pytest.mark.parametrize("exponent", [-40, -17, -16, -15, -9, *range(-8, 2), 5, 8, 9])
def test_cross_entropy(exponent):
    rng = np.random.default_rng(abs(exponent))
    for classes in (1, 2, 10, 37):
        logits = rng.integers(-128, 128, (20, classes))
        logits[0], logits[1] = -128, 127
        logits[2, 0] = 127
        labels = rng.integers(0, classes, 20)
        labels[3] = 200
        found = cross_entropy_errors(logits.astype(np.int8), exponent, labels)
        for row, label, errors in zip(logits.tolist(), labels.tolist(), found, strict=True):
            assert errors.tolist() == by_fractions(row, exponent, label)


def test_errors_are_those_of_a_softmax():
    """Within what seven bits can say, where logits are no further apart than ten octaves."""
    rng = np.random.default_rng(3)
    logits = rng.integers(-50, 50, (100, 10)).astype(np.int8)
    labels = rng.integers(0, 10, 100)
    exact = np.exp(logits * 2.0**-5)
    exact /= exact.sum(axis=1, keepdims=True)
    exact[np.arange(100), labels] -= 1
    found = cross_entropy_errors(logits, -5, labels) / 128
    # A power of two instead of e^x is up to a factor of two off.
    assert np.abs(found - exact).max() < 0.25
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.97
