# SPDX-License-Identifier: Apache-2.0
"""LRN in integers against ONNX Runtime's in float."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from kiwicha.golden.lrn import lrn

CASES = [
    {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0},
    {"size": 5, "alpha": 1e-2, "beta": 0.75, "bias": 2.0},
    {"size": 3, "alpha": 0.1, "beta": 0.5, "bias": 1.0},
    {"size": 5, "alpha": 1.0, "beta": 0.25, "bias": 2.0},
    {"size": 1, "alpha": 0.1, "beta": 1.0, "bias": 1.0},
    {"size": 9, "alpha": 0.3, "beta": 0.75, "bias": 1.0},
]


def ort_lrn(x, **given):
    graph = helper.make_graph(
        [helper.make_node("LRN", ["x"], ["y"], **given)], "lrn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("given", CASES, ids=str)
def test_distance_from_float(given, dtype):
    rng = np.random.default_rng(91)
    far = []
    for spread in (10, 40, 90):
        zero = 0 if dtype is np.int8 else 128
        info = np.iinfo(dtype)
        x = np.clip(rng.normal(zero, spread, (2, 24, 9, 9)), info.min, info.max).astype(dtype)
        real = ort_lrn((x.astype(np.float32) - zero) * np.float32(0.05), **given)
        scale = float(np.abs(real).max()) / 120
        y = lrn(x, 0.05, zero, scale, zero, dtype, **given)
        expected = np.clip(np.rint(real / np.float32(scale)) + zero, info.min, info.max)
        far.append(np.abs(y.astype(int) - expected))
    distance = np.concatenate(far)
    assert (distance > 1).mean() < 0.002
    assert distance.max() <= 2
