# SPDX-License-Identifier: Apache-2.0
"""Softmax over any axis: equal to ONNX Runtime in both forms, and copied only where rows do not lie
in one piece."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate, outputs
from kiwicha.sim.reference import reference

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8 = np.uint8, np.int8
SHAPES = ([2, 3, 7], [3, 4, 2, 5], [3, 4, 4, 4], [6, 5], [2, 1, 5, 3], [2, 2, 3, 2, 4])
CONSTANTS = {
    U8: scales(x=(0.03, U8(120)), y=(1 / 256, U8(0))),
    S8: scales(x=(0.05, S8(-7)), y=(0.0037, S8(-100))),
}


def softmax(form, shape, dtype, axis, opset=13):
    """Return a model of a softmax alone."""
    if form == "QDQ":
        nodes = [dq("xq", "f", "x"), node("Softmax", ["f"], ["p"], name="it", axis=axis),
                 q("p", "yq", "y")]
    else:
        names = ["xq", "x_s", "x_z", "y_s", "y_z"]
        nodes = [node("QLinearSoftmax", names, ["yq"], name="it", axis=axis, opset=opset,
                      domain="com.microsoft")]
    return model([q("x", "xq", "x"), *nodes, dq("yq", "y", "y")], CONSTANTS[dtype], {"x": shape},
                 opset=opset)


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_axis(shape, opset, form):
    for axis in range(-len(shape), len(shape)):
        graph = agree(softmax(form, shape, (U8, S8)[axis % 2], axis, opset))
        one = opset == 13 and shape[axis] == 1  # a function of each element
        assert [n.kind for n in graph.nodes if n.kind != "view"] == ["table" if one else "softmax"]
    runs(graph, "default")


@pytest.mark.parametrize("axis", [1, 2])
def test_channels_of_an_image(axis):
    """As segmentation has it behind a convolution: they lie together already; rows do not."""
    rng = np.random.RandomState(3)
    constants = CONSTANTS[U8] | scales(w=(0.02, S8(0)), c=(0.11, U8(128))) | {
        "W": rng.randint(-90, 90, (5, 3, 1, 1)).astype(S8)}
    nodes = [q("x", "xq", "x"),
             node("QLinearConv", ["xq", "x_s", "x_z", "W", "w_s", "w_z", "c_s", "c_z"], ["cq"]),
             dq("cq", "cf", "c"), node("Softmax", ["cf"], ["p"], name="it", axis=axis),
             q("p", "yq", "y"), dq("yq", "y", "y")]
    graph = agree(model(nodes, constants, {"x": [2, 3, 4, 6]}))
    copied = sum(n.kind == "move" for n in graph.nodes)
    assert copied == (axis != 1)
    runs(graph, "default")


@pytest.mark.parametrize("behind", [[], ["Q"], ["Flatten"]])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_logarithm_is_the_host_s(axis, behind):
    """In float, as `quantize_static` leaves it, or quantized once more."""
    nodes = [q("x", "xq", "x"), dq("xq", "f", "x"), node("LogSoftmax", ["f"], ["l"], axis=axis)]
    if behind == ["Q"]:
        nodes += [q("l", "yq", "x"), dq("yq", "y", "x")]
    else:
        nodes.append(node(*behind or ["Identity"], ["l"], ["y"]))
    built = model(nodes, CONSTANTS[U8], {"x": [3, 4, 5]})
    lowered = lower(built)
    graph = legalize(lowered)
    given = random_inputs(graph.inputs, 7)
    found = outputs(graph, evaluate(graph, given))["y"]
    assert np.array_equal(found, reference(lowered, given).outputs["y"])
    assert "LogSoftmax" in graph.notes[0].text
    assert "computed by the host" in graph.notes[0].text
