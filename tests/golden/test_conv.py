# SPDX-License-Identifier: Apache-2.0
"""golden.conv against plain loops and against ONNX Runtime's QLinearConv."""

from itertools import product

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.golden.conv import conv2d, wrap_int32
from kiwicha.golden.requantize import requantize_onnx


def loops(x, w, x_zero, w_zero, groups, strides, pads, dilations):
    """Convolution as it is defined, in Python integers."""
    images, _, height, width = x.shape
    outputs, depth, kernel_h, kernel_w = w.shape
    rows = (height + pads[0] + pads[2] - (kernel_h - 1) * dilations[0] - 1) // strides[0] + 1
    columns = (width + pads[1] + pads[3] - (kernel_w - 1) * dilations[1] - 1) // strides[1] + 1
    y = np.zeros((images, outputs, rows, columns), object)
    for n, o, r, c in product(*map(range, y.shape)):
        for d, i, j in product(range(depth), range(kernel_h), range(kernel_w)):
            row = r * strides[0] + i * dilations[0] - pads[0]
            column = c * strides[1] + j * dilations[1] - pads[1]
            if 0 <= row < height and 0 <= column < width:
                channel = o // (outputs // groups) * depth + d
                value = int(x[n, channel, row, column]) - x_zero
                y[n, o, r, c] += value * (int(w[o, d, i, j]) - int(w_zero[o]))
    return y


def draw(seed):
    """A random convolution: arrays and keyword arguments."""
    rng = np.random.RandomState(seed)
    groups, kernel, dilations = rng.randint(1, 4), rng.randint(1, 4, 2), rng.randint(1, 3, 2)
    pads = tuple(int(rng.randint(0, k * d)) for k, d in (*zip(kernel, dilations, strict=True),) * 2)
    size = np.maximum(rng.randint(3, 9, 2), (kernel - 1) * dilations + 1)
    dtype, w_dtype = [(np.uint8, np.uint8), (np.int8, np.int8)][seed % 2]
    reach, w_reach = np.iinfo(dtype), np.iinfo(w_dtype)
    x_shape = (rng.randint(1, 3), groups * rng.randint(1, 4), *size)
    outputs = groups * rng.randint(1, 4)
    x = rng.randint(reach.min, reach.max + 1, x_shape).astype(dtype)
    w_shape = (outputs, x_shape[1] // groups, *kernel)
    w = rng.randint(w_reach.min, w_reach.max + 1, w_shape).astype(w_dtype)
    return x, w, {
        "x_zero": int(rng.randint(reach.min, reach.max + 1)),
        "weight_zero": rng.randint(w_reach.min, w_reach.max + 1, outputs).astype(w_dtype),
        "groups": groups, "strides": tuple(int(s) for s in rng.randint(1, 4, 2)),
        "pads": pads, "dilations": tuple(int(d) for d in dilations),
    }


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_definition(seed):
    x, w, given = draw(seed)
    expected = loops(x, w, *given.values())
    assert np.array_equal(conv2d(x, w, **given), expected.astype(np.int64))


def run_onnx(x, w, given, scales, bias, y_zero):
    """QLinearConv alone in ONNX Runtime."""
    constants = {
        "xs": np.float32(scales[0]), "xz": x.dtype.type(given["x_zero"]), "w": w,
        "ws": scales[1], "wz": given["weight_zero"], "ys": np.float32(scales[2]),
        "yz": x.dtype.type(y_zero), "b": bias,
    }
    top, left, bottom, right = given["pads"]
    node = helper.make_node(
        "QLinearConv", ["x", *constants], ["y"], group=given["groups"],
        strides=given["strides"], dilations=given["dilations"], pads=[top, left, bottom, right],
    )
    kind = TensorProto.UINT8 if x.dtype == np.uint8 else TensorProto.INT8
    graph = helper.make_graph(
        [node], "conv",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("seed", range(100, 140))
def test_equals_onnx_runtime(seed):
    x, w, given = draw(seed)
    rng = np.random.RandomState(seed)
    acc = conv2d(x, w, **given)
    spread = np.float32(2.0) ** rng.uniform(-3, 3, len(w)).astype(np.float32)
    scales = (0.02, np.float32(0.01) * spread, np.float32(2e-6 * max(1, np.abs(acc).max())))
    bias = rng.randint(-9999, 9999, len(w)).astype(np.int32)
    info = np.iinfo(x.dtype)
    y_zero = rng.randint(info.min, info.max + 1)
    scale = np.float32(scales[0]) * scales[1] / scales[2]
    total = acc + bias[:, None, None]
    expected = requantize_onnx(total, scale[:, None, None], y_zero, info.min, info.max)
    assert len(np.unique(expected)) > 1
    assert np.array_equal(run_onnx(x, w, given, scales, bias, y_zero), expected)


def test_sums_wrap_to_int32():
    x = np.full((1, 70000, 1, 1), 255, np.uint8)
    w = np.full((1, 70000, 1, 1), 255, np.uint8)
    exact = 255 * 255 * 70000
    assert exact > 1 << 31
    assert conv2d(x, w).item() == (exact + (1 << 31)) % (1 << 32) - (1 << 31)
    assert wrap_int32(np.array([1 << 31])).item() == -(1 << 31)


@pytest.mark.parametrize(
    ("shape", "weights", "groups", "message"),
    [
        ((1, 3, 4, 4), (2, 2, 1, 1), 1, r"^3 channels, weights \(2, 2, 1, 1\), 1 groups$"),
        ((1, 4, 4, 4), (3, 2, 1, 1), 2, r"^4 channels, weights \(3, 2, 1, 1\), 2 groups$"),
        ((1, 1, 2, 4), (1, 1, 3, 3), 1, r"^kernel spans \(.*3.*3.*\), the padded image \(2, 4\)$"),
    ],
)
def test_refuses_what_does_not_fit(shape, weights, groups, message):
    with pytest.raises(ValueError, match=message):
        conv2d(np.zeros(shape, np.int8), np.zeros(weights, np.int8), groups=groups)
