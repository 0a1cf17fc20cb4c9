# SPDX-License-Identifier: Apache-2.0
"""Softmax: mode onnx against ONNX Runtime, the others against real numbers."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.golden.softmax import exp_on_negative_values, reciprocal, softmax, softmax_onnx
from kiwicha.machine.scales import quantize_multiplier
from kiwicha.machine.tables import softmax_tables

TYPES = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}


def ort_softmax(x, x_scale, y_scale, y_zero):
    dtype = x.dtype.type
    constants = {
        "sx": np.float32(x_scale),
        "zx": dtype(3),
        "sy": np.float32(y_scale),
        "zy": dtype(y_zero),
    }
    node = helper.make_node(
        "QLinearSoftmax", ["x", "sx", "zx", "sy", "zy"], ["y"],
        domain="com.microsoft", axis=-1, opset=13,
    )
    graph = helper.make_graph(
        [node],
        "softmax",
        [helper.make_tensor_value_info("x", TYPES[dtype], x.shape)],
        [helper.make_tensor_value_info("y", TYPES[dtype], None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def rows_of(dtype, rng, length, count):
    """Random, narrow, all equal, one hot and saturated rows."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = rng.integers(low, high + 1, (count, length))
    x[1::3] = np.clip(np.rint(rng.normal((low + high) / 2, 12, x[1::3].shape)), low, high)
    x[0] = x[0, 0]
    x[1] = np.where(np.arange(length) == length // 2, high, low)
    x[2] = high
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("length", [2, 3, 7, 16, 64, 197, 1000, 4096, 20000])
def test_onnx_runtime(dtype, length):
    rng = np.random.default_rng([1, length, dtype is np.int8])
    low = np.iinfo(dtype).min
    outputs = ((1 / 256, low), (1 / 256, 0), (1 / 256, 7), (1 / 255, low), (0.01, 3), (3.0, 1))
    # From 0.7 on ONNX Runtime's table has denormals and zeros.
    for x_scale in (1e-30, 1e-4, 0.013, 0.1, 0.3, 0.7, 1.3, 30.0):
        for y_scale, y_zero in outputs:
            x = rows_of(dtype, rng, length, max(3, 1500 // length))
            real = ort_softmax(x, x_scale, y_scale, y_zero)
            model = softmax(x, x_scale, y_scale, y_zero, dtype, "onnx")
            assert np.array_equal(model, real), (x_scale, y_scale, y_zero)


def test_onnx_runtime_every_length_at_a_half():
    """Equal elements give factor / n: a half wherever n divides so, decided by the table's bits."""
    for length in range(2, 500):
        x = np.zeros((1, length), np.int8)
        for halves in (25, 51):
            y_scale = 2 / (halves * length)
            model = softmax(x, 0.1, y_scale, -128, np.int8, "onnx")
            assert np.array_equal(model, ort_softmax(x, 0.1, y_scale, -128)), (length, halves)


def test_onnx_sum_is_in_order():
    """NumPy's own sum adds in another order, and gives other results somewhere."""
    rng = np.random.default_rng(2)
    below = rng.integers(0, 256, (3000, 1000))
    below[:, 0] = 0
    e = np.exp(-0.02 * np.arange(256)).astype(np.float32)[below]
    pairwise = np.rint(e * np.float32(8192) / e.sum(-1, keepdims=True, dtype=np.float32))
    assert np.any(pairwise != softmax_onnx(below, np.float32(0.02), np.float32(2.0**-13)))


def real_softmax(x, x_scale):
    value = x.astype(np.float64) * float(np.float32(x_scale))
    e = np.exp(value - value.max(axis=-1, keepdims=True))
    return 256 * e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("length", [1, 2, 8, 64, 511, 1000, 4095])
def test_tflite_is_close_to_the_softmax(dtype, length):
    rng = np.random.default_rng([3, length, dtype is np.int8])
    low = int(np.iinfo(dtype).min)
    for x_scale in (1e-4, 0.01, 0.05, 0.1, 0.3, 1.0, 5.0):
        x = rows_of(dtype, rng, length, max(3, 4000 // length))
        if length > 511:
            x[2] = np.where(np.arange(length) % 7, low, x[2])
        codes = softmax(x, x_scale, 1 / 256, low, dtype, "tflite").astype(int) - low
        # The sum's 19 fraction bits show only where thousands of small terms are rounded.
        difference = np.abs(codes - np.minimum(real_softmax(x, x_scale), 255))
        assert difference.max() < (0.501 if length <= 1000 else 1), x_scale


def test_exp_on_negative_values():
    rng = np.random.default_rng(6)
    a = -np.concatenate([np.arange(1000), rng.integers(0, 31 << 26, 100_000)])
    error = np.abs(exp_on_negative_values(a) / 2.0**31 - np.exp(a / 2.0**26))
    assert error.max() < 2.5e-7
    # Relative to the result: each power of the table is right to its last bit.
    powers = exp_on_negative_values(-(np.arange(1, 17) << 26))
    exact = np.exp(-np.arange(1.0, 17.0)) * 2.0**31
    assert np.all(np.abs(powers - exact) <= 1 + 3e-7 * exact)
    # Right below -16, where the last of them comes in: 188.2.
    assert exp_on_negative_values(np.array(-(65 << 24))) == 188
    assert softmax_tables("tflite", 0.65, 8)[1][25] == 188
    # The tables' own exponential, at a scale that brings in every power.
    multiplier, left = quantize_multiplier(float(np.float32(0.999)) * 2.0**26)
    a = (-(np.arange(32) << left) * multiplier + (1 << 30)) >> 31
    assert np.array_equal(softmax_tables("tflite", 0.999, 8)[1][:32], exp_on_negative_values(a))


def test_tflite_leaves_out_what_lies_far_below():
    # 31 * 2^26 / 2^left: at the scale 0.5 left is 26, 31 codes below the maximum count.
    table = softmax_tables("tflite", 0.5, 8)[1]
    assert table[31] == np.rint(np.exp(-15.5) * 2.0**31)
    assert not table[32:].any()
    flat = np.zeros((1, 4095), np.uint8)
    assert not softmax(flat, 0.5, 1 / 256, 0, np.uint8, "tflite").any()


def test_reciprocal():
    rng = np.random.default_rng(4)
    corners = [1 << k for k in range(19, 31)] + [(1 << k) - 1 for k in range(20, 32)]
    total = np.array([*corners, *rng.integers(1 << 19, 1 << 31, 100_000)])
    r, e = reciprocal(total)
    assert (r.min(), r.max()) == ((1 << 30) - 4, (1 << 31) - 1)
    assert (e.min(), e.max()) == (23, 34)
    exact = np.ldexp(np.float64(1 << 19) / total, 8 + e)
    assert np.abs(r - exact).max() <= 8


@pytest.mark.parametrize("length", [1, 2, 8, 64, 511, 1000, 4096])
def test_integer_is_close_to_the_softmax(length):
    rng = np.random.default_rng([5, length])
    for x_scale in (2.0**-30, 1e-4, 0.01, 0.05, 0.1, 0.3, 1.0, 5.0, 1000.0):
        x = rows_of(np.int8, rng, length, max(3, 4000 // length))
        codes = softmax(x, x_scale, 1 / 256, -128, np.int8, "integer").astype(int) + 128
        # It rounds down, I-BERT's exponential is within 0.0019, and of thousands of small terms
        # 16 bits keep nothing.
        difference = codes - real_softmax(x, x_scale)
        assert -1.2 < difference.min()
        assert difference.max() < (0.5 if length <= 1000 else 2.1)
        unsigned = (x.astype(int) + 128).astype(np.uint8)
        same = softmax(unsigned, x_scale, 1 / 256, 0, np.uint8, "integer")
        assert np.array_equal(same, codes)


def test_refusals():
    x = np.zeros((2, 4), np.int8)
    for scale in (0.0, -1.0, np.nan, np.inf, 1e-40):
        with pytest.raises(ValueError, match=r"^x_scale is .*; legal: a positive normal"):
            softmax(x, scale, 1 / 256, -128, np.int8, "onnx")
        with pytest.raises(ValueError, match=r"^y_scale is .*; legal: a positive normal"):
            softmax(x, 0.1, scale, -128, np.int8, "onnx")
    with pytest.raises(ValueError, match=r"^y_scale is 0.00390625; too small for a row of 1 "):
        softmax(x[:, :1], 0.1, 1 / 256, -128, np.int8, "onnx")
    for mode in ("tflite", "integer"):
        with pytest.raises(ValueError, match=r"legal in mode .*: 1/256, -128"):
            softmax(x, 0.1, 1 / 255, -128, np.int8, mode)
        with pytest.raises(ValueError, match=r"legal in mode .*: 1/256, -128"):
            softmax(x, 0.1, 1 / 256, 0, np.int8, mode)
    with pytest.raises(ValueError, match=r"^a row has 4096 elements; legal in mode tflite"):
        softmax(np.zeros((1, 4096), np.int8), 0.1, 1 / 256, -128, np.int8, "tflite")
    with pytest.raises(ValueError, match=r"legal in mode tflite: above 2\^-26"):
        softmax(x, 2.0**-26, 1 / 256, -128, np.int8, "tflite")
    with pytest.raises(ValueError, match=r"legal in mode integer: 2\^-30 to 2\^16"):
        softmax(x, 2.0**18, 1 / 256, -128, np.int8, "integer")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_tflite_is_litert(dtype):
    """LiteRT's reference kernel, over input scales and lengths of rows; it aborts where a sum of
    exponentials reaches 512."""
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")
    from ..support.litert import Operand, run_operator

    rng, low = np.random.default_rng(np.iinfo(dtype).max), int(np.iinfo(dtype).min)
    for turn in range(80):
        length = int(rng.choice([1, 2, 3, 10, 12, 64, 511, rng.integers(1, 512)]))
        x = rows_of(dtype, rng, length, 40)
        power = rng.uniform(-20, 12) if turn % 4 else rng.integers(-8, 2)
        x_scale = np.float32(2.0**power)
        expected = run_operator(
            "SOFTMAX", [Operand(x, x_scale, 3)], Operand(np.empty(x.shape, dtype), 1 / 256, low),
            2 if dtype == np.int8 else 1, {"beta": 1.0}, "Softmax",
        )
        y = softmax(x, x_scale, 1 / 256, low, dtype, "tflite")
        np.testing.assert_array_equal(y, expected, f"{x_scale} {length}")
