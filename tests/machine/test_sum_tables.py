# SPDX-License-Identifier: Apache-2.0
"""Fixed-point tables give a runtime's sum of every pair of bytes, or there are none."""

import numpy as np
import pytest

from kiwicha.golden import fixed_pair
from kiwicha.golden.add import sums
from kiwicha.machine import fixed_pairs
from kiwicha.machine.pair_tables import add_tables
from kiwicha.machine.sum_tables import fixed_tables, multiplied_sums, pair_sums, round_sums


def values(a, b, shift, dtype):
    """Return what SPECIAL adds up for each byte."""
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    first = np.where(codes < 0, -1.0, 1.0) * a * 2.0**shift
    return first, b.view(np.float32).astype(np.float64)


def cases(name, count):
    rng = np.random.default_rng(4)
    for index in range(count):
        dtype = (np.int8, np.uint8)[index % 2]
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        y_scale = np.float32(rng.uniform(0.001, 1))
        ratios = {
            "usual": 2.0 ** rng.uniform(-3, 1.2, 2), "wide": 2.0 ** rng.uniform(-12, 3, 2),
            "equal": np.repeat(2.0 ** rng.uniform(-2, 1), 2),
            "powers": 2.0 ** rng.integers(-5, 2, 2),
        }[name]
        zeros = (int(z) for z in np.clip(rng.normal((low + high) / 2, 40, 3), low, high))
        yield dtype, np.float32(ratios * y_scale), y_scale, *zeros


@pytest.mark.parametrize("name", ["usual", "wide", "equal", "powers"])
def test_all_pairs_of_scales_of_networks(name):
    for dtype, (a_scale, b_scale), y_scale, a_zero, b_zero, y_zero in cases(name, 12):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        tables = add_tables(a_scale, a_zero, dtype, b_scale, b_zero, dtype, y_scale, y_zero)
        found = fixed_tables(*values(*tables, dtype), 0, low, high)
        assert found is not None
        codes = np.arange(256, dtype=np.uint8).view(dtype)
        expected = sums(
            codes[:, None], codes[None], a_scale, a_zero, b_scale, b_zero, y_scale, y_zero
        )
        a, b = (table.astype(np.int64) for table in found)
        made = np.clip(round_sums(a[:, None] + b), low, high)
        assert np.array_equal(made, np.clip(expected, low, high))


@pytest.mark.parametrize("name", ["usual", "wide", "equal"])
def test_all_pairs_in_fixed_point(name):
    """TFLite's sums, whose halves are rounded in other ways."""
    for dtype, (a_scale, b_scale), y_scale, a_zero, b_zero, y_zero in cases(name, 8):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        *terms, multiplier, shift = fixed_pairs.sum_tables(
            (a_scale, a_zero, dtype), (b_scale, b_zero, dtype), y_scale
        )
        terms = [term.view(np.int32).astype(np.int64) for term in terms]
        wanted = multiplied_sums(*terms, multiplier, shift, y_zero, low, high)
        codes = np.arange(256, dtype=np.uint8).view(dtype)
        expected = fixed_pair.add(
            (codes[:, None], a_scale, a_zero), (codes[None], b_scale, b_zero),
            (y_scale, y_zero, low, high),
        )
        assert np.array_equal(wanted, expected)
        reals = [term * (multiplier * 2.0 ** (shift - 31)) for term in terms]
        found = fixed_tables(*reals, y_zero, low, high, wanted)
        assert found is not None
        a, b = (table.astype(np.int64) for table in found)
        assert np.array_equal(np.clip(round_sums(a[:, None] + b), low, high), expected)


def test_bounds_and_a_late_zero_point():
    first, second = np.arange(256) * 0.3013, np.arange(256) * 0.4177 - 77.7
    for zero, low, high in ((0, 0, 255), (-40, -128, 30), (9, 9, 80)):
        found = fixed_tables(first, second, zero, low, high)
        assert found is not None
        a, b = (table.astype(np.int64) for table in found)
        made = np.clip(round_sums(a[:, None] + b), low, high)
        assert np.array_equal(made, pair_sums(first, second, zero, low, high))


def test_there_are_none():
    """Of sums that are not finite, that are too large, or whose middles round to odd numbers."""
    codes = np.arange(256.0)
    assert fixed_tables(codes, np.full(256, np.inf), 0, 0, 255) is None
    assert fixed_tables(codes * 40, codes * -40, 0, 0, 255) is None
    assert fixed_tables(codes / 2, codes / 2, 1, 0, 255) is None
