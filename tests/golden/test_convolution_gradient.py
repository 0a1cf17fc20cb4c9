# SPDX-License-Identifier: Apache-2.0
"""golden.convolution_gradient against the sums as they are defined, and finite differences."""

from itertools import product

import numpy as np
import pytest

from kiwicha.golden.conv import conv2d
from kiwicha.golden.convolution_gradient import (
    bias_gradient,
    input_error,
    turned_kernel,
    weight_gradient,
)


def terms(x, w, image, groups, strides, pads, dilations):
    """Each product of the convolution: indices of its output, input and weight."""
    rows, columns = (
        (image[k] + pads[k] + pads[k + 2] - (w.shape[2 + k] - 1) * dilations[k] - 1) // strides[k]
        + 1
        for k in (0, 1)
    )
    outputs, depth, kernel_h, kernel_w = w.shape
    for n, o, r, c in product(range(x.shape[0]), range(outputs), range(rows), range(columns)):
        for d, i, j in product(range(depth), range(kernel_h), range(kernel_w)):
            row = r * strides[0] + i * dilations[0] - pads[0]
            column = c * strides[1] + j * dilations[1] - pads[1]
            if 0 <= row < image[0] and 0 <= column < image[1]:
                yield (n, o, r, c), (n, o // (outputs // groups) * depth + d, row, column), (
                    o, d, i, j,
                )


def forward(x, w, given):
    """The convolution of floats, product by product."""
    every = list(terms(x, w, x.shape[2:], **given))
    y = np.zeros(np.max([out for out, _, _ in every], axis=0) + 1)
    for out, at, tap in every:
        y[out] += x[at] * w[tap]
    return y


def draw(seed):
    """A random convolution, its operands and the error of its output; windows may leave pixels."""
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4))
    kernel, dilations = rng.integers(1, 4, 2), tuple(map(int, rng.integers(1, 3, 2)))
    extent = (kernel - 1) * dilations + 1
    pads = tuple(int(rng.integers(0, k)) for k in (*extent, *extent))
    image = np.maximum(rng.integers(3, 8, 2), extent)
    x = rng.integers(-128, 128, (2, groups * rng.integers(1, 3), *image)).astype(np.int8)
    outputs = groups * int(rng.integers(1, 4))
    w = rng.integers(-128, 128, (outputs, x.shape[1] // groups, *kernel)).astype(np.int8)
    strides = tuple(map(int, rng.integers(1, 4, 2)))
    given = {"groups": groups, "strides": strides, "pads": pads, "dilations": dilations}
    shape = forward(x.astype(float), w.astype(float), given).shape
    return x, w, rng.integers(-128, 128, shape).astype(np.int8), given


@pytest.mark.parametrize("seed", range(16))
def test_equals_the_definition(seed):
    x, w, error, given = draw(seed)
    sums, gradient = np.zeros(x.shape, object), np.zeros(w.shape, object)
    y = np.zeros(error.shape, object)
    for out, at, tap in terms(x, w, x.shape[2:], **given):
        y[out] += int(x[at]) * int(w[tap])
        sums[at] += int(w[tap]) * int(error[out])
        gradient[tap] += int(x[at]) * int(error[out])
    assert np.array_equal(conv2d(x, w, **given), y.astype(np.int64))
    found = input_error(error, w, x.shape[2:], **given)
    assert found.dtype == np.int64
    assert np.array_equal(found, sums.astype(np.int64))
    found = weight_gradient(x, error, w.shape[2:], **given)
    assert found.dtype == np.int64
    assert np.array_equal(found, gradient.astype(np.int64))
    totals = [sum(int(v) for v in error[:, o].ravel()) for o in range(error.shape[1])]
    assert bias_gradient(error).tolist() == totals


@pytest.mark.parametrize("seed", range(20, 26))
def test_finite_differences(seed):
    """L = sum(y * error) is linear in each operand, so that central differences are exact."""
    x, w, error, given = draw(seed)
    back = input_error(error, w, x.shape[2:], **given)
    gradient = weight_gradient(x, error, w.shape[2:], **given)
    rng = np.random.default_rng(seed)
    operands = [x.astype(np.float64), w.astype(np.float64)]
    for operand, analytic in zip(operands, (back, gradient), strict=True):
        for place in rng.integers(0, operand.size, 5):
            losses = []
            for step in (0.5, -0.5):
                operand.flat[place] += step
                losses.append((forward(*operands, given) * error).sum())
                operand.flat[place] -= step
            assert losses[0] - losses[1] == analytic.flat[place]


def test_sums_beyond_int32_do_not_wrap():
    x = np.full((1, 1, 1, 140_000), -128, np.int8)
    assert weight_gradient(x, x, (1, 1)).item() == 140_000 << 14


def test_a_mask_leaves_gradients_out():
    x, w, error, given = draw(3)
    mask = np.random.default_rng(3).integers(0, 2, w.shape) > 0
    whole = weight_gradient(x, error, w.shape[2:], **given)
    found = weight_gradient(x, error, w.shape[2:], **given, mask=mask)
    assert np.array_equal(found, whole * mask)
    assert found.any()
    assert not np.array_equal(found, whole)


def test_turned_kernel():
    w = np.arange(2 * 2 * 2 * 3).reshape(4, 1, 2, 3)
    turned = turned_kernel(w, 2)
    assert turned.shape == (2, 2, 2, 3)
    assert turned[1, 0].tolist() == [[17, 16, 15], [14, 13, 12]]


def test_refuses_what_does_not_fit():
    x, w = np.zeros((1, 2, 4, 4), np.int8), np.zeros((2, 2, 3, 3), np.int8)
    error = np.zeros((1, 2, 3, 3), np.int8)
    message = r"^the error has 2 channels of \(3, 3\), the forward pass 2 of \(2, 2\)$"
    with pytest.raises(ValueError, match=message):
        input_error(error, w, (4, 4))
    with pytest.raises(ValueError, match=message):
        weight_gradient(x, error, (3, 3))
    with pytest.raises(ValueError, match=r"^3 groups do not divide 2 output channels$"):
        turned_kernel(w, 3)
    with pytest.raises(ValueError, match=r"^images .*, 3 groups$"):
        weight_gradient(x, error, (3, 3), groups=3)
