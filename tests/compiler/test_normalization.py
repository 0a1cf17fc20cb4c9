# SPDX-License-Identifier: Apache-2.0
"""Normalizations of rows between DequantizeLinear and QuantizeLinear: over any last axes, of any
order in memory, at most one code from ONNX Runtime's float, and that seldom."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate
from kiwicha.sim.reference import node_reference

from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8, F32 = np.uint8, np.int8, np.float32


def close(built, most=0.002):
    """Return the graph; its last node is at most one code from the runtime, at few elements."""
    lowered = lower(built)
    graph = legalize(lowered)
    x = np.random.RandomState(5).standard_normal(graph.inputs[0].shape).astype(F32)
    tensors = evaluate(graph, {"x": x})
    for last in [n for n in graph.nodes if n.y.name == "yq"]:
        expected = node_reference(lowered, graph, last, tensors)
        assert tensors["yq"].shape == expected.shape
        apart = np.abs(expected.astype(int) - tensors["yq"])
        assert len(np.unique(expected)) > 9
        assert apart.max() <= 1
        assert np.mean(apart > 0) <= max(most, 2 / apart.size)
    assert [n.promise for n in graph.nodes if n.kind == "normalize"] == ["golden"]
    runs(graph, "default")
    return graph


def normalized(operator, shape, axis, dtype, *around, before=(), first="f0", y=0.035, **given):
    """Return a model of one normalization over the axes from ``axis`` on."""
    rng = np.random.RandomState(len(shape) + axis)
    constants = scales(x=(0.03, dtype(10)), y=(y, dtype(30)))
    size = shape[axis % len(shape):]
    constants |= {"gamma": rng.normal(1, 0.2, size).astype(F32),
                  "beta": rng.normal(0, 0.2, size).astype(F32)}
    names = [first, *([] if operator == "LpNormalization" else ["gamma"]),
             *(["beta"] if operator == "LayerNormalization" else [])]
    made = node(operator, names, ["n"], name="it", axis=axis, **given)
    result = around[-1].output[0] if around else "n"
    nodes = [q("x", "xq", "x"), dq("xq", "f0", "x"), *before, made, *around, q(result, "yq", "y"),
             dq("yq", "y", "y")]
    return nodes, constants


AXES = [([4, 7, 8], 1), ([3, 4, 5, 6], 2), ([3, 4, 5, 6], -3), ([5, 33], 0), ([2, 3, 16], -1)]


@pytest.mark.parametrize("dtype", [U8, S8])
@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_layer_normalization(shape, axis, dtype):
    nodes, constants = normalized("LayerNormalization", shape, axis, dtype)
    close(model(nodes, constants, {"x": shape}))


@pytest.mark.parametrize("operator", ["RMSNormalization", "SimplifiedLayerNormalization"])
@pytest.mark.parametrize("dtype", [U8, S8])
@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_root_mean_square(shape, axis, dtype, operator):
    """Of uint8 with a zero point far from the middle, too."""
    given = {"epsilon": 1e-3} if axis == 1 else {}
    nodes, constants = normalized(operator, shape, axis, dtype, **given)
    opset = 23 if operator == "RMSNormalization" else 17
    built = model(nodes, constants, {"x": shape}, opset=opset)
    built.ir_version = 10
    graph = close(built)
    (layer,) = [n for n in graph.nodes if n.kind == "normalize"]
    assert layer.uncentred
    assert "integer root mean square normalization (golden-exact)" in graph.notes[-1].text


@pytest.mark.parametrize("dtype", [U8, S8])
@pytest.mark.parametrize(("shape", "axis"), [([2, 12, 4, 5], 1), ([3, 40], -1), ([9, 7, 6], 0)])
def test_euclidean_norm(shape, axis, dtype):
    nodes, constants = normalized("LpNormalization", shape, axis, dtype, y=0.008)
    close(model(nodes, constants, {"x": shape}))


def test_outputs_that_nobody_reads():
    nodes, constants = normalized("LayerNormalization", [4, 8], -1, U8)
    next(n for n in nodes if n.name == "it").output.extend(["mean", "deviation"])
    close(model(nodes, constants, {"x": [4, 8]}))


def test_views_around():
    """As ConvNeXt has it: channels last, normalized, and back; nothing is copied."""
    back = node("Transpose", ["n"], ["m"], name="back", perm=[0, 3, 1, 2])
    there = node("Transpose", ["f0"], ["t"], name="there", perm=[0, 2, 3, 1])
    nodes, constants = normalized("LayerNormalization", [2, 4, 5, 24], -1, S8, back,
                                  before=[there], first="t")
    rng = np.random.RandomState(2)
    constants |= scales(w=(0.02, S8(0))) | {"W": rng.randint(-90, 90, (24, 3, 1, 1)).astype(S8)}
    nodes[:2] = [q("x", "xq", "x"),
                 node("QLinearConv", ["xq", "x_s", "x_z", "W", "w_s", "w_z", "x_s", "x_z"], ["c"]),
                 dq("c", "f0", "x")]
    graph = close(model(nodes, constants, {"x": [2, 3, 4, 5]}))
    assert not [n for n in graph.nodes if n.kind == "move"]


def test_an_image_is_copied():
    """Behind a convolution a row over channels and space is not in the order of its gains."""
    nodes, constants = normalized("LayerNormalization", [2, 6, 4, 5], 1, U8)
    rng = np.random.RandomState(2)
    constants |= scales(w=(0.02, S8(0))) | {"W": rng.randint(-90, 90, (6, 3, 1, 1)).astype(S8)}
    nodes[1:2] = [
        node("QLinearConv", ["xq", "x_s", "x_z", "W", "w_s", "w_z", "x_s", "x_z"], ["c"]),
        dq("c", "f0", "x")]
    graph = close(model(nodes, constants, {"x": [2, 3, 4, 5]}))
    assert [n.kind for n in graph.nodes if n.kind != "view"] == ["conv", "move", "normalize"]
