# SPDX-License-Identifier: Apache-2.0
"""GlobalMaxPool and ReduceMax over space: equal to ONNX Runtime, compiled too."""

import numpy as np
import pytest
from onnx import TensorProto

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8 = np.uint8, np.int8
KINDS = {U8: TensorProto.UINT8, S8: TensorProto.INT8}


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [[2, 5, 7, 4], [3, 18, 9], [1, 3, 1, 1]])
def test_global_max_pool(shape, dtype, rescaled):
    constants = scales(x=(0.05, dtype(50)), y=(0.04, dtype(9)) if rescaled else (0.05, dtype(50)))
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
             node("GlobalMaxPool", ["xf"], ["p"], name="it"), q("p", "pq", "y"), dq("pq", "y", "y")]
    runs(agree(model(nodes, constants, {"x": shape})), "default")


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize(("axes", "shape"), [
    ([2, 3], [2, 5, 7, 4]), ([-1], [2, 5, 7, 4]), ([2], [2, 3, 4, 5]), ([2], [3, 18, 9]),
    ([3, -2], [1, 3, 6, 6])])
@pytest.mark.parametrize("opset", [13, 18])
def test_reduce_max(axes, shape, keep, form, opset):
    constants = scales(x=(0.05, S8(5)), y=(0.04, S8(9)))
    given, more = {"axes": axes}, []
    if opset == 18:
        constants["axes"], given, more = np.array(axes), {}, ["axes"]
    if form == "QOperator":
        nodes = [node("ReduceMax", ["x", *more], ["y"], name="it", keepdims=keep, **given)]
        types = dict.fromkeys("xy", TensorProto.INT8)
        built = model(nodes, constants, {"x": shape}, opset=opset, types=types)
    else:
        nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
                 node("ReduceMax", ["xf", *more], ["p"], name="it", keepdims=keep, **given),
                 node("Relu", ["p"], ["r"], name="relu"), q("r", "rq", "y"), dq("rq", "y", "y")]
        built = model(nodes, constants, {"x": shape}, opset=opset)
    runs(agree(built), "default")
