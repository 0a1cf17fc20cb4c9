# SPDX-License-Identifier: Apache-2.0
"""Gather, GatherElements, GatherND, Tile, Expand, ReverseSequence, Compress and Slice backwards:
equal to ONNX Runtime in both forms, compiled too."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8 = np.uint8, np.int8
KINDS = {U8: TensorProto.UINT8, S8: TensorProto.INT8}
RNG = np.random.RandomState(4)

CASES = {
    "rows": ("Gather", [9, 5], [np.array([3, -1, 0, 3])], {}),
    "channels": ("Gather", [2, 6, 4, 5], [np.array([5, 1, 2, -3])], {"axis": 1}),
    "last": ("Gather", [3, 7], [np.array([6, 6, 0])], {"axis": -1}),
    "one": ("Gather", [2, 6, 4, 5], [np.array(2)], {"axis": 2}),
    "two dimensions": ("Gather", [4, 6, 3], [np.array([[1, 5], [0, -6]])], {"axis": 1}),
    "elements": ("GatherElements", [3, 4, 5], [RNG.randint(-4, 4, (2, 3, 5))], {"axis": 1}),
    "nd": ("GatherND", [3, 4, 5], [RNG.randint(0, 3, (6, 2))], {}),
    "nd batch": ("GatherND", [3, 4, 5], [RNG.randint(0, 4, (3, 2, 1))], {"batch_dims": 1}),
    "tile": ("Tile", [2, 3, 4], [np.array([2, 1, 3])], {}),
    "tile image": ("Tile", [1, 3, 4, 5], [np.array([1, 2, 1, 2])], {}),
    "expand": ("Expand", [3, 1, 5], [np.array([2, 3, 4, 5])], {}),
    "expand image": ("Expand", [2, 6, 1, 1], [np.array([2, 6, 3, 4])], {}),
    "reverse sequence": (
        "ReverseSequence", [5, 3, 4], [np.array([2, 5, 1])], {"time_axis": 0, "batch_axis": 1}),
    "compress": ("Compress", [2, 5, 4], [np.array([1, 0, 0, 1, 1], bool)], {"axis": 1}),
    "compress all": ("Compress", [3, 4], [np.array([0, 1, 1, 0, 0, 1], bool)], {}),
    "backwards": (
        "Slice", [4, 9, 3],
        [np.array([-1, 7]), np.array([-(2**62), 1]), np.array([0, 1]), np.array([-1, -2])], {}),
}


def picked(name, form, dtype):
    operator, shape, given, attributes = CASES[name]
    constants = {f"c{place}": value for place, value in enumerate(given)}
    made = node(operator, ["x" if form == "QOperator" else "xf", *constants],
                ["y" if form == "QOperator" else "p"], name="it", **attributes)
    if form == "QOperator":
        return model([made], constants, {"x": shape}, types=dict.fromkeys("xy", KINDS[dtype]))
    constants |= scales(x=(0.05, dtype(7)), y=(0.05 if form == "QDQ" else 0.03, dtype(9)))
    last = "x" if form == "QDQ" else "y"
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), made, q("p", "pq", last),
             dq("pq", "y", last)]
    return model(nodes, constants, {"x": shape})


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("form", ["QOperator", "QDQ", "rescaled"])
@pytest.mark.parametrize("name", CASES)
def test_pick(name, form, dtype):
    runs(agree(picked(name, form, dtype)), "tiny" if dtype is S8 else "default")


def test_between_layers():
    """Channels of a convolution in another order; the next one wants pixels."""
    rng = np.random.RandomState(3)
    constants = scales(x=(0.05, U8(120)), a=(0.1, U8(130)), w=(0.02, S8(0)))
    constants |= {"U": rng.randint(-9, 9, (8, 2, 1, 1)).astype(S8),
                  "W": rng.randint(-9, 9, (4, 5, 3, 3)).astype(S8),
                  "channels": np.array([7, 0, 3, 3, 1])}
    x, a, w = (["x_s", "x_z"], ["a_s", "a_z"], ["w_s", "w_z"])
    nodes = [
        q("x", "xq", "x"), node("QLinearConv", ["xq", *x, "U", *w, *a], ["c"], name="one"),
        node("Gather", ["c", "channels"], ["g"], name="it", axis=1),
        node("QLinearConv", ["g", *a, "W", *w, *a], ["yq"], name="three"), dq("yq", "y", "a"),
    ]
    graph = agree(model(nodes, constants, {"x": [2, 2, 7, 5]}))
    assert [n.kind for n in graph.nodes] == ["conv", "move", "conv"]
    for config in ("tiny", "default"):
        runs(graph, config)


def test_refusals():
    built = model([node("Gather", ["x", "far"], ["y"], name="it")], {"far": np.array([9])},
                  {"x": [4, 5]}, types=dict.fromkeys("xy", TensorProto.INT8))
    told = r"'it' \(Gather\): ONNX Runtime cannot run it: .*indices element out of data bounds"
    with pytest.raises(UnsupportedModel, match=told):
        legalize(lower(built))
