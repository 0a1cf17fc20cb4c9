# SPDX-License-Identifier: Apache-2.0
"""Programs that forward results on chip: the same bits, in any order that their tokens allow, and
fewer predicted cycles; what of a STORE a LOAD would have brought."""

import numpy as np
import onnx
import pytest

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.forwarding_plan import Regions, siblings
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.compiler.emit.overlap import places, shared
from kiwicha.compiler.frontend.lower import LoweredModel, lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.destination import StoreDestination
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import Opcode
from kiwicha.machine.presets import preset
from kiwicha.models.attention import attention_block
from kiwicha.sim.shipped import SHIPPED

from .any_order import EAGER_LOAD, LAZY_STORE, run_in_order_of
from .random_nodes import CONFIGS

DEFAULT = preset("default")
SMALL = CONFIGS["tiny"].replace(forwarding=True)


def shipped(name: str, samples: int) -> LoweredModel:
    return lower(onnx.load(SHIPPED[name].path), samples)


def run(lowered: LoweredModel, config: AcceleratorConfig) -> CompiledModel:
    """Compile, and compare all that is in memory with the golden operators, in three orders."""
    graph = legalize(lowered)
    rng = np.random.default_rng(3)
    inputs = {value.name: rng.random(value.shape).astype(value.dtype) for value in graph.inputs}
    tensors = evaluate(graph, inputs)
    compiled = compile_graph(graph, config)
    memory = compiled.load(tensors)
    machine = Machine(config, memory, compiled.read_window, compiled.write_window)
    orders = [run_in_order_of(order, machine, compiled.words) for order in (EAGER_LOAD, LAZY_STORE)]
    machine.run(compiled.words)
    assert not machine.tokens.any()
    for other in orders:
        np.testing.assert_array_equal(other, memory, "tokens are missing")
    there = {name: t for name, t in graph.tensors.items() if name in compiled.addresses}
    assert {tensor.name for tensor in graph.output_tensors} <= {*there}
    for name, tensor in there.items():
        found = compiled.read(memory, tensor)
        np.testing.assert_array_equal(found, tensors[name], err_msg=name)
    return compiled


def destinations(compiled: CompiledModel) -> list[StoreDestination]:
    return [
        StoreDestination(fields["destination"])
        for _, opcode, fields in walk_program(compiled.words) if opcode == Opcode.STORE
    ]


def test_vision_transformer() -> None:
    lowered = shipped("vit", 1)
    compiled = run(lowered, DEFAULT)
    plain = compile_graph(legalize(lowered), DEFAULT.replace(forwarding=False))
    assert {*destinations(plain)} == {StoreDestination.MEMORY}
    assert {*destinations(compiled)} == {*StoreDestination}
    assert compiled.timeline.total < 0.8 * plain.timeline.total
    # Keys and values are weights, which come from memory; queries stay on chip.
    assert {*plain.addresses} - {*compiled.addresses}
    written = sum(layer.bytes_written for layer in compiled.layers)
    assert written < 0.6 * sum(layer.bytes_written for layer in plain.layers)
    assert len([tensor for tensor in compiled.addresses if ".k_out" in tensor]) > 0


@pytest.mark.parametrize(
    ("name", "samples", "config"),
    [("vit", 2, DEFAULT), ("lenet5", 1, DEFAULT), ("resnet8", 1, DEFAULT),
     ("lenet5", 1, SMALL), ("lstm", 1, DEFAULT)],
    ids=["vit", "lenet5", "resnet8", "lenet5 small", "lstm"],
)
def test_shipped_models(name: str, samples: int, config: AcceleratorConfig) -> None:
    lowered = shipped(name, samples)
    compiled = run(lowered, config)
    plain = compile_graph(legalize(lowered), config.replace(forwarding=False))
    assert compiled.timeline.total <= plain.timeline.total


@pytest.mark.parametrize("config", CONFIGS)
def test_attention(config: str) -> None:
    model = attention_block(
        sequence=7, embedding=10, heads=3, head_dim=5, batch=2, signed=True
    )
    run(lower(model), CONFIGS[config].replace(forwarding=True))


def test_siblings() -> None:
    counts = siblings(legalize(shipped("vit", 1)))
    assert counts["block0.q"] == counts["block1.v"] == 3
    assert counts["block0.up"] == 1


def test_shared_bytes() -> None:
    store = places([Transfer(1000, 8, 48)])  # 48 bytes from byte 8 of the output buffer on
    # All of them, and those of two lanes.
    assert shared(store, places([Transfer(1000, 0, 48)]), 8) == [Transfer(0, 8, 48)]
    lanes = places([Transfer(1000, 0, 24, 2, 24, 256)])
    assert shared(store, lanes, 8) == [Transfer(0, 8, 24, 2, 256, 24)]
    # Every other beat, to places side by side; a part of a larger block.
    some = places([Transfer(1008, 0, 8, 2, 16, 8)])
    assert shared(store, some, 8) == [Transfer(0, 16, 8, 2, 8, 16)]
    assert shared(store, places([Transfer(984, 0, 200)]), 8) == [Transfer(16, 8, 48)]


@pytest.mark.parametrize(
    ("store", "load"),
    [
        (Transfer(1000, 9, 48), Transfer(1000, 0, 48)),  # another byte of a beat
        (Transfer(1000, 8, 44), Transfer(1000, 0, 48)),  # the last beat has others' bytes
        (Transfer(1004, 12, 44), Transfer(1000, 0, 48)),  # so has the first
        (Transfer(1000, 8, 4, 6, 8, 8), Transfer(1000, 0, 48)),
    ],
)
def test_beats_are_not_shared(store: Transfer, load: Transfer) -> None:
    assert shared(places([store]), places([load]), 8) is None


def test_bytes_beside_a_block_do_not_matter() -> None:
    # The block ends in the middle of a beat, and nothing else is there.
    store, load = places([Transfer(1000, 8, 48)]), places([Transfer(1003, 3, 30)])
    assert shared(store, load, 8) == [Transfer(3, 11, 30)]


def test_regions() -> None:
    regions = Regions([(0, 10), (10, 20), (15, 30), (40, 50), (60, 60)])
    assert regions.of(Range(Space.MEMORY, 9, 11)) == [(0, 10), (10, 30)]
    assert regions.of(Range(Space.MEMORY, 30, 40)) == []
    assert regions.of(Range(Space.MEMORY, 29, 60)) == [(10, 30), (40, 50)]
