# SPDX-License-Identifier: Apache-2.0
"""golden.elementwise_gradient against finite differences in float64 and exact fractions."""

from fractions import Fraction

import numpy as np
import pytest

from kiwicha.golden.elementwise_gradient import add_error, clip_error, join_errors, relu_error


def slopes(function, x, error):
    """Derivatives of sum(function(x) * error) by central differences of a quarter."""
    found = np.zeros(x.shape)
    for place in range(x.size):
        ends = []
        for step in (0.125, -0.125):
            moved = x.copy()
            moved.flat[place] += step
            ends.append((function(moved) * error).sum())
        found.flat[place] = (ends[0] - ends[1]) * 4
    return found


def test_relu_and_clip_finite_differences():
    """At every code but those of the kinks, where a derivative is a matter of definition."""
    x = np.arange(-128.0, 128)
    error = np.random.default_rng(1).integers(-128, 128, x.size).astype(np.int8)
    found = relu_error(error, np.maximum(x, 0).astype(np.int8))
    assert found.dtype == np.int8
    smooth = x != 0
    assert np.array_equal(found[smooth], slopes(lambda v: np.maximum(v, 0), x, error)[smooth])
    assert found[~smooth] == 0
    found = clip_error(error, np.clip(x, -20, 90).astype(np.int8), -20, 90)
    smooth = (x != -20) & (x != 90)
    expected = slopes(lambda v: np.clip(v, -20, 90), x, error)
    assert np.array_equal(found[smooth], expected[smooth])
    assert not found[~smooth].any()
    with pytest.raises(ValueError, match=r"^low is 3, high 3; legal: low below high$"):
        clip_error(error, error, 3, 3)


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 1), (1, 3, 1), (4,), (1,), ()])
def test_add_finite_differences(shape):
    rng = np.random.default_rng(2)
    error = rng.integers(-128, 128, (2, 3, 4)).astype(np.int8)
    found = add_error(error, shape)
    other = rng.standard_normal((2, 3, 4))
    expected = slopes(lambda v: v + np.rint(8 * other), np.zeros(shape), error.astype(float))
    assert found.dtype == np.int64
    assert found.shape == shape
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", [(2,), (5, 2, 3, 4), (2, 3, 4, 1)])
def test_add_refuses_what_does_not_broadcast(shape):
    with pytest.raises(ValueError, match=r"^an operand of .* does not broadcast to \(2, 3, 4\)$"):
        add_error(np.zeros((2, 3, 4), np.int8), shape)


@pytest.mark.parametrize("exponents", [(0,), (-3, 4, -3), (-40, 8), (5, -20, 1, 28)])
def test_joined_errors_are_exact(exponents):
    rng = np.random.default_rng(3)
    errors = [rng.integers(-128, 128, (2, 9)).astype(np.int8) for _ in exponents]
    total, exponent = join_errors(errors, exponents)
    assert exponent == min(exponents)
    for place in range(18):
        expected = sum(
            int(error.flat[place]) * Fraction(2) ** power
            for error, power in zip(errors, exponents, strict=True)
        )
        assert int(total.flat[place]) * Fraction(2) ** exponent == expected


def test_joining_refuses():
    one = np.ones(1, np.int8)
    with pytest.raises(ValueError, match=r"^0 errors and 0 exponents$"):
        join_errors([], [])
    with pytest.raises(ValueError, match=r"^exponents are -9 to 40; legal: at most 48 apart$"):
        join_errors([one, one], [-9, 40])
