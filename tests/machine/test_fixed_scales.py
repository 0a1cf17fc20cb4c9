# SPDX-License-Identifier: Apache-2.0
"""Scales of convolutions and means, with the requantizer's golden model, against LiteRT."""

import numpy as np
import pytest

from kiwicha.golden.litert import mean
from kiwicha.golden.requantize import requantize_tflite
from kiwicha.machine.fixed_scales import convolution_scale, mean_scale, product_scale
from kiwicha.machine.scales import encode_scale

CHANNELS = 128
KINDS = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D"}


@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_of_uint8(kind):
    """Their product of scales is rounded to binary32, that of int8 is not (test_litert.py of the
    compiler): biases aim at halves, where the difference shows."""
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")
    from ..support.litert import Operand, run_operator

    rng, told = np.random.default_rng(len(kind)), 0
    options = {"padding": 1, "strideH": 1, "strideW": 1}
    options |= {"dilationHFactor": 1, "dilationWFactor": 1}
    if kind == "DEPTHWISE_CONV_2D":
        options["depthMultiplier"] = 1
    depth = CHANNELS if kind == "DEPTHWISE_CONV_2D" else 3
    for power in range(-26, -1):
        w_shape = (CHANNELS, 2, 2, 3) if kind == "CONV_2D" else (1, 2, 2, CHANNELS)
        w = rng.integers(0, 256, w_shape, dtype=np.uint8)
        x = rng.integers(0, 256, (2, 2, 2, depth), dtype=np.uint8)
        x_zero, w_zero, y_zero = (int(zero) for zero in rng.integers(0, 256, 3))
        x[0] = x_zero
        x_scale, w_scale, y_scale = np.float32(rng.uniform(1, 2, 3) * [1, 2.0**power, 1])
        scale = convolution_scale(x_scale, w_scale, y_scale, np.uint8)
        bias = np.rint((rng.integers(-129, 130, CHANNELS) + 0.5) / scale)
        bias = np.clip(bias + rng.integers(-1, 2, CHANNELS), -(2**31) + 2**22, 2**31 - 2**22)
        bias = bias.astype(np.int32)
        expected = run_operator(
            kind,
            [
                Operand(x, x_scale, x_zero), Operand(w, w_scale, w_zero, constant=True),
                Operand(bias, x_scale * w_scale, constant=True),
            ],
            Operand(np.empty((2, 1, 1, CHANNELS), np.uint8), y_scale, y_zero), 1, options,
            KINDS[kind],
        )
        real, weights = x.astype(np.int64) - x_zero, w.astype(np.int64) - w_zero
        if kind == "CONV_2D":
            total = np.einsum("nhwi,ohwi->no", real, weights)[:, None, None] + bias
        else:
            total = (real * weights).sum((1, 2), keepdims=True) + bias
        for wide in (False, True):
            found = convolution_scale(x_scale, w_scale, y_scale, np.int8 if wide else np.uint8)
            y = requantize_tflite(total, *encode_scale("tflite", 0, found), y_zero, 0, 255)
            if wide:
                told += np.count_nonzero(y != expected)
            else:
                np.testing.assert_array_equal(y, expected, f"2^{power}")
    assert told > 20, "no case tells the scales apart"


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_means(dtype):
    """Fields for the requantizer, of multipliers below 2^30 too; the golden mean is LiteRT's."""
    rng, info, small = np.random.default_rng(3), np.iinfo(dtype), 0
    for turn in range(300):
        count = int(rng.integers(1, 200))
        x = rng.integers(0, 256, (16, count)).astype(np.uint8).view(dtype)
        x[0], x[1] = info.min, info.max
        zeros = [int(zero) for zero in rng.integers(info.min, info.max + 1, 2)]
        x_scale = np.float32(rng.uniform(1, 2))
        y_scale = np.float32(x_scale * 2.0 ** rng.uniform(-6, 3)) if turn % 3 else x_scale
        fields = mean_scale(x_scale, y_scale, count)
        total = (x.astype(np.int64) - zeros[0]).sum(1, keepdims=True)
        multiplier, shift = encode_scale("tflite", 0, fields)
        y = requantize_tflite(total, multiplier, shift, zeros[1], info.min, info.max)
        expected = mean(x, (1,), x_scale, zeros[0], y_scale, zeros[1])
        np.testing.assert_array_equal(y, expected, f"{count} {x_scale} {y_scale}")
        small += multiplier < 1 << 30
    assert small > 20


def test_refusals():
    with pytest.raises(ValueError, match=r"in a mean of 4; LiteRT overflows$"):
        mean_scale(1.0, 2.0**-23, 4)
    with pytest.raises(ValueError, match=r"legal: mode tflite, not onnx$"):
        encode_scale("onnx", 0, mean_scale(1.0, 1.0, 4))


@pytest.mark.parametrize("dtype,per_channel", [
    (np.int8, False), (np.int8, True), (np.uint8, False),
])
def test_transposed_convolutions(dtype, per_channel):
    """Windows that do not meet, so that each result is one product; biases aim at halves."""
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")
    from ..support.litert import Operand, run_operator

    rng, info = np.random.default_rng([per_channel, np.iinfo(dtype).max]), np.iinfo(dtype)
    for power in range(-24, -1):
        x = rng.integers(0, 256, (2, 2, 2, 3)).astype(np.uint8).view(dtype)
        w = rng.integers(1, 256, (CHANNELS, 2, 2, 3)).astype(np.uint8).view(dtype)
        x_zero, y_zero = (int(zero) for zero in rng.integers(info.min, info.max + 1, 2))
        w_zero = 0 if dtype == np.int8 else int(rng.integers(256))
        x[0] = x_zero
        x_scale, y_scale = np.float32(rng.uniform(1, 2, 2))
        w_scale = np.float32(rng.uniform(1, 2, CHANNELS if per_channel else 1) * 2.0**power)
        scale = np.broadcast_to(convolution_scale(x_scale, w_scale, y_scale, dtype), CHANNELS)
        bias = np.rint((rng.integers(-129, 130, CHANNELS) + 0.5) / scale)
        bias = np.clip(bias + rng.integers(-1, 2, CHANNELS), -(2**31) + 2**22, 2**31 - 2**22)
        bias = bias.astype(np.int32)
        expected = run_operator(
            "TRANSPOSE_CONV",
            [
                Operand(np.array([2, 4, 4, CHANNELS], np.int32), constant=True),
                Operand(w, w_scale, w_zero, constant=True), Operand(x, x_scale, x_zero),
                Operand(bias, x_scale * w_scale, constant=True),
            ],
            Operand(np.empty((2, 4, 4, CHANNELS), dtype), y_scale, y_zero), 3,
            {"padding": 1, "strideH": 2, "strideW": 2}, "TransposeConv",
        )
        parts = np.einsum(
            "nhwi,opqi->nhpwqo", x.astype(np.int64) - x_zero, w.astype(np.int64) - w_zero
        )
        total = parts.reshape(2, 4, 4, CHANNELS) + bias
        fields = encode_scale("tflite", 0, scale)
        y = requantize_tflite(total, *fields, y_zero, info.min, info.max)
        np.testing.assert_array_equal(y, expected, f"2^{power}")


def test_batches_of_products():
    """Large sums tell that their product of scales is rounded."""
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")
    from ..support.litert import Operand, run_operator

    rng, told, depth = np.random.default_rng(4), 0, 2048
    for _ in range(8):
        x = rng.integers(60, 128, (512, depth), dtype=np.int8)
        z = rng.integers(60, 128, (depth, 512), dtype=np.int8)
        total = np.rint((x + 128.0) @ (z + 128.0)).astype(np.int64)
        x_scale, z_scale = np.float32(rng.uniform(1, 2, 2))
        y_scale = np.float32(float(x_scale) * float(z_scale) * total.max() / 250)
        expected = run_operator(
            "BATCH_MATMUL", [Operand(x[None], x_scale, -128), Operand(z[None], z_scale, -128)],
            Operand(np.empty((1, 512, 512), np.int8), y_scale, -128), 4, {}, "BatchMatMul",
        )[0]
        for scale, exact in (
            (product_scale(x_scale, z_scale, y_scale), True),
            (np.float64(x_scale) * np.float64(z_scale) / np.float64(y_scale), False),
        ):
            fields = encode_scale("tflite", 0, scale)
            wrong = requantize_tflite(total, *fields, -128, -128, 127) != expected
            if exact:
                assert not wrong.any()
            told += np.count_nonzero(wrong)
    assert told, "no case tells the scales apart"
