# SPDX-License-Identifier: Apache-2.0
"""DepthToSpace, SpaceToDepth and channel shuffles: equal to ONNX Runtime, and copied only where the
next layer wants the bytes in order."""

import numpy as np
import pytest
from onnx import TensorProto

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8 = np.uint8, np.int8
CASES = {
    "DCR": ("DepthToSpace", {"blocksize": 2}, [2, 8, 3, 5]),
    "CRD": ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, [1, 12, 5, 4]),
    "three": ("DepthToSpace", {"blocksize": 3, "mode": "DCR"}, [1, 18, 2, 3]),
    "space": ("SpaceToDepth", {"blocksize": 2}, [2, 3, 6, 4]),
}


@pytest.mark.parametrize("form", ["int8", "uint8", "QDQ"])
@pytest.mark.parametrize("name", CASES)
def test_alone(name, form):
    operator, given, shape = CASES[name]
    if form == "QDQ":
        nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), node(operator, ["xf"], ["p"], name="it",
                 **given), q("p", "pq", "y"), dq("pq", "y", "y")]
        built = model(nodes, scales(x=(0.05, U8(9)), y=(0.03, U8(9))), {"x": shape})
    else:
        types = dict.fromkeys("xy", getattr(TensorProto, form.upper()))
        nodes = [node(operator, ["x"], ["y"], name="it", **given)]
        built = model(nodes, {}, {"x": shape}, opset=13, types=types)
    runs(agree(built))


def between(middle, channels, shape, more=None):
    """Two convolutions, and something between them."""
    rng = np.random.RandomState(3)
    constants = scales(x=(0.05, U8(120)), a=(0.1, U8(130)), w=(0.02, S8(0))) | (more or {})
    constants |= {"U": rng.randint(-9, 9, (channels[0], 2, 1, 1)).astype(S8),
                  "W": rng.randint(-9, 9, (4, channels[1], 3, 3)).astype(S8)}
    x, a, w = (["x_s", "x_z"], ["a_s", "a_z"], ["w_s", "w_z"])
    return model([
        q("x", "xq", "x"), node("QLinearConv", ["xq", *x, "U", *w, *a], ["c"], name="one"),
        *middle, node("QLinearConv", ["m", *a, "W", *w, *a], ["yq"], name="three"),
        dq("yq", "y", "a")], constants, {"x": shape})


@pytest.mark.parametrize("name", CASES)
def test_between_convolutions(name):
    operator, given, (_, channels, _, _) = CASES[name]
    blocks = given["blocksize"] ** 2
    middle = node(operator, ["c"], ["m"], name="it", **given)
    after = channels // blocks if operator == "DepthToSpace" else channels * blocks
    graph = agree(between([middle], (channels, after), [2, 2, 8, 8]))
    assert [n.kind for n in graph.nodes] == ["conv", "view", "view", "view", "move", "conv"]
    assert any("copied into another order" in note.text for note in graph.notes)
    for config in ("tiny", "default"):
        runs(graph, config)


@pytest.mark.parametrize("groups", [2, 3, 12])
def test_channel_shuffle(groups):
    middle = [
        node("Reshape", ["c", "split"], ["r"], name="split"),
        node("Transpose", ["r"], ["t"], name="turn", perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["t", "whole"], ["m"], name="join"),
    ]
    shapes = {"split": np.array([2, groups, 12 // groups, 6, 4]), "whole": np.array([2, 12, 6, 4])}
    graph = agree(between(middle, (12, 12), [2, 2, 6, 4], shapes))
    # Of a group for each channel nothing is left to do.
    assert sum(n.kind == "move" for n in graph.nodes) == (groups != 12)
    for config in ("tiny", "default"):
        runs(graph, config)


def test_nothing_is_copied_for_an_output():
    graph = agree(model([node("DepthToSpace", ["x"], ["y"], name="it", blocksize=2)], {},
                        {"x": [1, 8, 3, 4]}, opset=13, types=dict.fromkeys("xy", TensorProto.INT8)))
    assert not [n for n in graph.nodes if n.kind != "view"]
