# SPDX-License-Identifier: Apache-2.0
"""Modes `tflite` and `tflite-single` against LiteRT's reference kernels, from an ONNX model of the
same layer through the compiler to the golden network."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnfitMachine
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.fixed_scales import mean_scale
from kiwicha.machine.scales import encode_scale

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from ..support.litert import Operand, run_layer, run_operator

CHANNELS = 512


def onnx_layer(kind, w, bias, scales, zeros, x_shape):
    """The same layer as ONNX has it; weights O H W I, 1 H W C, or O I."""
    if kind == "dense":
        w, op = w.T, "QGemm"
    else:
        w = w.transpose(0, 3, 1, 2) if kind == "conv" else w.transpose(3, 0, 1, 2)
        op = "QLinearConv"
    per_channel = np.ndim(scales[1]) > 0
    zero = np.zeros(np.size(scales[1]) if per_channel else (), np.int8)
    values = {
        "xs": np.float32(scales[0]), "xz": np.int8(zeros[0]), "w": np.ascontiguousarray(w),
        "ws": np.asarray(scales[1], np.float32), "wz": zero, "ys": np.float32(scales[2]),
        "yz": np.int8(zeros[1]), "b": bias,
    }
    if kind == "dense":
        names = ["x", "xs", "xz", "w", "ws", "wz", "b", "ys", "yz"]
        node = helper.make_node(op, names, ["y"], domain="com.microsoft")
    else:
        names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
        group = 1 if kind == "conv" else len(bias)
        node = helper.make_node(op, names, ["y"], group=group)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.INT8, x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    domains = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def golden_layer(kind, x, w, bias, scales, zeros, mode):
    """The golden network's result on that model, as LiteRT orders it, and the node."""
    x = x if kind == "dense" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    graph = legalize(lower(onnx_layer(kind, w, bias, scales, zeros, x.shape)))
    y = evaluate(graph, {"x": x}, mode)["y"]
    return (y if kind == "dense" else y.transpose(0, 2, 3, 1)), graph.nodes[-1]


def layer(rng, kind, power, per_channel):
    """Operands of a layer whose scale is about 2^power and whose biases aim at halves of codes.

    Where they are large, the two ways to multiply the scales end on different sides of such a half.
    """
    depth = 1 if kind == "depthwise" else 3
    w = rng.integers(-127, 128, {
        "conv": (CHANNELS, 2, 2, depth), "depthwise": (1, 2, 2, CHANNELS), "dense": (CHANNELS, 8)
    }[kind], dtype=np.int8)
    shape = {"conv": (2, 2, 2, depth), "depthwise": (2, 2, 2, CHANNELS), "dense": (2, 8)}[kind]
    zeros = int(rng.integers(-128, 128)), int(rng.integers(-128, 128))
    x = rng.integers(-128, 128, shape, dtype=np.int8)
    x[: 2 if power > 10 else 1] = zeros[0]  # the bias alone
    # Extreme factors, whose ratio is as wanted; no product overflows or is denormal in binary32.
    x_power, y_power = rng.integers(-20, 20, 2)
    x_scale = np.float32(rng.uniform(1, 2) * 2.0**x_power)
    y_scale = np.float32(rng.uniform(1, 2) * 2.0**y_power)
    count = CHANNELS if per_channel else ()
    w_scale = np.float32(rng.uniform(1, 2, count) * 2.0 ** (power + y_power - x_power))
    scale = float(x_scale) * w_scale.astype(np.float64) / float(y_scale)
    half = (rng.integers(-129, 130, CHANNELS) + 0.5) / scale
    bias = np.rint(half * (1 - 2.0**-26)) + rng.integers(-1, 2, CHANNELS)
    most = min(2**31 / max(scale.max() * 4, 1), 2**31) - 2**20
    bias = np.clip(bias, -max(most, 1), max(most, 1))
    some = rng.random(CHANNELS) < 0.1
    bias[some] = rng.choice([-1, 1], some.sum()) * max(most, 1)
    return x, w, bias.astype(np.int32), (x_scale, w_scale, y_scale), zeros


def accumulators(kind, x, w, bias, zeros):
    real = x.astype(np.int64) - zeros[0]
    if kind == "dense":
        return real @ w.T.astype(np.int64) + bias
    if kind == "conv":
        return np.einsum("nhwi,ohwi->no", real, w.astype(np.int64))[:, None, None] + bias
    return (real * w.astype(np.int64)).sum((1, 2), keepdims=True) + bias


POWERS = [*range(-36, 12, 2), -23, -21, -19, 16, 23, 28]


@pytest.mark.parametrize("kind,per_channel", [
    ("conv", True), ("conv", False), ("depthwise", True), ("depthwise", False),
])
def test_convolutions_are_tflite(kind, per_channel):
    """Bit for bit, over shifts to either side and accumulators up to the largest."""
    rng = np.random.default_rng([len(kind), per_channel])
    rounded = narrow = 0
    for power in POWERS:
        x, w, bias, scales, zeros = layer(rng, kind, power, per_channel)
        y, node = golden_layer(kind, x, w, bias, scales, zeros, "tflite")
        expected = run_layer(kind, x, w, bias, scales, zeros, y.shape)
        acc = accumulators(kind, x, w, bias, zeros)
        shift = encode_scale("tflite", node.scale64)[1]
        assert (np.abs(acc) << np.maximum(shift, 0) < 1 << 31).all(), "beyond what TFLite defines"
        np.testing.assert_array_equal(y, expected, f"2^{power}")
        single = golden_layer(kind, x, w, bias, scales, zeros, "tflite-single")[0]
        rounded += (single != expected).sum()
        narrow += (node.scale != node.scale64).mean()
    assert rounded > 100, "no case tells the roundings apart"
    assert narrow > 0.9 * len(POWERS), "no scale needs more than binary32"


@pytest.mark.parametrize("kind,per_channel", [("conv", True), ("depthwise", False)])
def test_programs_carry_these_multipliers(kind, per_channel):
    """The golden machine, on a program: wide accumulators tell one multiplier from the next."""
    config = AcceleratorConfig(name="wide", rows=8, columns=8, requantize_mode="tflite")
    x, w, bias, scales, zeros = layer(np.random.default_rng(4), kind, -21, per_channel)
    planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    graph = legalize(lower(onnx_layer(kind, w, bias, scales, zeros, planes.shape)))
    compiled = compile_graph(graph, config)
    memory = compiled.load(evaluate(graph, {"x": planes}, "tflite"))
    y = graph.tensors["y"]
    expected = run_layer(kind, x, w, bias, scales, zeros, (2, 1, 1, CHANNELS))
    assert not np.array_equal(golden_layer(kind, x, w, bias, scales, zeros, "onnx")[0], expected)
    Machine(config, memory, compiled.read_window, compiled.write_window).run(compiled.words)
    np.testing.assert_array_equal(compiled.read(memory, y).transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize("per_channel", [False, True])
def test_fully_connected_is_tflite_single_but_next_to_halves(per_channel):
    """Its reference kernel multiplies by the binary64 scale itself, not by a multiplier of 31 bits,
    and rounds halves away from zero."""
    rng = np.random.default_rng(per_channel)
    near = 0
    for power in (power for power in POWERS if power <= 10):  # LiteRT refuses larger ones
        x, w, bias, scales, zeros = layer(rng, "dense", power, per_channel)
        y, node = golden_layer("dense", x, w, bias, scales, zeros, "tflite-single")
        expected = run_layer("dense", x, w, bias, scales, zeros, y.shape)
        real = accumulators("dense", x, w, bias, zeros) * node.scale64
        away = np.sign(real) * np.floor(np.abs(real) + 0.5)
        np.testing.assert_array_equal(expected, np.clip(away + zeros[1], -128, 127))
        to_half = np.abs(np.abs(real - np.floor(real)) - 0.5)
        doubtful = to_half <= np.abs(real) * 2.0**-31
        np.testing.assert_array_equal(y[~doubtful], expected[~doubtful], f"2^{power}")
        near += doubtful.sum()
    assert near > 0


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("size", [(3, 3), (7, 5), (12, 12)])
def test_means_of_images(dtype, size):
    """MEAN's multiplier, below 2^30 for 49 values and others, through program and machine."""
    config = AcceleratorConfig(name="mean", rows=4, columns=4, requantize_mode="tflite")
    rng, info = np.random.default_rng([*size, np.iinfo(dtype).max]), np.iinfo(dtype)
    values = {
        "xs": np.float32(0.11), "xz": dtype(info.min + 60), "ys": np.float32(0.07),
        "yz": dtype(info.max - 90),
    }
    kind = TensorProto.INT8 if dtype == np.int8 else TensorProto.UINT8
    names = ["x", "xs", "xz", "ys", "yz"]
    graph = helper.make_graph(
        [helper.make_node(
            "QLinearGlobalAveragePool", names, ["y"], domain="com.microsoft", channels_last=0
        )],
        "g", [helper.make_tensor_value_info("x", kind, (2, 6, *size))],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    domains = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    lowered = lower(helper.make_model(graph, opset_imports=domains, ir_version=8))
    graph = legalize(lowered)
    (pool,) = graph.nodes
    count = size[0] * size[1]
    mean = replace(pool, scale64=mean_scale(float(values["xs"]), float(values["ys"]), count))
    graph = replace(graph, nodes=(mean,))
    x = rng.integers(0, 256, (2, 6, *size)).astype(np.uint8).view(dtype)
    x[0, :3] = rng.choice([info.min, info.max], (3, 1, 1))
    expected = run_operator(
        "MEAN",
        [
            Operand(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), values["xs"], values["xz"]),
            Operand(np.array([1, 2], np.int32), constant=True),
        ],
        Operand(np.empty((2, 1, 1, 6), dtype), values["ys"], values["yz"]),
        2 if dtype == np.int8 else 1, {"keepDims": True}, "Reducer",
    ).transpose(0, 3, 1, 2)
    tensors = evaluate(graph, {"x": x}, "tflite")
    np.testing.assert_array_equal(tensors["y"], expected)
    compiled = compile_graph(graph, config)
    memory = compiled.load(tensors)
    Machine(config, memory, compiled.read_window, compiled.write_window).run(compiled.words)
    np.testing.assert_array_equal(compiled.read(memory, mean.y), expected)
    with pytest.raises(UnfitMachine, match="LiteRT; requantize_mode is onnx; tflite would do"):
        compile_graph(graph, AcceleratorConfig())
