# SPDX-License-Identifier: Apache-2.0
"""GlobalMaxPool, ReduceMax and ReduceMin over any axes: equal to ONNX Runtime, compiled too."""

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


AXES = [
    ([4, 5, 6], [0]), ([4, 5, 6], [1]), ([4, 5, 6], [0, 1, 2]), ([3, 2, 4, 5], [1]),
    ([3, 2, 4, 5], [0, 2]), ([3, 2, 4, 5], [0, 1, -1]), ([3, 2, 4, 5], [1, 3]), ([7, 9], [-1]),
    ([2, 3, 2, 3, 2, 3], [1, 3, 5]), ([2, 3, 2, 3, 2, 3], [0, 2, 4]), ([1, 6, 1], [0, 2]),
    ([5], [0]), ([2, 3, 100], [2]), ([2, 130, 6], [1]), ([3, 67, 5], [1]), ([8, 9, 20], [0, 2]),
    ([2, 3, 1, 4], [1]),
]


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize(("shape", "axes"), AXES, ids=str)
def test_any_axes(shape, axes, operator):
    """Codes as they are, and between Q and DQ with a change of scale."""
    constants = scales(x=(0.05, S8(5)), y=(0.04, S8(9))) | {"axes": np.array(axes)}
    for keep, form in ((1, "codes"), (0, "QDQ"), (0, "codes"), (1, "QDQ")):
        made = node(operator, ["xf" if form == "QDQ" else "x", "axes"], ["p"], name="it",
                    keepdims=keep)
        if form == "QDQ":
            nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), made, q("p", "pq", "y"),
                     dq("pq", "y", "y")]
            built = model(nodes, constants, {"x": shape}, opset=18)
        else:
            types = dict.fromkeys("xp", TensorProto.INT8)
            built = model([made], constants, {"x": shape}, ("p",), opset=18, types=types)
        runs(agree(built), "default")


@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("axes", [None, []])
def test_no_axes(axes, noop):
    """All of them, or none."""
    constants = scales(x=(0.05, U8(5))) | ({} if axes is None else {"axes": np.int64(axes)})
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
             node("ReduceMin", ["xf", *([] if axes is None else ["axes"])], ["p"], name="it",
                  noop_with_empty_axes=noop), q("p", "pq", "x"), dq("pq", "y", "x")]
    graph = agree(model(nodes, constants, {"x": [3, 4, 5]}, opset=18))
    assert graph.outputs[0].shape == ((3, 4, 5) if noop else (1, 1, 1))


@pytest.mark.parametrize("last", ["float", "QDQ"])
@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("axes", [[1], [0, 2], [1, 2, 3], [2], [0, 1]])
def test_behind_a_convolution(axes, operator, last):
    """Bytes of an image are channels last; limits before and views around, and nothing copied."""
    rng = np.random.RandomState(3)
    constants = scales(x=(0.05, U8(120)), w=(0.02, S8(0)), c=(0.1, U8(128))) | {
        "W": rng.randint(-90, 90, (6, 3, 1, 1)).astype(S8), "axes": np.array(axes)}
    nodes = [q("x", "xq", "x"),
             node("QLinearConv", ["xq", "x_s", "x_z", "W", "w_s", "w_z", "c_s", "c_z"], ["cq"]),
             dq("cq", "cf", "c"), node("Relu", ["cf"], ["r"], name="clip"),
             node(operator, ["r", "axes"], ["p"], name="it"), node("Flatten", ["p"], ["f"]),
             *([q("f", "fq", "c"), dq("fq", "y", "c")] if last == "QDQ" else
               [node("Identity", ["f"], ["y"])])]
    graph = agree(model(nodes, constants, {"x": [2, 3, 4, 6]}, opset=18))
    assert not [n for n in graph.nodes if n.kind == "move"]
    runs(graph, "default")
