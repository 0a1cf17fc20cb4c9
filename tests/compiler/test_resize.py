# SPDX-License-Identifier: Apache-2.0
"""Resize to the nearest element: equal to ONNX Runtime for all ways to say which that is."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.machine.presets import preset

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8, F32 = np.uint8, np.int8, np.float32
MODES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "asymmetric", "align_corners")
ROUNDS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resized(form, shape, factors, sizes=False, **attributes):
    constants = scales(x=(0.05, U8(50))) | {"none": F32([])}
    constants["f"] = np.array(shape) * factors if sizes else F32(factors)
    inputs = ["", "", "f"] if sizes else ["", "f"]
    if form == "QOperator":
        nodes = [node("Resize", ["x", *inputs], ["y"], name="it", **attributes)]
        types = dict.fromkeys("xy", TensorProto.INT8)
        return model(nodes, constants, {"x": shape}, opset=19, types=types)
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
             node("Resize", ["xf", *inputs], ["p"], name="it", **attributes),
             q("p", "pq", "x"), dq("pq", "y", "x")]
    return model(nodes, constants, {"x": shape}, opset=19)


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("sizes", [False, True])
@pytest.mark.parametrize(("shape", "factors"), [
    ([2, 3, 4, 5], [1, 1, 2, 2]), ([1, 18, 3, 2], [1, 1, 1, 4]), ([2, 3, 6], [1, 1, 3]),
    ([2, 3, 2, 2], [2, 3, 1, 2]), ([3, 5], [1, 2]), ([1, 2, 3, 3], [1, 1, 1, 1])])
def test_shapes(shape, factors, sizes, form):
    runs(agree(resized(form, shape, factors, sizes, mode="nearest")))


@pytest.mark.parametrize("factor", [2, 3, 1.6, 0.5, 0.7])
@pytest.mark.parametrize("rounding", ROUNDS)
@pytest.mark.parametrize("where", MODES)
def test_which_is_nearest(where, rounding, factor):
    made = resized("QOperator", [1, 2, 4, 7], [1, 1, factor, factor], mode="nearest",
                   coordinate_transformation_mode=where, nearest_mode=rounding)
    runs(agree(made), "tiny")


@pytest.mark.parametrize(("policy", "sizes"), [("not_larger", [9, 8]), ("not_smaller", [11, 7])])
def test_an_aspect_ratio_that_is_kept(policy, sizes):
    made = model(
        [node("Resize", ["x", "", "", "sizes"], ["y"], name="it", mode="nearest", axes=[2, 3],
              keep_aspect_ratio_policy=policy)], {"sizes": np.array(sizes)}, {"x": [1, 3, 5, 6]},
        opset=19, types=dict.fromkeys("xy", TensorProto.INT8))
    runs(agree(made))


def test_opset_10():
    """Two inputs; what is nearest is said by no attribute."""
    made = model([node("Resize", ["x", "f"], ["y"], name="it")], {"f": F32([1, 1, 2, 1.5])},
                 {"x": [1, 3, 5, 6]}, opset=10, types=dict.fromkeys("xy", TensorProto.INT8))
    runs(agree(made))


def test_two_odd_factors_are_two_passes():
    """Not a copy for each row of the result."""
    graph = agree(resized("QDQ", [1, 8, 20, 24], [1, 1, 1.35, 1.35], mode="nearest"))
    assert [n.kind for n in graph.nodes] == ["move", "move"]
    runs(graph)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("form", ["QOperator", "QDQ", "rescaled"])
@pytest.mark.parametrize("where", ["half_pixel", "pytorch_half_pixel", "asymmetric"])
@pytest.mark.parametrize(("shape", "factors"), [
    ([2, 3, 4, 5], [1, 1, 2, 2]), ([1, 5, 3, 4], [1, 1, 4, 4]), ([1, 2, 3, 2], [1, 1, 3, 1]),
    ([1, 3, 2, 6], [1, 1, 1, 8]), ([2, 3, 7], [1, 1, 2]), ([1, 2, 1, 1], [1, 1, 8, 8]),
    ([1, 2, 3, 3], [1, 1, 5, 7]), ([1, 2, 3, 3], [1, 1, 1, 1])])
def test_linear(shape, factors, where, form, dtype):
    """Codes of uint8 by powers of two have ONNX Runtime's bits, all others are within one code."""
    if form == "QOperator":
        kind = getattr(TensorProto, dtype.upper())
        nodes = [node("Resize", ["x", "", "f"], ["y"], name="it", mode="linear",
                      coordinate_transformation_mode=where)]
        made = model(nodes, {"f": F32(factors)}, {"x": shape}, opset=19,
                     types=dict.fromkeys("xy", kind))
    else:
        kind, last = np.dtype(dtype).type, "x" if form == "QDQ" else "y"
        nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
                 node("Resize", ["xf", "", "f"], ["p"], name="it", mode="linear",
                      coordinate_transformation_mode=where),
                 q("p", "pq", last), dq("pq", "y", last)]
        constants = scales(x=(0.05, kind(50)), y=(0.037, kind(9))) | {"f": F32(factors)}
        made = model(nodes, constants, {"x": shape}, opset=19)
    power = all(f in (1, 2, 4) for f in factors)
    exact = form == "QOperator" and dtype == "uint8" and power
    runs(agree(made, exact=exact), "default")


def linear_model():
    """Return bilinear upsampling as in a U-Net's decoder, between convolutions, with a Relu."""
    rng = np.random.RandomState(3)
    constants = scales(x=(0.05, U8(120)), a=(0.1, U8(130)), w=(0.02, S8(0))) | {
        "U": rng.randint(-9, 9, (5, 2, 1, 1)).astype(S8), "f": F32([1, 1, 2, 2]),
        "W": rng.randint(-9, 9, (4, 5, 3, 3)).astype(S8)}
    x, a, w = (["x_s", "x_z"], ["a_s", "a_z"], ["w_s", "w_z"])
    nodes = [
        q("x", "xq", "x"), node("QLinearConv", ["xq", *x, "U", *w, *a], ["c"], name="one"),
        dq("c", "cf", "a"), node("Resize", ["cf", "", "f"], ["r"], name="it", mode="linear"),
        node("Relu", ["r"], ["s"], name="relu"), q("s", "m", "a"),
        node("QLinearConv", ["m", *a, "W", *w, *a], ["yq"], name="three"), dq("yq", "y", "a")]
    return model(nodes, constants, {"x": [1, 2, 5, 4]})


def test_linear_between_layers():
    """Pixels are read where the edge is around them, and written where they belong."""
    graph = agree(linear_model(), exact=False)
    (told,) = {note.text for note in compile_graph(graph, preset("tiny")).notes
               if "written" in note.text}
    assert told.startswith("nothing is copied")
    runs(graph, "tiny")
