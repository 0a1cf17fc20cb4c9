# SPDX-License-Identifier: Apache-2.0
"""golden.matmul against plain loops and against ONNX Runtime's QLinearMatMul."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.golden.matmul import matmul
from kiwicha.golden.requantize import requantize_onnx


def draw(seed):
    rng = np.random.RandomState(seed)
    dtype = [np.uint8, np.int8][seed % 2]
    info = np.iinfo(dtype)
    shape = (*rng.randint(1, 4, seed % 3), rng.randint(1, 6), rng.randint(1, 40))
    x = rng.randint(info.min, info.max + 1, shape).astype(dtype)
    w = rng.randint(info.min, info.max + 1, (shape[-1], rng.randint(1, 20))).astype(dtype)
    x_zero = int(rng.randint(info.min, info.max + 1))
    zero = rng.randint(info.min, info.max + 1, w.shape[1]).astype(dtype)
    return rng, x, w, x_zero, zero


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_definition(seed):
    _, x, w, x_zero, zero = draw(seed)
    rows = x.reshape(-1, x.shape[-1])
    expected = [
        [
            sum(
                (int(a) - x_zero) * (int(b) - int(zero[n]))
                for a, b in zip(row, w[:, n], strict=True)
            )
            for n in range(w.shape[1])
        ]
        for row in rows
    ]
    acc = matmul(x, w, x_zero=x_zero, weight_zero=zero)
    assert acc.dtype == np.int32
    assert acc.shape == (*x.shape[:-1], w.shape[1])
    assert acc.reshape(len(rows), -1).tolist() == expected


@pytest.mark.parametrize("seed", range(100, 130))
def test_equals_onnx_runtime(seed):
    rng, x, w, x_zero, zero = draw(seed)
    acc = matmul(x, w, x_zero=x_zero, weight_zero=zero)
    info = np.iinfo(x.dtype)
    w_scale = rng.uniform(0.01, 0.1, w.shape[1]).astype(np.float32)
    y_scale = np.float32(1e-5 * max(1, np.abs(acc).max()))
    y_zero = rng.randint(info.min, info.max + 1)
    constants = {
        "xs": np.float32(0.02), "xz": x.dtype.type(x_zero), "w": w, "ws": w_scale, "wz": zero,
        "ys": y_scale, "yz": x.dtype.type(y_zero),
    }
    kind = TensorProto.UINT8 if x.dtype == np.uint8 else TensorProto.INT8
    graph = helper.make_graph(
        [helper.make_node("QLinearMatMul", ["x", *constants], ["y"])], "matmul",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    scale = np.float32(0.02) * w_scale / y_scale
    expected = requantize_onnx(acc, scale, y_zero, info.min, info.max)
    assert np.array_equal(session.run(None, {"x": x})[0], expected)


def test_sums_wrap_to_int32():
    x, w = np.full((1, 70000), 255, np.uint8), np.full((70000, 1), 255, np.uint8)
    assert matmul(x, w).item() == 255 * 255 * 70000 - (1 << 32)
