# SPDX-License-Identifier: Apache-2.0
"""QLinearMul against ONNX Runtime."""

import itertools

import numpy as np
import pytest

from kiwicha.golden.mul import mul

from .test_add import SHAPES, all_pairs, ort_binary, random_scales

KINDS = ("any", "powers", "ratios", "decimals", "far", "whole range")


def ort_mul(a, b, scales, zeros):
    return ort_binary("QLinearMul", a, b, scales, zeros)


def model_mul(a, b, scales, zeros):
    (sa, sb, sy), (za, zb, zy) = scales, zeros
    return mul(a, b, sa, za, sb, zb, sy, zy, a.dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_every_pair(dtype, kind):
    rng = np.random.default_rng([41, dtype is np.int8, len(kind)])
    a, b = all_pairs(dtype)
    for turn in range(15):
        scales = random_scales(rng, kind)
        if turn % 2:  # whose products are about as large as the codes
            scales[2] = min(max(scales[0] * scales[1] * 64, 2.0**-126), 2.0**127)
        zeros = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, 3).tolist()
        real = ort_mul(a, b, scales, zeros)
        assert np.array_equal(model_mul(a, b, scales, zeros), real), (scales, zeros)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_corners_of_zero_points(dtype):
    """Every pair for all combinations of least, middle and greatest."""
    a, b = all_pairs(dtype)
    bounds = np.iinfo(dtype)
    corners = (bounds.min, bounds.max // 2 + 1, bounds.max)
    for zeros in itertools.product(corners, repeat=3):
        real = ort_mul(a, b, (0.06, 0.05, 0.1), zeros)
        assert np.array_equal(model_mul(a, b, (0.06, 0.05, 0.1), zeros), real), zeros


def test_products_are_rounded_before_the_zero_point_is_added():
    """With one rounding of both, and with the zero point added last, hundreds of codes differ."""
    rng = np.random.default_rng(42)
    a, b = all_pairs(np.uint8)
    once = last = 0
    for _ in range(40):
        scales, zeros = random_scales(rng, "powers"), (3, 200, 101)
        scales[2] = scales[0] * scales[1] * float(rng.integers(33, 99)) * 2
        ratio = np.float32(scales[0]) * np.float32(scales[1]) / np.float32(scales[2])
        exact = (a.astype(float) - 3) * (b.astype(float) - 200) * float(ratio)
        real = ort_mul(a, b, scales, zeros)
        assert np.array_equal(model_mul(a, b, scales, zeros), real)
        once += int((np.clip(np.rint((exact + 101)), 0, 255) != real).sum())
        last += int((np.clip(np.rint(exact) + 101, 0, 255) != real).sum())
    assert min(once, last) > 100


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_products_from_2_31_on_are_the_lowest_code(dtype):
    a, b = all_pairs(dtype)
    low = int(np.iinfo(dtype).min)
    for scales in ((2.0**20, 2.0**20, 1.0), (2.0**60, 2.0**60, 1.0), (2.0**70, 2.0**70, 0.5),
                   (1.0, 8.0, 2.0**-126)):
        real = ort_mul(a, b, scales, (low, low, low))
        assert np.array_equal(model_mul(a, b, scales, (low, low, low)), real), scales
        assert np.count_nonzero(real == low) > 60_000


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_broadcasting(shapes):
    rng = np.random.default_rng([43, SHAPES.index(shapes)])
    for dtype in (np.int8, np.uint8):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max + 1
        for kind in ("any", "ratios"):
            a, b = (np.asarray(rng.integers(low, high, shape), dtype) for shape in shapes)
            scales, zeros = random_scales(rng, kind), rng.integers(low, high, 3).tolist()
            real, made = ort_mul(a, b, scales, zeros), model_mul(a, b, scales, zeros)
            assert made.shape == real.shape
            assert np.array_equal(made, real), (scales, zeros)
