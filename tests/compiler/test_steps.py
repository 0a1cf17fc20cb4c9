# SPDX-License-Identifier: Apache-2.0
"""Layers that run side by side: which these are, and the order of their parts."""

import numpy as np
import pytest

from kiwicha.compiler.emit.chains import chains
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.emit.steps import Step, interleave
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.graph.graph import (
    AddNode,
    Graph,
    MatMulNode,
    ProductNode,
    SoftmaxNode,
    Tensor,
    Value,
    ViewNode,
)
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import preset

SHAPE = (8, 64, 64)


def tensor(name, shape=SHAPE, scale=0.05):
    return Tensor(name, shape, np.dtype("uint8"), np.float32(scale), 0)


def product(x, z, y):
    scale = np.float32(1e-4)
    return ProductNode(
        y, "MatMul", tensor(x), tensor(z), tensor(y), scale, np.float64(scale), 0, 255
    )


def softmax(x, y):
    return SoftmaxNode(y, "Softmax", tensor(x), tensor(y, scale=1 / 256))


def add(x, z, y):
    return AddNode(y, "Add", tensor(x), tensor(z), tensor(y), 0, 255)


def names(nodes):
    return [[node.name for node in part] for part in chains(nodes)]


def test_from_product_to_product():
    view = ViewNode("view", "Reshape", tensor("s"), tensor("r"))
    nodes = [product("q", "k", "a"), softmax("a", "s"), view, add("v", "w", "b"),
             product("r", "b", "c"), add("c", "q", "d")]
    # What the second product reads besides comes before all of them.
    assert names(nodes) == [["b"], ["a", "s", "c"], ["d"]]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([product("q", "k", "a"), softmax("a", "s")], [["a", "s"]]),
        ([product("q", "k", "a"), product("a", "k", "b")], [["a"], ["b"]]),
        ([softmax("q", "s"), product("s", "k", "a")], [["s"], ["a"]]),
        # Read twice: the second reader may come long after.
        ([product("q", "k", "a"), softmax("a", "s"), add("s", "a", "b")], [["a"], ["s"], ["b"]]),
        # The second operand of a sum comes from the product.
        ([product("q", "k", "a"), add("q", "a", "b")], [["a"], ["b"]]),
        (
            [product("q", "k", "a"), softmax("a", "s"), product("s", "v", "b"), softmax("b", "t"),
             product("t", "v", "c")],
            [["a", "s", "b"], ["t"], ["c"]],
        ),
    ],
)
def test_where_a_chain_ends(nodes, expected):
    assert names(nodes) == expected


def test_other_layers_stay_alone():
    weights = np.zeros((64, 64), np.int8)
    zeros, ones = np.zeros(64, np.int32), np.ones(64, np.float32)
    dense = MatMulNode("m", "MatMul", tensor("a"), tensor("m"), weights, zeros.astype(np.int16),
                       zeros, ones, ones.astype(np.float64), np.arange(64), 0, 255)
    assert names([product("q", "k", "a"), dense, softmax("m", "s")]) == [["a"], ["m"], ["s"]]


def steps(layer, sizes, reads=None):
    """Steps that write ``sizes`` bytes one after the other, each reading what it names."""
    made, start = [], 0
    for index, size in enumerate(sizes):
        span = (1000 * layer + start, 1000 * layer + start + size)
        used = () if reads is None else (reads[index],)
        made.append(Step(used, span, lambda: None))
        start += size
    return made


@pytest.mark.parametrize("lag", [1, 2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_every_step_once_and_after_what_it_reads(seed, lag):
    rng = np.random.default_rng(seed)
    layers = [steps(0, rng.integers(1, 9, 12))]
    for layer in (1, 2, 3):
        end = layers[-1][-1].writes[1] - 1000 * (layer - 1)
        sizes = rng.integers(1, 9, int(rng.integers(1, 9)))
        edges = np.sort(rng.integers(0, end, (len(sizes), 2)), axis=1)
        reads = [(1000 * (layer - 1) + int(a), 1000 * (layer - 1) + int(b) + 1) for a, b in edges]
        layers.append(steps(layer, sizes, reads))
    order = interleave(layers, lag)
    assert sorted(map(id, order)) == sorted(id(step) for layer in layers for step in layer)
    done = []
    for step in order:
        for start, stop in step.reads:
            producers = layers[start // 1000]
            needed = [p for p in producers if p.writes[0] < stop and start < p.writes[1]]
            assert all(p in done for p in needed)
        done.append(step)


def test_the_second_layer_follows_behind_the_first():
    first = steps(0, [4] * 6)
    second = steps(1, [4] * 6, [step.writes for step in first])
    order = [(0, first.index(s)) if s in first else (1, second.index(s))
             for s in interleave([first, second], 2)]
    assert order == [(0, 0), (0, 1), (0, 2), (1, 0), (0, 3), (1, 1), (0, 4), (1, 2), (0, 5), (1, 3),
                     (1, 4), (1, 5)]


def test_one_layer_keeps_its_order():
    layer = steps(0, [3, 1, 2])
    assert interleave([layer]) == layer


def test_attention_keeps_the_array_busy():
    """Eight heads of 64 x 64: the softmax is hidden behind the products of other heads."""
    nodes = (product("q", "k", "a"), softmax("a", "s"), product("s", "v", "y"))
    values = [Value(name, SHAPE, np.dtype("uint8")) for name in "qkvy"]
    graph = Graph(tuple(values[:3]), (values[3],), (), nodes, ())
    config = preset("default").replace(transposer=True, special={"lanes": 8})
    compiled = compile_graph(graph, config)
    (layer,) = compiled.layers
    assert (layer.name, layer.op) == ("a + s + y", "MatMul + Softmax + MatMul")
    assert {node.promise for node in layer.nodes} == {"runtime"}
    assert layer.macs == 2 * 8 * 64**3
    assert layer.bound_cycles == layer.macs // 256
    assert layer.bound_cycles < layer.predicted_cycles < 1.1 * layer.bound_cycles
    tensors = evaluate(graph, random_inputs(graph.inputs, 7))
    memory = compiled.load(tensors)
    Machine(config, memory, compiled.read_window, compiled.write_window).run(compiled.words)
    assert "y" in compiled.addresses  # what is between may stay on chip
    for name in compiled.addresses:
        np.testing.assert_array_equal(compiled.read(memory, graph.tensors[name]), tensors[name])
