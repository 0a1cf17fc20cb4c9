# SPDX-License-Identifier: Apache-2.0
"""ReduceSumSquare and ReduceL2 over any axes: within a code of ONNX Runtime, small roots too."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs
from .test_reduce_max import AXES
from .transformers import WIDTH, Builder

U8, S8 = np.uint8, np.int8
OPERATORS = ("ReduceSumSquare", "ReduceL2")


def reduced(operator, shape, axes, dtype=S8, scale=None, behind=(), **given):
    """Return a model of one reduction."""
    count = np.prod([shape[a] for a in axes]) if axes else 1
    scale = scale or {"ReduceSumSquare": 0.02 * count, "ReduceL2": 0.01 * count**0.5}[operator]
    constants = scales(x=(0.03, dtype(9)), y=(scale, np.iinfo(dtype).min + dtype(3)))
    constants["axes"] = np.array(axes, np.int64)
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
             node(operator, ["xf", "axes"], ["p"], name="it", **given), *behind,
             q(behind[-1].output[0] if behind else "p", "pq", "y"), dq("pq", "y", "y")]
    return model(nodes, constants, {"x": shape}, opset=18)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("shape", "axes"), AXES, ids=str)
def test_any_axes(shape, axes, operator):
    for keep, dtype in ((1, U8), (0, S8)):
        graph = agree(reduced(operator, shape, axes, dtype, keepdims=keep), exact=False)
        assert {n.promise for n in graph.nodes if n.kind == "product"} == {"near"}
    runs(graph, "default")


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("noop", [0, 1])
def test_no_axes(noop, operator):
    built = reduced(operator, [3, 4, 5], [], noop_with_empty_axes=noop, keepdims=0,
                    scale=None if noop else 0.3)
    graph = agree(built, exact=False)
    assert graph.outputs[0].shape == ((3, 4, 5) if noop else ())


@pytest.mark.parametrize("dtype", [U8, S8])
def test_every_length_of_a_vector(dtype):
    """From none to the greatest that there is, and limits behind."""
    x = np.zeros((400, 8), np.float32)
    x[np.arange(400), np.arange(400) % 8] = np.linspace(0, 3.5, 400)
    x[200:, 3] += np.linspace(0, 2, 200)
    relu = node("Clip", ["p", "least", "most"], ["r"])
    for behind in ((), (relu,)):
        built = reduced("ReduceL2", [400, 8], [1], dtype, 0.015, behind)
        more = model([], {"least": np.float32(0.1), "most": np.float32(2.5)}, {})
        built.graph.initializer.extend(more.graph.initializer if behind else [])
        graph = agree(built, {"x": x}, exact=False)
        assert graph.nodes[0].promise != "golden"


@pytest.mark.parametrize(("scale", "promise"), [(0.02, "golden"), (2000, "near")])
def test_squares_that_floats_may_miss_promise_less(scale, promise):
    graph = legalize(lower(reduced("ReduceSumSquare", [2, 30000], [1], scale=scale)))
    assert [n.promise for n in graph.nodes if n.kind == "product"] == [promise]


@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceSum"])
def test_a_square_that_is_reduced(operator, square):
    """As a root mean square is written out."""
    built = reduced("ReduceL2", [2, 5, 64], [2], U8, 0.02 if operator == "ReduceMean" else 1.0)
    built.graph.node.insert(2, node(square, ["xf", "two" if square == "Pow" else "xf"], ["sf"]))
    it = next(n for n in built.graph.node if n.name == "it")
    it.op_type, it.input[0] = operator, "sf"
    built.graph.initializer.extend(model([], {"two": np.float32(2)}, {}).graph.initializer)
    graph = agree(built, exact=False)
    assert [n.kind for n in graph.nodes if n.kind != "view"] == ["product"]
    runs(graph, "default")


def test_a_normalization_that_is_written_out():
    """x / sqrt(mean(x^2) + epsilon), quantized as `quantize_static` does it."""
    build = Builder(3)
    build.constants |= {"axis": np.array([-1]), "two": np.float32(2)}
    x = build.linear("x", WIDTH, WIDTH, "first")
    y = build.op("Pow", x, "two", name="square")
    y = build.op("ReduceMean", y, "axis", name="mean")
    y = build.op("Add", y, build.constant("epsilon", np.float32(1e-5)), name="sum")
    y = build.op("Reciprocal", build.op("Sqrt", y, name="root"), name="one")
    y = build.linear(build.op("Mul", x, y, name="scaled"), WIDTH, WIDTH, "last")
    graph = agree(build.quantized(y, opset=18), exact=False)
    runs(graph, "default")
