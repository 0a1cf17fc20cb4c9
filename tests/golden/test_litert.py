# SPDX-License-Identifier: Apache-2.0
"""Averages, means and the rounding of dense layers against LiteRT's reference kernels."""

import numpy as np
import pytest

from kiwicha.golden.litert import average_pool, dense, mean

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from ..support.litert import Operand, run_layer, run_operator

SAME, VALID = 0, 1
TYPES = [np.int8, np.uint8]


def version(dtype):
    """Of an operator that had uint8 first."""
    return 2 if dtype == np.int8 else 1


@pytest.mark.parametrize("dtype", TYPES)
def test_average_pool(dtype):
    """Strides and padding, whose windows have fewer values; halves to either side of 0."""
    rng, halves = np.random.default_rng(np.iinfo(dtype).max), 0
    info = np.iinfo(dtype)
    for turn in range(60):
        height, width = (int(size) for size in rng.integers(2, 9, 2))
        kernel = tuple(int(rng.integers(1, size + 1)) for size in (height, width))
        strides = tuple(int(step) for step in rng.integers(1, 4, 2))
        x = rng.integers(0, 256, (2, height, width, 3)).astype(np.uint8).view(dtype)
        zero = int(rng.integers(info.min, info.max + 1))
        padding, sizes, pads = turn % 2, [], []
        for size, reach, step in zip((height, width), kernel, strides, strict=True):
            out = -(-size // step) if padding == SAME else (size - reach) // step + 1
            whole = max(0, (out - 1) * step + reach - size) if padding == SAME else 0
            sizes.append(out)
            pads.append((whole // 2, whole - whole // 2))
        options = {
            "padding": padding, "strideH": strides[0], "strideW": strides[1],
            "filterHeight": kernel[0], "filterWidth": kernel[1],
            "fusedActivationFunction": turn % 4,
        }
        low, high = {
            0: (info.min, info.max), 1: (zero, info.max), 2: (zero - 10, zero + 10),
            3: (zero, zero + 60),
        }[turn % 4]
        low, high = max(low, info.min), min(high, info.max)
        expected = run_operator(
            "AVERAGE_POOL_2D", [Operand(x, 0.1, zero)],
            Operand(np.empty((2, *sizes, 3), dtype), 0.1, zero), version(dtype), options, "Pool2D",
        )
        x = x.transpose(0, 3, 1, 2)
        ends = (pads[0][0], pads[1][0], pads[0][1], pads[1][1])
        y = average_pool(x, kernel, strides, ends, low, high)
        np.testing.assert_array_equal(y.transpose(0, 2, 3, 1), expected, f"{kernel} {strides}")
        halves += kernel[0] * kernel[1] % 2 == 0
    assert halves > 10


@pytest.mark.parametrize("dtype", TYPES)
def test_mean(dtype):
    rng, info = np.random.default_rng(np.iinfo(dtype).max + 1), np.iinfo(dtype)
    for turn in range(200):
        shape = (2, *(int(size) for size in rng.integers(1, 14, 3)))
        axes = [(1, 2), (2,), (1,), (3,), (1, 2, 3)][turn % 5]
        x = rng.integers(0, 256, shape).astype(np.uint8).view(dtype)
        zeros = [int(zero) for zero in rng.integers(info.min, info.max + 1, 2)]
        x_scale = np.float32(rng.uniform(1, 2) * 2.0 ** rng.integers(-20, 10))
        y_scale = x_scale if turn % 3 == 0 else np.float32(x_scale * 2.0 ** rng.uniform(-6, 3))
        y_shape = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        expected = run_operator(
            "MEAN",
            [Operand(x, x_scale, zeros[0]), Operand(np.array(axes, np.int32), constant=True)],
            Operand(np.empty(y_shape, dtype), y_scale, zeros[1]), version(dtype),
            {"keepDims": True}, "Reducer",
        )
        y = mean(x, axes, x_scale, zeros[0], y_scale, zeros[1])
        np.testing.assert_array_equal(y, expected, f"{shape} {axes} {x_scale} {y_scale}")


@pytest.mark.parametrize("per_channel", [False, True])
def test_dense(per_channel):
    """Biases aim at halves of codes; exact halves of either sign are among them."""
    rng, ties = np.random.default_rng(per_channel), 0
    columns = 256
    for power in range(-30, 4):
        x = rng.integers(-128, 128, (3, 8), dtype=np.int8)
        w = rng.integers(-127, 128, (columns, 8), dtype=np.int8)
        zeros = [int(zero) for zero in rng.integers(-128, 128, 2)]
        mantissa = 1.0 if power % 3 == 0 else rng.uniform(1, 2, columns if per_channel else ())
        w_scale = np.broadcast_to(np.float32(mantissa * 2.0**power), columns if per_channel else ())
        scale = np.float64(np.float32(0.75)) * w_scale / np.float64(np.float32(0.75))
        bias = np.rint((rng.integers(-129, 130, columns) + 0.5) / scale) + rng.integers(-1, 2)
        bias = np.clip(bias, -(2**31) + 2**20, 2**31 - 2**20).astype(np.int32)
        x[0] = zeros[0]
        expected = run_layer("dense", x, w, bias, (0.75, w_scale, 0.75), zeros, (3, columns))
        total = (x.astype(np.int64) - zeros[0]) @ w.T.astype(np.int64) + bias
        np.testing.assert_array_equal(dense(total, scale, zeros[1], -128, 127), expected)
        ties += np.count_nonzero(total * scale % 1 == 0.5)
    assert ties > 50
