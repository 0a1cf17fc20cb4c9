# SPDX-License-Identifier: Apache-2.0
"""golden.pool_gradient against loops over windows, and finite differences of float poolings."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from kiwicha.golden.pool_gradient import average_pool_error, max_pool_error, max_pool_winners

IMAGE = (6, 7)


def windows(kernel, strides, pads, dilations=(1, 1)):
    """For each window its place and the pixels inside the image, in the order of rows."""
    counts = [
        (IMAGE[k] + pads[k] + pads[k + 2] - (kernel[k] - 1) * dilations[k] - 1) // strides[k] + 1
        for k in (0, 1)
    ]
    for place in product(*map(range, counts)):
        inside = []
        for taps in product(*map(range, kernel)):
            pixel = tuple(
                place[k] * strides[k] - pads[k] + taps[k] * dilations[k] for k in (0, 1)
            )
            if all(0 <= pixel[k] < IMAGE[k] for k in (0, 1)):
                inside.append(pixel)
        yield place, inside


def float_max(x, given):
    every = list(windows(**given))
    y = np.zeros((*x.shape[:2], *np.max([place for place, _ in every], axis=0) + 1))
    for place, inside in every:
        y[(..., *place)] = np.max([x[(..., *pixel)] for pixel in inside], axis=0)
    return y


CASES = [
    {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)},
    {"kernel": (3, 3), "strides": (1, 2), "pads": (1, 1, 1, 1)},
    {"kernel": (3, 2), "strides": (1, 1), "pads": (0, 1, 2, 0)},
    {"kernel": (1, 4), "strides": (3, 1), "pads": (0, 2, 0, 1)},
]
DILATED = {"kernel": (2, 3), "strides": (1, 1), "pads": (1, 0, 0, 2), "dilations": (2, 2)}


@pytest.mark.parametrize("given", [*CASES, DILATED], ids=str)
@pytest.mark.parametrize("levels", [2, 256])
def test_max_pool(given, levels):
    """With two levels nearly every window has several greatest values."""
    rng = np.random.default_rng(levels)
    x = rng.integers(-(levels // 2), levels - levels // 2, (2, 3, *IMAGE)).astype(np.int8)
    error = rng.integers(-128, 128, float_max(x, given).shape).astype(np.int8)
    expected = np.zeros(x.shape, object)
    for place, inside in windows(**given):
        for n, c in np.ndindex(2, 3):
            values = [int(x[(n, c, *pixel)]) for pixel in inside]
            expected[(n, c, *inside[values.index(max(values))])] += int(error[(n, c, *place)])
    found = max_pool_error(x, error, **given)
    assert found.dtype == np.int64
    assert np.array_equal(found, expected.astype(np.int64))


def test_max_pool_finite_differences():
    given = CASES[1]
    rng = np.random.default_rng(5)
    x = rng.permutation(2 * IMAGE[0] * IMAGE[1]).reshape(1, 2, *IMAGE) - 40
    error = rng.integers(-128, 128, float_max(x, given).shape)
    back = max_pool_error(x.astype(np.int8), error, **given)
    for place in range(x.size):
        ends = []
        for step in (0.25, -0.25):
            moved = x.astype(np.float64)
            moved.flat[place] += step
            ends.append((float_max(moved, given) * error).sum())
        assert (ends[0] - ends[1]) * 2 == back.flat[place]


def test_the_first_of_equals_wins():
    x = np.zeros((1, 1, 3, 3), np.int8)
    assert max_pool_winners(x, (2, 2)).tolist() == [[[[0, 0], [0, 0]]]]
    # The first tap lies in the padding, which never wins.
    padded = max_pool_winners(np.full_like(x, -128), (2, 2), pads=(1, 1, 0, 0), strides=(3, 3))
    assert padded.tolist() == [[[[3]]]]
    error = np.full((1, 1, 2, 2), 100, np.int8)
    x[0, 0, 1, 1] = 1
    assert max_pool_error(x, error, (2, 2))[0, 0].tolist() == [[0, 0, 0], [0, 400, 0], [0, 0, 0]]


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("given", CASES, ids=str)
def test_average_pool(given, count_include_pad):
    """The derivative of a float average, which is linear, is exact as a fraction."""
    rng = np.random.default_rng(7)
    every = list(windows(**given))
    shape = (2, 3, *np.max([place for place, _ in every], axis=0) + 1)
    error = rng.integers(-128, 128, shape).astype(np.int8)
    expected = np.full((2, 3, *IMAGE), Fraction(0), object)
    for place, inside in every:
        count = given["kernel"][0] * given["kernel"][1] if count_include_pad else len(inside)
        for pixel in inside:
            for n, c in np.ndindex(2, 3):
                expected[(n, c, *pixel)] += Fraction(int(error[(n, c, *place)]), count)
    sums, divisor = average_pool_error(error, IMAGE, **given, count_include_pad=count_include_pad)
    if count_include_pad or not any(given["pads"]):
        assert divisor == given["kernel"][0] * given["kernel"][1]
    found = [Fraction(int(value), divisor) for value in sums.ravel()]
    assert found == expected.ravel().tolist()


def test_global_average_is_one_window():
    error = np.array([[[[5]], [[-7]]]], np.int8)
    sums, divisor = average_pool_error(error, (4, 8), (4, 8))
    assert divisor == 32
    assert np.array_equal(sums, np.broadcast_to(error, (1, 2, 4, 8)))


def test_refuses_windows_without_pixels():
    x, error = np.zeros((1, 1, 2, 2), np.int8), np.zeros((1, 1, 4, 4), np.int8)
    with pytest.raises(ValueError, match=r"^a window lies in the padding altogether$"):
        max_pool_error(x, error, (1, 1), pads=(1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"^windows of \(1, 1\) lie outside the image of \(2, 2\)"):
        average_pool_error(error, (2, 2), (1, 1), pads=(1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"^the error is \(1, 1, 4, 4\), the forward pass gave "):
        max_pool_error(x, error, (2, 2))
