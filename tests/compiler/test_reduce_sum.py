# SPDX-License-Identifier: Apache-2.0
"""ReduceSum, ReduceMean and ReduceL1 over any axes: within a code of ONNX Runtime where that is
promised, and it is promised where the runtime's float is exact enough; compiled too."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs
from .test_reduce_max import AXES

U8, S8 = np.uint8, np.int8
OPERATORS = ("ReduceSum", "ReduceMean", "ReduceL1")


def reduced(operator, shape, axes, dtype=S8, *around, opset=18, y_scale=None, before=(), **given):
    """Return a model of one reduction."""
    count = np.prod([shape[a] for a in axes]) if axes else 1
    scale = y_scale or {"ReduceSum": count**0.5, "ReduceMean": count**-0.5}.get(operator, count)
    constants = scales(x=(0.05, dtype(9)), y=(0.03 * scale, dtype(0 if dtype is S8 else 100)))
    more = ["axes"] if axes is not None and opset >= (13 if operator == "ReduceSum" else 18) else []
    if more:
        constants["axes"] = np.array(axes, np.int64)
    elif axes is not None:
        given["axes"] = axes
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), *before]
    first = before[-1].output[0] if before else "xf"
    last = around[-1].output[0] if around else "p"
    nodes += [node(operator, [first, *more], ["p"], name="it", **given), *around,
              q(last, "pq", "y"), dq("pq", "y", "y")]
    return model(nodes, constants, {"x": shape}, opset=opset)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("shape", "axes"), AXES, ids=str)
def test_any_axes(shape, axes, operator):
    for keep, dtype in ((1, U8), (0, S8)):
        graph = agree(reduced(operator, shape, axes, dtype, keepdims=keep), exact=False)
        kept = ("view", "move", "table")
        assert {n.promise for n in graph.nodes if n.kind not in kept} == {"near"}
        codes = evaluate(graph, random_inputs(graph.inputs, 7))["pq"]
        assert codes.size < 3 or len(np.unique(codes)) > 1
        runs(graph, "default")


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("axes", [None, []])
def test_no_axes(axes, noop, operator):
    built = reduced(operator, [3, 4, 5], axes, noop_with_empty_axes=noop, keepdims=0)
    graph = agree(built, exact=False)
    assert graph.outputs[0].shape == ((3, 4, 5) if noop else ())
    runs(graph, "default")


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("operator", OPERATORS)
def test_axes_as_attribute(operator, opset):
    agree(reduced(operator, [3, 4, 5], [-2, 0], opset=opset), exact=False)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("axes", "kinds"), [
    ([2, 3], ["pool"]), ([1], ["matmul"]), ([1, 2, 3], ["matmul"]), ([1, 2], ["conv"]),
    ([0, 3], ["pool"]), ([0], ["pool"])])
def test_behind_a_convolution(axes, kinds, operator):
    """Nothing is copied; limits and views follow."""
    rng = np.random.RandomState(3)
    flat, relu = node("Flatten", ["r"], ["f"]), node("Relu", ["p"], ["r"])
    built = reduced(operator, [2, 3, 4, 6], axes, U8, relu, flat)
    built.graph.node[0].output[0] = "x0"
    built.graph.node.insert(1, node("QLinearConv", ["x0", "x_s", "x_z", "W", "w_s", "w_z", "x_s",
                                                    "x_z"], ["xq"]))
    more = model([], scales(w=(0.02, S8(0))) | {
        "W": rng.randint(-90, 90, (6, 3, 1, 1)).astype(S8)}, {})
    built.graph.initializer.extend(more.graph.initializer)
    graph = agree(built, exact=False)
    found = [n.kind for n in graph.nodes if n.kind not in ("view", "table")]
    assert found == ["conv", *kinds]
    runs(graph, "default")


def test_views_before():
    before = node("Transpose", ["xf"], ["t"], perm=[2, 0, 1])
    agree(reduced("ReduceSum", [3, 4, 5], [1], before=[before]), exact=False)


def promised(graph):
    return next(n.promise for n in graph.nodes if n.kind == "matmul")


def test_sums_that_floats_may_miss_promise_less():
    """Codes far from zero, very many, and an output scale that shows the last places."""
    built = reduced("ReduceSum", [1, 40000], [1], y_scale=0.4)
    assert promised(legalize(lower(built))) == "golden"
    built = reduced("ReduceMean", [1, 40000], [1], y_scale=2)
    assert promised(agree(built, exact=False)) == "near"
