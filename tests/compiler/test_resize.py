# SPDX-License-Identifier: Apache-2.0
"""Resize to the nearest element: equal to ONNX Runtime for all ways to say which that is."""

import numpy as np
import pytest
from onnx import TensorProto

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
