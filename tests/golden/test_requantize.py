# SPDX-License-Identifier: Apache-2.0
"""The requantizer models against ONNX Runtime, gemmlowp's published recipe and each other."""

import math
from fractions import Fraction

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.golden.requantize import (
    requantize,
    requantize_onnx,
    requantize_onnx_integer,
    requantize_shift,
    requantize_tflite,
    requantize_tflite_single,
)
from kiwicha.machine.scales import ONCE, encode_scale

from ..vector.requantize_cases import (
    fixed_point_cases,
    float_cases,
    int32_corners,
    sticky_cases,
)

RANGES = {np.int8: (-128, 127), np.uint8: (0, 255)}


def as_scale(bits):
    return np.asarray(bits).astype(np.uint32).view(np.float32)


def same(left, right):
    left, right = np.asarray(left, np.int64), np.asarray(right, np.int64)
    bad = np.flatnonzero(left.ravel() != right.ravel())
    assert bad.size == 0, f"{bad.size} differ, first {bad[:5]}: {left.ravel()[bad[:5]]}"
    return True


# ---- onnx: the formula against ONNX Runtime


def session(nodes, inputs, output, initializers):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs],
        [helper.make_tensor_value_info("y", output, None)],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def tensor_type(dtype):
    return TensorProto.INT8 if dtype is np.int8 else TensorProto.UINT8


def ort_requantize(acc, scale, zero_point, dtype, x=0, weight=1):
    """ONNX Runtime's requantizer itself: a 1x1 QLinearConv that accumulates acc + x * weight.

    Every element is an output channel with a scale of its own, and its accumulator is its bias.
    """
    channels = len(acc)
    one, zero = np.float32(1), dtype(7)
    names = ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy", "b"]
    initializers = {
        "sx": one,
        "zx": zero,
        "w": np.full((channels, 1, 1, 1), weight, np.int8),
        "sw": np.asarray(scale, np.float32),
        "zw": np.zeros(channels, np.int8),
        "sy": one,
        "zy": dtype(zero_point),
        "b": np.asarray(acc, np.int32),
    }
    run = session(
        [helper.make_node("QLinearConv", names, ["y"])],
        [("x", tensor_type(dtype), [1, 1, 1, 1])],
        tensor_type(dtype),
        {name: np.asarray(value) for name, value in initializers.items()},
    )
    return run.run(None, {"x": np.full((1, 1, 1, 1), 7 + x, dtype)})[0].ravel()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("odd", [0, 1])
def test_onnx_runtime_every_accumulator_and_scale(dtype, odd):
    rng = np.random.default_rng([11, odd, dtype is np.int8])
    low, high = RANGES[dtype]
    zero_point = int(rng.integers(low, high + 1)) // 2 * 2 + odd
    acc, bits = float_cases(rng, 1_000_000)
    real = ort_requantize(acc, as_scale(bits), zero_point, dtype)
    same(requantize_onnx(acc, as_scale(bits), zero_point, low, high), real)
    same(requantize_onnx_integer(acc, bits, zero_point, low, high), real)
    assert len(np.unique(real)) == 256


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("zero_point", [0, 3, 100, 127])
def test_onnx_runtime_ties(dtype, zero_point):
    exponents = np.repeat(np.arange(0, 24), 2001)
    halves = np.tile(np.arange(-1000, 1001), 24)
    scale = np.ldexp(np.float32(0.5), -exponents).astype(np.float32)
    acc = halves << exponents
    low, high = RANGES[dtype]
    real = ort_requantize(acc, scale, zero_point, dtype)
    same(requantize(acc, scale.view(np.uint32), 0, zero_point, low, high, "onnx"), real)
    rounded_up = np.clip(np.floor(halves / 2 + 0.5) + zero_point, low, high)
    assert np.any(rounded_up != real), "no tie was seen"


def test_onnx_runtime_single_sticky_bits():
    acc, bits, zero_points = sticky_cases()
    for zero_point in (0, 255):
        chosen = zero_points == zero_point
        real = ort_requantize(acc[chosen], as_scale(bits[chosen]), zero_point, np.uint8)
        model = requantize_onnx(acc[chosen], as_scale(bits[chosen]), zero_point, 0, 255)
        same(model, real)
        exact = acc[chosen] * as_scale(bits[chosen]).astype(np.float64)
        assert np.all(np.abs(np.abs(exact) % 2 - 0.5) < 2.0**-14), "not beside a tie"
        assert np.all(real % 2 != zero_point % 2), "decided by the tie rule alone"
        same(requantize_onnx_integer(acc[chosen], bits[chosen], zero_point, 0, 255), real)


def test_onnx_runtime_bias_wraps_in_int32():
    bias = np.arange((1 << 31) - 12_000, 1 << 31)
    scale = np.full(len(bias), 2.0**-25, np.float32)
    real = ort_requantize(bias, scale, 5, np.int8, x=100, weight=60)
    encoded = encode_scale("onnx", np.float32(2.0**-25))
    same(requantize(6_000, *encoded, 5, -128, 127, "onnx", bias=bias), real)
    assert real.min() < 0 < real.max()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_onnx_runtime_matmul_every_pair(dtype):
    """All 65,536 products of two bytes, per-column scales, K = 1 and K = 300."""
    rng = np.random.default_rng(12)
    low, high = RANGES[dtype]
    names = ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"]
    for depth, zero_point in ((1, 7), (300, low + 1)):
        a = np.repeat(np.arange(low, high + 1).astype(dtype)[:, None], depth, 1)
        # Hosts without VNNI saturate 16-bit pairs: beyond one product, keep weights to 7 bits.
        b = np.repeat(np.arange(-128, 128).astype(np.int8)[None] >> (depth > 1), depth, 0)
        sa, sy = np.float32(0.0173), np.float32(0.311 * depth)
        sb = np.ldexp(rng.random(256, np.float32) + np.float32(0.5), rng.integers(-6, 2, 256))
        sb[::4] = sy / sa  # exact or nearly exact powers of two: ties
        sb = sb.astype(np.float32)
        fixed = {"sa": sa, "za": dtype(low + 128), "b": b, "sb": sb, "zb": np.zeros(256, np.int8)}
        fixed |= {"sy": sy, "zy": dtype(zero_point)}
        run = session(
            [helper.make_node("QLinearMatMul", names, ["y"])],
            [("a", tensor_type(dtype), list(a.shape))],
            tensor_type(dtype),
            {name: np.asarray(value) for name, value in fixed.items()},
        )
        real = run.run(None, {"a": a})[0]
        acc = (a.astype(np.int64) - (low + 128)) @ b.astype(np.int64)
        same(requantize_onnx(acc, sa * sb / sy, zero_point, low, high), real)


def test_onnx_runtime_gemm_per_channel():
    rng = np.random.default_rng(13)
    a = rng.integers(-128, 128, (300, 64)).astype(np.int8)
    b = rng.integers(-64, 64, (64, 200)).astype(np.int8)
    sb = (rng.random(200, np.float32) * np.float32(0.02) + np.float32(1e-4)).astype(np.float32)
    c = rng.integers(-(1 << 16), 1 << 16, 200).astype(np.int32)
    sa, sy = np.float32(0.031), np.float32(0.77)
    fixed = {"sa": sa, "za": np.int8(21), "b": b, "sb": sb, "zb": np.zeros(200, np.int8)}
    fixed |= {"c": c, "sy": sy, "zy": np.int8(-13)}
    names = ["a", "sa", "za", "b", "sb", "zb", "c", "sy", "zy"]
    run = session(
        [helper.make_node("QGemm", names, ["y"], domain="com.microsoft")],
        [("a", TensorProto.INT8, [300, 64])],
        TensorProto.INT8,
        {name: np.asarray(value) for name, value in fixed.items()},
    )
    acc = (a.astype(np.int64) - 21) @ b.astype(np.int64)
    multiplier, shift = encode_scale("onnx", sa * sb / sy)
    model = requantize(acc, multiplier, shift, -13, -128, 127, "onnx", bias=c)
    same(model, run.run(None, {"a": a})[0])


# ---- onnx: the integer model against the formula


def test_integer_model_every_exponent_and_corner():
    acc = int32_corners()[:, None]
    mantissas = np.array([0, 1, 2, 1 << 21, 1 << 22, 3 << 21, (1 << 23) - 2, (1 << 23) - 1])
    bits = (np.arange(1, 255)[:, None] << 23 | mantissas).ravel()[None]
    for zero_point, low, high in ((0, -128, 127), (131, 0, 255), (-128, -128, 127), (9, 9, 200)):
        formula = requantize_onnx(acc, as_scale(bits), zero_point, low, high)
        same(requantize_onnx_integer(acc, bits, zero_point, low, high), formula)


def test_integer_model_random():
    rng = np.random.default_rng(14)
    for low, high in ((-128, 127), (0, 255), (-256, 255), (-7, 90)):
        acc, bits = float_cases(rng, 600_000)
        zero_point = rng.integers(low, high + 1, len(acc))
        formula = requantize_onnx(acc, as_scale(bits), zero_point, low, high)
        same(requantize_onnx_integer(acc, bits, zero_point, low, high), formula)


def test_three_roundings_are_not_one():
    """Rounding the exact product once is another function, and the cases used here show it."""
    rng = np.random.default_rng(15)
    acc, bits = float_cases(rng, 100_000)
    once = np.rint(acc.astype(np.float64) * as_scale(bits).astype(np.float64))
    thrice = requantize_onnx(acc, as_scale(bits), 0, -256, 255)
    assert np.mean(np.clip(once, -256, 255) != thrice) > 0.01


def test_integer_model_outside_the_domain():
    acc = np.array([-(1 << 31), -5, -1, 0, 1, 5, (1 << 31) - 1])
    infinite, nan = 0xFF << 23, 0xFF << 23 | 0x400001
    for bits in (infinite, nan):
        expected = [-128, -128, -128, 3, 127, 127, 127]
        same(requantize_onnx_integer(acc, bits, 3, -128, 127), expected)
    for bits in (0, 1, 0x7FFFFF):
        same(requantize_onnx_integer(acc, bits, 3, -128, 127), [3] * 7)
        same(requantize_onnx_integer(acc, bits, 3, 10, 127), [10] * 7)
    one = 127 << 23
    positive = requantize_onnx_integer(acc, one, 0, -128, 127)
    same(requantize_onnx_integer(acc, one | 1 << 31, 0, -128, 127), positive)


@pytest.mark.parametrize("scale", [0.0, -0.5, np.nan, np.inf, 1e-39])
def test_formula_refuses_bad_scales(scale):
    with pytest.raises(ValueError, match=r"^scale is .*; legal: a positive normal binary32"):
        requantize_onnx(1, np.float32(scale), 0, -128, 127)


# ---- tflite: against gemmlowp's recipe as it is published, one element at a time


def truncated_divide(value, divisor):
    return value // divisor if value >= 0 else -(-value // divisor)


def gemmlowp_high_mul(a, b):
    """SaturatingRoundingDoublingHighMul: the sign chooses the nudge, division truncates."""
    if a == b == -(1 << 31):
        return (1 << 31) - 1
    product = a * b
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    return truncated_divide(product + nudge, 1 << 31)


def gemmlowp_divide_by_pot(x, exponent):
    """RoundingDivideByPOT: mask, remainder and threshold."""
    mask = (1 << exponent) - 1
    remainder = x & mask
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if remainder > threshold else 0)


def gemmlowp(acc, q, shift):
    shifted = min(max(acc * (1 << max(shift, 0)), -(1 << 31)), (1 << 31) - 1)
    return gemmlowp_divide_by_pot(gemmlowp_high_mul(shifted, q), max(-shift, 0))


def single_rounding(acc, q, shift):
    """Round the exact rational acc * q * 2^(shift - 31) half up."""
    return math.floor(Fraction(acc * q) * Fraction(2) ** (shift - 31) + Fraction(1, 2))


@pytest.mark.parametrize("low,high,zero_point", [(-128, 127, -3), (0, 255, 128), (-256, 255, 0)])
def test_fixed_point_recipe(low, high, zero_point):
    rng = np.random.default_rng([16, high])
    acc, q, shift = fixed_point_cases(rng, 60_000)
    for model, recipe in (
        (requantize_tflite, gemmlowp),
        (requantize_tflite_single, single_rounding),
    ):
        triples = zip(acc.tolist(), q.tolist(), shift.tolist(), strict=True)
        expected = [min(max(recipe(*t) + zero_point, low), high) for t in triples]
        same(model(acc, q, shift, zero_point, low, high), expected)


def test_fixed_point_modes_differ():
    rng = np.random.default_rng(17)
    acc = rng.integers(-(1 << 12), 1 << 12, 100_000)
    q = rng.integers(1 << 30, 1 << 31, len(acc))
    double = requantize_tflite(acc, q, -4, 0, -256, 255)
    assert 0.01 < np.mean(double != requantize_tflite_single(acc, q, -4, 0, -256, 255)) < 0.1


def test_small_multipliers_and_one_rounding():
    """What MEAN makes of its scale is less than 2^30; a bit beside a multiplier rounds once."""
    rng = np.random.default_rng(18)
    acc, q, shift = fixed_point_cases(rng, 20_000)
    q, shift = q >> rng.integers(0, 8, len(q)), np.minimum(shift, 0)
    triples = list(zip(acc.tolist(), q.tolist(), shift.tolist(), strict=True))
    for recipe, word in ((gemmlowp, q), (single_rounding, q | ONCE)):
        expected = [min(max(recipe(*t), -256), 255) for t in triples]
        same(requantize_tflite(acc, word, shift, 0, -256, 255), expected)
    mixed = np.where(np.arange(len(q)) % 2, q | ONCE, q)
    got = requantize_tflite(acc, mixed, shift, 0, -256, 255)
    same(got[::2], requantize_tflite(acc, q, shift, 0, -256, 255)[::2])
    same(got[1::2], requantize_tflite_single(acc, q, shift, 0, -256, 255)[1::2])


def test_zero_multiplier():
    for model in (requantize_tflite, requantize_tflite_single):
        same(model(int32_corners(), 0, 0, 9, -128, 127), np.full(int32_corners().shape, 9))


@pytest.mark.parametrize("model", [requantize_tflite, requantize_tflite_single])
def test_fixed_point_refuses(model):
    with pytest.raises(ValueError, match=r"^multiplier is 1073741823; legal: 0 or 2\^30"):
        model(1, [1 << 30, (1 << 30) - 1], 1, 0, -128, 127)
    with pytest.raises(ValueError, match=r"^multiplier is 4294967296; legal: 0 to 2\^31 - 1"):
        model(1, 1 << 32, 0, 0, -128, 127)
    with pytest.raises(ValueError, match=r"^shift is 31; legal: -31 to 30"):
        model(1, 1 << 30, 31, 0, -128, 127)


# ---- shift


def test_shift_is_exact():
    acc = int32_corners()
    for shift in range(32):
        exact = [math.floor(Fraction(int(a), 1 << shift) + Fraction(1, 2)) for a in acc]
        same(requantize_shift(acc, shift, -7, -128, 127), np.clip(np.array(exact) - 7, -128, 127))
    same(requantize_shift([3, -3, 5, -5], 1, 0, -128, 127), [2, -1, 3, -2])
    with pytest.raises(ValueError, match=r"^shift is 32; legal: 0 to 31"):
        requantize_shift(1, 32, 0, -128, 127)
