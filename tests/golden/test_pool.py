# SPDX-License-Identifier: Apache-2.0
"""golden.pool against plain loops, and the maximum against ONNX Runtime's MaxPool."""

from itertools import product

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kiwicha.golden.pool import max_pool2d, sum_pool2d


def draw(seed):
    rng = np.random.RandomState(seed)
    info = np.iinfo([np.uint8, np.int8][seed % 2])
    kernel, dilations = rng.randint(1, 4, 2), rng.randint(1, 3, 2)
    pads = tuple(int(rng.randint(0, k)) for k in (*kernel, *kernel))
    size = np.maximum(rng.randint(3, 9, 2), (kernel - 1) * dilations + 2)
    x = rng.randint(info.min, info.max + 1, (2, 3, *size)).astype(info.dtype)
    return x, tuple(map(int, kernel)), {
        "strides": tuple(map(int, rng.randint(1, 4, 2))),
        "pads": pads,
        "dilations": tuple(map(int, dilations)),
    }


def loops(x, kernel, strides, pads, dilations, reduce=max):
    """The maximum (or sum) of every window, in plain loops."""
    size = [
        (x.shape[2 + a] + pads[a] + pads[a + 2] - (kernel[a] - 1) * dilations[a] - 1) // strides[a]
        + 1
        for a in (0, 1)
    ]
    y = np.empty((*x.shape[:2], *size), np.int32)
    for n, c, r, k in product(*map(range, y.shape)):
        y[n, c, r, k] = reduce(
            int(x[n, c, i, j])
            for i in (r * strides[0] - pads[0] + t * dilations[0] for t in range(kernel[0]))
            for j in (k * strides[1] - pads[1] + t * dilations[1] for t in range(kernel[1]))
            if 0 <= i < x.shape[2] and 0 <= j < x.shape[3]
        )
    return y


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_definition(seed):
    x, kernel, given = draw(seed)
    assert np.array_equal(max_pool2d(x, kernel, **given), loops(x, kernel, **given))


@pytest.mark.parametrize("seed", range(20))
def test_sum_equals_the_definition(seed):
    x, kernel, given = draw(seed)
    real = x.astype(np.int32) - int(x.flat[0])  # minus a zero point: what padding adds nothing to
    expected = loops(real, kernel, **given, reduce=sum)
    assert np.array_equal(sum_pool2d(real, kernel, **given), expected)


def test_sum_is_that_of_the_accumulators():
    x = np.full((1, 1, 1, 3), 2**30, np.int32)
    assert sum_pool2d(x, (1, 3)).item() == 3 * 2**30 - 2**32


@pytest.mark.parametrize("seed", range(100, 140))
def test_equals_onnx_runtime(seed):
    x, kernel, given = draw(seed)
    kind = TensorProto.UINT8 if x.dtype == np.uint8 else TensorProto.INT8
    graph = helper.make_graph(
        [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=kernel, **given)], "pool",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert np.array_equal(session.run(None, {"x": x})[0], max_pool2d(x, kernel, **given))


def test_padding_never_wins():
    x = np.full((1, 1, 2, 2), -128, np.int8)
    assert (max_pool2d(x, (2, 2), pads=(1, 1, 1, 1)) == -128).all()


def test_refuses_a_window_of_padding_alone():
    with pytest.raises(ValueError, match="^a window lies in the padding altogether$"):
        max_pool2d(np.zeros((1, 1, 2, 2), np.int8), (1, 1), pads=(1, 0, 0, 0))
