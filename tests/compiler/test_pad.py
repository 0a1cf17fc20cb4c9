# SPDX-License-Identifier: Apache-2.0
"""Pad: equal to ONNX Runtime in all modes, compiled too."""

import numpy as np
import pytest
from onnx import TensorProto

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8, F32 = np.uint8, np.int8, np.float32
KINDS = {U8: TensorProto.UINT8, S8: TensorProto.INT8}
IMAGES = {
    "image": ([2, 3, 5, 6], [0, 0, 1, 2, 0, 0, 3, 0]), "line": ([3, 18, 9], [0, 0, 2, 0, 0, 1]),
    "none": ([1, 2, 3, 3], [0] * 8),
}
ANY = IMAGES | {
    "crop": ([2, 3, 5, 6], [0, 0, -1, 2, 0, -1, 3, -2]),
    "all": ([3, 4, 5, 3], [1, 0, 2, 1, 1, 3, 0, 2]), "rows": ([4, 6], [2, 0, 1, 3])}
CASES = [(name, mode) for name in ANY for mode in ("constant", "edge", "reflect", "wrap")
         if mode != "wrap" or name != "crop"]


def padded(form, name, mode, dtype, same, value):
    shape, pads = ANY[name]
    constants = scales(x=(0.05, dtype(50)), y=(0.05, dtype(50)) if same else (0.031, dtype(9)))
    constants |= {"pads": np.array(pads), "value": F32(value), "code": dtype(value * 20 + 30)}
    if form == "QOperator":
        nodes = [node("Pad", ["x", "pads", "code"], ["y"], name="it", mode=mode)]
        types = dict.fromkeys("xy", KINDS[dtype])
        return model(nodes, constants, {"x": shape}, opset=19, types=types)
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
             node("Pad", ["xf", "pads", "value"], ["p"], name="it", mode=mode),
             q("p", "pq", "y"), dq("pq", "y", "y")]
    return model(nodes, constants, {"x": shape}, opset=19)


@pytest.mark.parametrize("form", ["QOperator", "QDQ", "rescaled"])
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_pad(name, mode, dtype, form):
    value = 1.5 if name == "image" else 0
    graph = agree(padded(form, name, mode, dtype, form != "rescaled", value))
    runs(graph, "default")


def test_a_convolution_behind():
    """The pad of an exporter that knows no asymmetric pads."""
    constants = scales(x=(0.05, U8(90)), w=(0.02, S8(0)), a=(0.1, U8(130))) | {
        "W": np.random.RandomState(1).randint(-99, 99, (4, 2, 3, 3)).astype(S8),
        "pads": np.array([0, 1, 2, 0]), "zero": F32(0), "axes": np.array([3, -2])}
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
             node("Pad", ["xf", "pads", "zero", "axes"], ["p"], name="it"),
             q("p", "pq", "x"), dq("pq", "pf", "x"), dq("W", "wf", "w"),
             node("Conv", ["pf", "wf"], ["c"], name="conv", strides=[2, 2]), q("c", "cq", "a"),
             dq("cq", "y", "a")]
    graph = agree(model(nodes, constants, {"x": [2, 2, 7, 6]}, opset=18))
    for config in ("tiny", "default"):
        runs(graph, config)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_of_a_graph_input_in_float(mode):
    """As `quantize_static` leaves it in QOperator form; the host quantizes what is padded then."""
    constants = scales(x=(0.05, U8(90)), w=(0.02, S8(0)), a=(0.1, U8(130))) | {
        "W": np.random.RandomState(1).randint(-99, 99, (4, 2, 3, 3)).astype(S8),
        "pads": np.array([0, 0, 1, 2, 0, 0, 2, 1]), "value": F32(1.5)}
    nodes = [node("Pad", ["x", "pads", "value"], ["p"], name="it", mode=mode), q("p", "pq", "x"),
             node("QLinearConv", ["pq", "x_s", "x_z", "W", "w_s", "w_z", "a_s", "a_z"], ["yq"]),
             dq("yq", "y", "a")]
    runs(agree(model(nodes, constants, {"x": [2, 2, 5, 4]}, opset=18)), "default")


@pytest.mark.parametrize("room", [[4, 3, 7], [2, 5, 4], [5, 3, 2], [3, 3, 5]])
def test_what_follows_in_float(room):
    """CenterCropPad, of whose definition the pad is a part: a crop follows, or nothing is padded,
    and its shape arithmetic is folded."""
    constants = scales(x=(0.05, U8(50)), y=(0.031, U8(9))) | {"room": np.array(room)}
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
             node("CenterCropPad", ["xf", "room"], ["p"], name="it"), q("p", "pq", "y"),
             dq("pq", "y", "y")]
    runs(agree(model(nodes, constants, {"x": [3, 4, 5]}, opset=18)), "default")


def test_a_pooling_of_the_padded():
    """Clip, MaxPool and Flatten behind it."""
    constants = scales(x=(0.05, U8(50)), y=(0.031, U8(9))) | {
        "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]), "value": F32(1.5)}
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
             node("Pad", ["xf", "pads", "value"], ["p"], name="it"), node("Relu", ["p"], ["r"]),
             node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2]), node("Flatten", ["m"], ["f"]),
             q("f", "fq", "y"), dq("fq", "y", "y"), q("f", "unread", "x")]
    runs(agree(model(nodes, constants, {"x": [2, 3, 5, 4]}, opset=18)), "default")
