# SPDX-License-Identifier: Apache-2.0
"""A float value between two operators gets a scale of its own where the model has none."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel
from kiwicha.golden.network import evaluate, outputs
from kiwicha.sim.judge import judge
from kiwicha.sim.reference import reference

from .agree import DEFAULT, agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8, F32 = np.uint8, np.int8, np.float32
ONES = {"gamma": np.ones(6, F32), "beta": np.zeros(6, F32)}
CHANNELS = {name: F32([0.8, 1.3, 0.5]) for name in ("g", "b", "m", "v")}
AVERAGE = [node("GlobalAveragePool", ["f"], ["p"], name="it")]


def between(before, after, shape, y, constants=(), end=()):
    """Operators with a float value f between them."""
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), *before, *after,
             *(end or [q("p", "pq", "y"), dq("pq", "y", "y")])]
    known = scales(x=(0.03, U8(110)), y=(y, U8(100))) | dict(constants)
    return model(nodes, known, {"x": shape})


def distance(built):
    """Return how many codes of y the golden operators are from ONNX Runtime at most."""
    lowered = lower(built)
    graph = legalize(lowered)
    inputs = random_inputs(lowered.inputs, 4)
    tensors = evaluate(graph, inputs)
    for made in graph.nodes:
        assert judge(lowered, graph, (made,), DEFAULT, tensors).differ == 0
    runs(graph, "default")
    apart = outputs(graph, tensors)["y"] - reference(lowered, inputs).outputs["y"]
    return np.abs(apart).max() / float(graph.nodes[-1].y.scale), graph


@pytest.mark.parametrize("before", [
    [node("Relu", ["xf"], ["f"])],
    [node("Relu", ["xf"], ["r"]), node("MaxPool", ["r"], ["f"], kernel_shape=[2, 2])],
])
def test_limits_leave_values_of_the_same_scale(before):
    """So the promise of what follows stays."""
    runs(agree(between(before, AVERAGE, [2, 3, 6, 6], 0.02), exact=False), "default")


FLOATS = {
    "function": ([node("HardSwish", ["xf"], ["f"])], AVERAGE, [2, 3, 6, 6], 0.02, {}),
    "product": ([node("Sigmoid", ["xf"], ["s"]), node("Mul", ["xf", "s"], ["f"])], AVERAGE,
                [2, 3, 6, 6], 0.02, {}),
    "a limit between codes": (
        [node("Clip", ["xf", "low", "high"], ["f"])], AVERAGE, [2, 3, 6, 6], 0.02,
        {"low": F32(-0.5), "high": F32(1.234)}),
    "a greatest": (
        [node("Sigmoid", ["xf"], ["f"])],
        [node("ReduceMax", ["f"], ["p"], name="it", axes=[1])], [2, 5, 6], 0.005, {}),
    "normalization": (
        [node("LayerNormalization", ["xf", "gamma", "beta"], ["f"])],
        [node("ReduceMean", ["f"], ["p"], name="it", axes=[1])], [2, 5, 6], 0.02, ONES),
    "channels": (
        [node("BatchNormalization", ["xf", "g", "b", "m", "v"], ["n"]),
         node("Relu", ["n"], ["f"])], AVERAGE, [2, 3, 6, 6], 0.04, CHANNELS),
}


@pytest.mark.parametrize("name", FLOATS)
def test_others_get_one(name):
    """Golden-exact, noted, and close."""
    before, after, shape, y, constants = FLOATS[name]
    apart, graph = distance(between(before, after, shape, y, constants))
    assert "golden" in {made.promise for made in graph.nodes}
    assert any("scale of its own" in note.text for note in graph.notes)
    assert apart <= 2.001


def test_a_last_sum_is_the_hosts_all_the_same():
    """ONNX Runtime's bits, from the codes that the model has."""
    before = [node("Relu", ["xf"], ["f"])]
    after = [node("ReduceMean", ["f"], ["y"], name="it", axes=[1])]
    end = [node("Identity", ["xf"], ["unread"])]
    graph = agree(between(before, after, [2, 5, 6], 0.02, end=end))
    assert not graph.nodes


def test_infinite_values_are_refused():
    built = between([node("Log", ["xf"], ["f"])], AVERAGE, [2, 3, 6, 6], 0.02)
    with pytest.raises(UnsupportedModel, match="'f' is infinite or NaN for some codes"):
        legalize(lower(built))
