# SPDX-License-Identifier: Apache-2.0
"""golden.conv_transpose against plain loops and against ONNX Runtime's ConvTranspose in float."""

from itertools import product

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kiwicha.golden.conv_transpose import conv_transpose2d


def draw(seed):
    """A random transposed convolution: x, weights, size of the result, keyword arguments."""
    rng = np.random.RandomState(seed)
    groups, kernel, strides = rng.randint(1, 3), rng.randint(1, 5, 2), rng.randint(1, 5, 2)
    dilations, image = rng.randint(1, 4, 2), rng.randint(1, 5, 2)
    full = (image - 1) * strides + (kernel - 1) * dilations + 1
    pads = [int(rng.randint(0, f)) for f in full]
    size = tuple(int(rng.randint(1, f - p + 1)) for f, p in zip(full, pads, strict=True))
    x = rng.randint(0, 256, (2, groups * rng.randint(1, 4), *image)).astype(np.uint8)
    outputs = groups * rng.randint(1, 4)
    weights = rng.randint(-128, 128, (outputs, x.shape[1] // groups, *kernel)).astype(np.int8)
    return x, weights, size, {
        "x_zero": int(rng.randint(256)), "weight_zero": rng.randint(-128, 128, outputs),
        "groups": int(groups), "strides": tuple(map(int, strides)), "pads": tuple(pads),
        "dilations": tuple(map(int, dilations)),
    }


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_definition(seed):
    x, weights, size, given = draw(seed)
    real = x.astype(int) - given["x_zero"]
    w = weights.astype(int) - given["weight_zero"][:, None, None, None]
    depth, outputs = weights.shape[1], weights.shape[0] // given["groups"]
    y = np.zeros((len(x), len(weights), *size), int)
    for n, o, c, i, j, *tap in product(
        range(len(x)), *map(range, (len(weights), depth, *x.shape[2:], *weights.shape[2:]))
    ):
        row, column = (
            place * stride - pad + k * dilation
            for place, stride, pad, k, dilation in zip(
                (i, j), given["strides"], given["pads"], tap, given["dilations"], strict=True
            )
        )
        if 0 <= row < size[0] and 0 <= column < size[1]:
            y[n, o, row, column] += real[n, o // outputs * depth + c, i, j] * w[(o, c, *tap)]
    assert np.array_equal(conv_transpose2d(x, weights, size, **given), y)


@pytest.mark.parametrize("seed", range(12))
def test_equals_onnx_runtime(seed):
    """Sums of so few products are exact in binary32."""
    x, weights, size, given = draw(seed)
    groups, strides, dilations = given["groups"], given["strides"], given["dilations"]
    full = [
        (i - 1) * s + (k - 1) * d + 1
        for i, s, k, d in zip(x.shape[2:], strides, weights.shape[2:], dilations, strict=True)
    ]
    ends = [f - p - s for f, p, s in zip(full, given["pads"], size, strict=True)]
    node = helper.make_node(
        "ConvTranspose", ["x", "w"], ["y"], group=groups, strides=strides, dilations=dilations,
        pads=[*given["pads"], *ends],
    )
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xwy"]
    graph = helper.make_graph([node], "test", info[:2], info[2:])
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    ).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    w = weights - given["weight_zero"][:, None, None, None]
    parts = w.reshape(groups, len(w) // groups, *w.shape[1:]).swapaxes(1, 2)
    w = parts.reshape(x.shape[1], len(w) // groups, *w.shape[2:])
    feeds = {"x": (x - float(given["x_zero"])).astype(np.float32), "w": w.astype(np.float32)}
    (y,) = session.run(None, feeds)
    assert np.array_equal(conv_transpose2d(x, weights, size, **given), y)


def test_negative_pads_leave_zeros_in_front():
    ones = np.ones((1, 1, 1, 2), np.uint8)
    y = conv_transpose2d(ones, np.ones((1, 1, 1, 1), np.int8), (1, 5), strides=(1, 2), pads=(0, -1))
    assert y.tolist() == [[[[0, 1, 0, 1, 0]]]]


def test_groups_that_do_not_divide_the_channels():
    with pytest.raises(ValueError, match="3 channels"):
        conv_transpose2d(np.ones((1, 3, 2, 2)), np.ones((2, 2, 1, 1)), (2, 2), groups=2)
