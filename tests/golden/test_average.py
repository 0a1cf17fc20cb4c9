# SPDX-License-Identifier: Apache-2.0
"""golden.average against ONNX Runtime's QLinearAveragePool and QLinearGlobalAveragePool."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.golden.average import average_pool, global_average_pool

TYPES = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}


def runtime(operator, x, scales, **attributes):
    """Return what ONNX Runtime makes of codes; ``scales``: x's scale and zero point, and y's."""
    names = ("x_scale", "x_zero", "y_scale", "y_zero")
    kind = TYPES[x.dtype.type]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *names], ["y"], domain="com.microsoft", **attributes)],
        "test", [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in zip(names, scales, strict=True)],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, ir_version=8, opset_imports=imports)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["y"], {"x": x})[0]


def draw(rng, size):
    """Codes of an image, and scales: equal, decimal, powers of two or any."""
    dtype = [np.uint8, np.int8][rng.randint(2)]
    info = np.iinfo(dtype)
    x = rng.randint(info.min, info.max + 1, (2, 3, *size)).astype(dtype)
    x_scale = np.float32([0.1, 0.25, rng.uniform(1e-3, 0.2)][rng.randint(3)])
    y_scale = np.float32(x_scale * [1, 1, 0.5, rng.uniform(0.2, 3)][rng.randint(4)])
    zeros = rng.randint(info.min, info.max + 1, 2).astype(dtype)
    return x, (x_scale, zeros[0], y_scale, zeros[1])


@pytest.mark.parametrize("seed", range(60))
def test_windows(seed):
    rng = np.random.RandomState(seed)
    rank = int(rng.randint(1, 4))
    kernel = tuple(map(int, rng.randint(1, 5, rank)))
    size = tuple(int(k + rng.randint(0, 5)) for k in kernel)
    strides = tuple(map(int, rng.randint(1, 4, rank)))
    pads = tuple(int(rng.randint(0, k)) * (seed % 4 > 0) for k in (*kernel, *kernel))
    x, scales = draw(rng, size)
    include = bool(rng.randint(2))
    expected = runtime(
        "QLinearAveragePool", x, scales, kernel_shape=kernel, strides=strides, pads=pads,
        count_include_pad=int(include), ceil_mode=int(rng.randint(2)),
    )
    y = average_pool(
        x, scales[0], int(scales[1]), scales[2], int(scales[3]), kernel, strides=strides, pads=pads,
        output=expected.shape[2:], count_include_pad=include,
    )
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("seed", range(20))
def test_whole_images(seed):
    rng = np.random.RandomState(seed)
    size = tuple(map(int, rng.randint(1, 20, rng.randint(1, 4))))
    x, scales = draw(rng, size)
    y = global_average_pool(x, scales[0], int(scales[1]), scales[2], int(scales[3]))
    expected = runtime("QLinearGlobalAveragePool", x, scales, channels_last=0)
    np.testing.assert_array_equal(y, expected)
