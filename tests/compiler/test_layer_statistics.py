# SPDX-License-Identifier: Apache-2.0
"""Statistics of layers that the user names: what the golden machine counts, against NumPy."""

from dataclasses import replace

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.emit.statistics import RECORD_BYTES, Tally, records_needed
from kiwicha.compiler.frontend.inputs import input_batch, random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import DynamicLinearNode, ViewNode
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.golden.statistics import recorded
from kiwicha.golden.vector import VectorState, vector
from kiwicha.machine.encoding import index_fields
from kiwicha.machine.isa import VECTOR, VectorMode
from kiwicha.machine.presets import preset
from kiwicha.models.attention import attention_block, attention_inputs
from kiwicha.models.variants import build
from kiwicha.sim.statistics import layer_statistics

from .any_order import EAGER_LOAD, LAZY_STORE, run_in_order_of
from .test_dynamic import SMALL, mlp, modes, quantized

TINY = preset("tiny").replace(name="counting", statistics={"elements": 256}, special={"lanes": 1})
CONFIGS = {
    "tiny": TINY,
    # A drain has more results than a record.
    "deep": preset("default").replace(name="deep", statistics={"elements": 256}),
    "odd": TINY.replace(rows=5, columns=6, requantize_lanes=3, statistics={"elements": 1024}),
}


def legal(model, batch=None):
    return legalize(lower(model, batch))


def run(graph, config, given, asked=("all",)):
    """Run with what is asked for counted; compare tensors, memory in any order, and statistics."""
    compiled = compile_graph(graph, config, statistics=asked)
    tensors = evaluate(graph, given, config.requantize_mode, config.special.softmax)
    memory = compiled.load(tensors)
    machine = Machine(config, memory, compiled.read_window, compiled.write_window)
    others = [run_in_order_of(order, machine, compiled.words) for order in (EAGER_LOAD, LAZY_STORE)]
    machine.run(compiled.words)
    assert not machine.tokens.any()
    for other in others:
        np.testing.assert_array_equal(other, memory)
    for name, tensor in graph.tensors.items():
        np.testing.assert_array_equal(compiled.read(memory, tensor), tensors[name], name)
    reports = layer_statistics(compiled, memory, tensors)
    nodes = {node.name: node for node in graph.nodes}
    for report in reports:
        node = nodes[report.layer]
        x = tensors[node.y.name]
        if isinstance(node, DynamicLinearNode) and node.target is None:
            x = np.ascontiguousarray(x).view("<i4")
        if report.channel is not None:
            axis = 1 if node.kind in ("conv", "pool") and x.ndim > 2 else -1
            x = x.take(report.channel, axis)
        x = x.astype(np.int64)
        assert (report.elements, report.minimum, report.maximum) == (x.size, x.min(), x.max())
        assert report.mean == pytest.approx(x.mean(), 1e-12, 1e-12)
        assert report.deviation == pytest.approx(x.std(), 1e-9, 1e-9)
        assert report.zeros == report.histogram[0] == np.count_nonzero(x == 0)
        edges = [0, *(1 << b for b in range(33))]
        assert np.array_equal(report.histogram, np.histogram(np.abs(x), edges)[0])
        assert report.mismatches == 0
        assert 1 <= report.records <= records_needed(x.size, config)
        for place in compiled.statistics[report.layer].records:
            found = recorded(memory[place : place + RECORD_BYTES])
            assert found.count <= config.statistics.elements
    return compiled, memory, tensors, reports


@pytest.mark.parametrize(("name", "config"), [
    *((name, "tiny") for name in ("flatten", "separable", "pool_overlapping", "matmul_3d")),
    *((name, "deep") for name in ("separable", "conv_odd_channels")),
    *((name, "odd") for name in ("conv_grouped", "separable", "wide_gemm")),
])
def test_every_layer(name, config):
    model, _ = build(name)
    graph = legal(model, input_batch(model, {}))
    *_, reports = run(graph, CONFIGS[config], random_inputs(graph.inputs, 1))
    names = [node.name for node in graph.nodes if not isinstance(node, ViewNode)]
    assert [report.layer for report in reports] == names


def test_what_is_not_asked_for_is_not_counted():
    model, _ = build("separable")
    graph = legal(model, 1)
    given = random_inputs(graph.inputs, 1)
    compiled, memory, *_ = run(graph, TINY, given, ["maxpool1,conv2"])
    assert list(compiled.statistics) == ["conv2", "maxpool1"]
    assert list(run(graph, TINY, given, ["gemm1", "conv1"])[0].statistics) == ["conv1", "gemm1"]
    plain = compile_graph(graph, TINY)
    image = plain.load(evaluate(graph, given))
    Machine(TINY, image, plain.read_window, plain.write_window).run(plain.words)
    for tensor in graph.tensors.values():
        np.testing.assert_array_equal(plain.read(image, tensor), compiled.read(memory, tensor))
    # A name goes before its parts, and before what it means else.
    for odd in ("conv1,x", "all"):
        nodes = [replace(n, name=odd) if n.name == "conv1" else n for n in graph.nodes]
        named = replace(graph, nodes=tuple(nodes))
        assert list(run(named, TINY, given, [odd])[0].statistics) == [odd]


@pytest.mark.parametrize(("name", "config", "asked"), [
    ("flatten", "tiny", "conv1[2],gemm1[9]"),
    ("conv_odd_channels", "tiny", "conv1[34]"),
    ("conv_odd_channels", "deep", "conv1[0]"),
    ("conv_batch", "odd", "conv1[3]"),
    ("matmul_3d", "tiny", "matmul1[8]"),
    ("separable", "tiny", "maxpool1[5],conv3"),
    ("wide_gemm", "odd", "gemm1[41]"),
])
def test_one_channel(name, config, asked):
    model, _ = build(name)
    graph = legal(model, input_batch(model, {}))
    reports = run(graph, CONFIGS[config], random_inputs(graph.inputs, 1), [asked])[-1]
    assert {
        r.layer if r.channel is None else f"{r.layer}[{r.channel}]" for r in reports
    } == set(asked.split(","))


def test_layers_side_by_side():
    """Both products of attention, one behind the softmax between them: a record at a time."""
    config = preset("small").replace(
        name="attention", transposer=True, special={"lanes": 2, "bytes": 2048},
        statistics={"elements": 256},
    )
    model = attention_block(
        sequence=13, embedding=12, heads=2, head_dim=6, batch=2, signed=False, seed=5
    )
    graph = legal(model)
    given = attention_inputs(model, 5)
    compiled, *_, reports = run(graph, config, given)
    products = [node.name for node in graph.nodes if node.kind == "product"]
    assert len(products) == 2
    assert {report.layer for report in reports} >= set(products)
    assert len(compiled.layers) > len(compile_graph(graph, config).layers)
    second = f"{products[1]}[4]"
    assert run(graph, config, given, [products[0], second])[-1][-1].channel == 4
    # One of them alone runs beside the other, as without statistics.
    alone = run(graph, config, given, [products[1]])[0]
    assert len(alone.layers) == len(compile_graph(graph, config).layers)


def test_dynamic_layers(tmp_path):
    """Sums as int32, the quantized values as uint8, never those that are only measured."""
    rng = np.random.default_rng(3)
    nodes, constants = mlp(rng, (13, 21, 9), relu=False)
    graph = legal(quantized(tmp_path, nodes, constants, [None, 13]), 7)
    config = SMALL.replace(statistics={"elements": 256})
    given = {"x": rng.normal(0.5, 2, (7, 13)).astype(np.float32)}
    compiled, *_, reports = run(graph, config, given)
    assert [report.results for report in reports] == ["uint8", "int32"]
    assert {report.scale for report in reports} == {None}
    assert VectorMode.MEASURE in modes(compiled)
    names = [node.name for node in graph.nodes]
    channels = [f"{names[0]}[20]", f"{names[1]}[8]"]
    assert [r.channel for r in run(graph, config, given, channels)[-1]] == [20, 8]


@pytest.mark.parametrize(("pixels", "lines", "channels"), [
    (3, 1, 4), (16, 4, 4), (17, 9, 5), (100, 3, 12), (1, 300, 12), (256, 2, 1), (13, 13, 12),
])
@pytest.mark.parametrize("mode", [VectorMode.REQUANTIZE, VectorMode.BLOCK])
def test_an_instruction_in_pieces(mode, pixels, lines, channels):
    """Whole, and in pieces: the same bytes in the output buffer, each counted once."""
    config = TINY.replace(
        columns=12, requantize_lanes=2, blocks={"channels": 8, "rounding": "lfsr"},
        output_bytes=16384, parameter_channels=32, weight_bytes=1024, accumulator_depth=1024,
    )
    rng = np.random.default_rng(pixels)
    whole = dict.fromkeys((name for name, _ in VECTOR), 0) | {
        "mode": mode, "pixels": pixels, "lines": lines, "channels": channels, "accumulator": 3,
        "local": 5, "pixel_pitch": channels + 1, "line_pitch": pixels * (channels + 1) + 3,
        "low": -128, "high": 127,
    }
    if mode == VectorMode.BLOCK:
        whole |= {"scales": 12000, **index_fields(70000, channels)}
    accumulators = rng.integers(-(1 << 20), 1 << 20, (1024, 12), np.int32)
    parameters = np.zeros(32, [("bias", "<i4"), ("scale", "<f4"), ("rest", "V8")])
    parameters["scale"] = 1e-4
    results = [np.zeros(config.output_bytes, np.uint8) for _ in range(2)]
    tally, counted, state = Tally(config, "layer", None, 64), 0, VectorState(seed=7)
    vector(config, whole, accumulators, parameters.view(np.uint8), results[0], state)
    for _, part in tally.enter(whole, 0):
        vector(config, part, accumulators, parameters.view(np.uint8), results[1], state)
        size = part["pixels"] * part["lines"] * channels
        assert size <= config.statistics.elements
        counted += size
    tally.close()
    np.testing.assert_array_equal(*results)
    assert counted == pixels * lines * channels
    assert tally.records == [64 + RECORD_BYTES * k for k in range(len(tally.records))]
    assert len(tally.records) <= records_needed(counted, config)


def test_a_wrong_record_is_found():
    model, _ = build("gemm")
    graph = legal(model, 4)
    compiled, memory, tensors, _ = run(graph, TINY, random_inputs(graph.inputs, 1))
    (place,) = compiled.statistics["gemm1"].records
    memory[place] ^= 1
    assert [r.mismatches for r in layer_statistics(compiled, memory, tensors)] == [1]


@pytest.mark.parametrize(("network", "asked", "config", "message"), [
    ("gemm", "gemm1", preset("tiny"),
     "statistics of 'gemm1': the machine keeps none, its statistics.elements is 0"),
    ("gemm", "gemm2", TINY, "statistics: no layer is called 'gemm2'; there are gemm1"),
    ("flatten", "conv1,flatten1", TINY, r"'flatten1' \(Flatten\) moves no data: it has no results"),
    ("flatten", "conv1[4]", TINY, r"'conv1' \(QLinearConv\) has channels 0 to 3, not 4"),
    ("flatten", "conv1[-1]", TINY, r"no layer is called 'conv1\[-1\]'"),
    ("flatten", "conv1,conv1[2]", TINY, "'conv1' is asked for twice; the machine keeps one record"),
    ("softmax", "softmax1", TINY, r"'softmax1' \(QLinearSoftmax\) is computed by SPECIAL; only "),
    ("residual", "add1", TINY, r"'add1' \(QLinearAdd\) is computed by SPECIAL; only what VECTOR"),
])
def test_refused(network, asked, config, message):
    graph = legal(build(network)[0])
    with pytest.raises(KiwichaError, match=message):
        compile_graph(graph, config, statistics=[asked])
