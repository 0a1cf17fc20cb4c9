# SPDX-License-Identifier: Apache-2.0
"""Compressed weights: what is chosen, what it decodes to, and networks that run on it."""

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.compiler.schedule.compress import compress
from kiwicha.golden.load import compressed_rows
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.capabilities import WEIGHT_FORMATS
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import LoadTarget, Opcode, WeightFormat
from kiwicha.sim.reference import reference

from .pruned import CONFIGS, DENSE, pruned

ALL = DENSE.replace(sparse={"formats": WEIGHT_FORMATS, "entries": 8})


def sparse_rows(count: int, density: float, seed: int = 1, values: int = 127) -> np.ndarray:
    """Return ``count`` weight rows of `DENSE` with int8 values, as bytes."""
    rng = np.random.default_rng(seed)
    shape = (count, DENSE.weight_pitch)
    kept = rng.random(shape) < density
    return np.where(kept, rng.integers(1, values + 1, shape), 0).astype(np.int8).view(np.uint8)


def back(stored, config=ALL) -> np.ndarray:
    """Return the rows that a machine decodes."""
    if stored.form == WeightFormat.DENSE:
        return stored.octets.reshape(-1, config.weight_pitch)
    fields = {"format": stored.form, "pitch": stored.pitch & 0xFFFFFFFF}
    return compressed_rows(config, fields, stored.octets)


@pytest.mark.parametrize("name", WEIGHT_FORMATS)
@pytest.mark.parametrize("count", [1, 24, 127, 128, 1000, 5000])
def test_each_format_decodes_to_the_rows(name, count):
    config = DENSE.replace(sparse={"formats": (name,), "entries": 8}, weight_bytes=1 << 17)
    rows = sparse_rows(count, 0.1, values=9)
    stored = compress(rows, config, signed=True, zero=0)
    assert np.array_equal(back(stored, config), rows)
    assert stored.size == rows.size
    if count > 24:
        assert stored.form.name == name.upper().replace("-", "_")
        assert stored.octets.size < rows.size


def test_the_shortest_is_taken():
    for density, expected in ((0.02, WeightFormat.CSC5), (0.4, WeightFormat.BITMASK)):
        rows = sparse_rows(512, density)
        sizes = {
            name: compress(rows, DENSE.replace(sparse={"formats": (name,), "entries": 8}),
                           signed=True, zero=0).octets.size
            for name in WEIGHT_FORMATS
        }
        stored = compress(rows, ALL, signed=True, zero=0)
        assert stored.octets.size == min(sizes.values())
        assert stored.form in (expected, WeightFormat.CSC8)
    assert compress(sparse_rows(512, 1.0), ALL, signed=True, zero=0).form == WeightFormat.DENSE


def test_a_codebook_only_where_the_values_fit():
    config = DENSE.replace(sparse={"formats": ("csc4-codebook",)})
    assert compress(sparse_rows(64, 0.1, values=15), config, signed=True, zero=0).cycles
    many = compress(sparse_rows(64, 0.1, values=60), config, signed=True, zero=0)
    assert many.form == WeightFormat.DENSE


def test_never_slower_than_dense():
    """Two entries a cycle, eight weights a row: a stream with more than two in each is slower."""
    rows = sparse_rows(256, 0.45, values=9)
    for entries, form in ((1, WeightFormat.DENSE), (8, WeightFormat.CSC4_CODEBOOK)):
        config = DENSE.replace(sparse={"formats": ("csc4-codebook",), "entries": entries})
        assert compress(rows, config, signed=True, zero=0).form == form


@pytest.mark.parametrize(
    ("signed", "zero", "low", "high", "fits"),
    [(True, 0, -128, 127, True), (True, 5, -123, 127, True), (True, -100, -100, 127, True),
     (True, 5, -128, 127, False), (False, 128, 0, 255, True), (False, 3, 3, 255, True),
     (False, 3, 0, 255, False)],
)
def test_zero_points_come_off(signed, zero, low, high, fits):
    """What is on chip differs from its zero point by what the weights differ from theirs."""
    rows = np.full((64, DENSE.weight_pitch), zero, np.int64)
    rows[3, :2], rows[40, 7] = (low, high), low
    kind = np.int8 if signed else np.uint8
    stored = compress(rows.astype(kind).view(np.uint8), ALL, signed=signed, zero=zero)
    on_chip = back(stored).view(np.int8 if stored.signed else np.uint8).astype(np.int64)
    assert np.array_equal(on_chip - stored.zero, rows - zero)
    assert (stored.form != WeightFormat.DENSE) == fits


def on_golden_machine(compiled: CompiledModel, tensors) -> np.ndarray:
    """Return memory after the program."""
    memory = compiled.load(tensors)
    Machine(compiled.config, memory, compiled.read_window, compiled.write_window).run(
        compiled.words
    )
    return memory


WEIGHTS = [(np.int8, 0), (np.int8, 3), (np.uint8, 128)]


@pytest.mark.parametrize(("weight_type", "zero"), WEIGHTS, ids=lambda v: str(v))
def test_networks_are_the_same_bits(weight_type, zero):
    model = lower(pruned(4, weight_type, zero), None)
    graph = legalize(model)
    given = random_inputs(graph.inputs, 2)
    tensors = evaluate(graph, given)
    for name, value in reference(model, given).outputs.items():
        assert np.array_equal(outputs(graph, tensors)[name], value)
    plain = compile_graph(graph, DENSE).layers
    for name, config in CONFIGS.items():
        compiled = compile_graph(graph, config)
        memory = on_golden_machine(compiled, tensors)
        for tensor in graph.tensors.values():
            assert np.array_equal(compiled.read(memory, tensor), tensors[tensor.name]), name
        if name == "dense":
            continue
        forms = {
            WeightFormat(fields["format"]) for _, opcode, fields in walk_program(compiled.words)
            if opcode == Opcode.LOAD and fields["target"] == LoadTarget.WEIGHT
        }
        wanted = WEIGHT_FORMATS if name == "all" else (name,)
        named = {WeightFormat[w.upper().replace("-", "_")] for w in wanted}
        assert forms & named, name
        for layer, dense in zip(compiled.layers, plain, strict=True):
            assert layer.weights.compressed, (name, layer.name)
            assert layer.weights.stored_bytes < layer.weights.dense_bytes
            assert layer.bytes_read < dense.bytes_read, (name, layer.name)
            weights = layer.nodes[0].weights
            share = np.count_nonzero(weights - layer.nodes[0].weight_zero.flat[0]) / weights.size
            assert layer.weights.density == share


def test_layers_without_weights_say_so():
    layer = compile_graph(legalize(lower(pruned(), None)), DENSE).layers[0].weights
    assert layer.formats == ("dense",)
    assert not layer.compressed
    assert layer.stored_bytes == layer.dense_bytes > 0
