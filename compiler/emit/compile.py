# SPDX-License-Identifier: Apache-2.0
"""A legal graph becomes a memory image with a program in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import prod

import numpy as np

from kiwicha.compiler.emit.absorb import absorb
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.chains import chains
from kiwicha.compiler.emit.forwarding import ForwardingBuilder
from kiwicha.compiler.emit.forwarding_plan import forward, siblings
from kiwicha.compiler.emit.functions import functions_of
from kiwicha.compiler.emit.instruction import Instruction
from kiwicha.compiler.emit.layer import Layer, work
from kiwicha.compiler.emit.layer_steps import layer_steps
from kiwicha.compiler.emit.memory import ALIGN, Memory
from kiwicha.compiler.emit.placement import place_results
from kiwicha.compiler.emit.pools import with_pools
from kiwicha.compiler.emit.scales import scale_places
from kiwicha.compiler.emit.statistics import (
    RECORD_BYTES,
    Tally,
    counted_layers,
    records_needed,
    split_chains,
)
from kiwicha.compiler.emit.steps import Step, besides, interleave
from kiwicha.compiler.emit.sums import addends_of
from kiwicha.compiler.graph.graph import BlocksNode, Graph, Node, Note, Tensor
from kiwicha.compiler.schedule.compress import LayerWeights
from kiwicha.compiler.schedule.units import require_units
from kiwicha.compiler.schedule.within import Within
from kiwicha.cost.energy import Energy, energy
from kiwicha.cost.performance import Timeline
from kiwicha.cost.shares import layer_shares
from kiwicha.errors import KiwichaError, UnfitMachine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import COUNTER_WORDS, WORD_BITS

__all__ = ["CompiledModel", "compile_graph"]

_RECORD = COUNTER_WORDS * WORD_BITS // 8
@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A program and everything it needs in memory.

    Members
    -------
    image : uint8; memory from address 0, tensors still zero.
    program : (byte address, bytes) of the instructions in ``image``.
    read_window, write_window : (base, limit) to grant, limit exclusive.
    addresses : where each tensor lies; its bytes are ``Tensor.to_memory``. What becomes something
        else on the way out (`compiler.emit.functions`), or stays on chip
        (`compiler.emit.forwarding_plan`), is nowhere.
    statistics : layers whose results are counted, and where their records are, by name.
    places : address of each byte of the scales of blocks, by their tensor's name.
    within : tensors that lie inside others.
    notes : copies that were not made.
    """

    config: AcceleratorConfig
    graph: Graph
    image: np.ndarray
    program: tuple[int, int]
    read_window: tuple[int, int]
    write_window: tuple[int, int]
    addresses: dict[str, int]
    layers: tuple[Layer, ...]
    timeline: Timeline
    energy: Energy
    statistics: Mapping[str, Tally] = field(default_factory=dict)
    places: Mapping[str, np.ndarray] = field(default_factory=dict)
    within: Mapping[str, Within] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    @property
    def words(self) -> np.ndarray:
        """The program's 64-bit words."""
        start, length = self.program
        return self.image[start : start + length].view("<u8")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    def load(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the memory image with the input tensors, given in ONNX order, in it."""
        image = self.image.copy()
        for tensor in self.graph.input_tensors:
            data = tensor.to_memory(tensors[tensor.name]).view(np.uint8)
            start = self.addresses[tensor.name]
            image[start : start + data.size] = data
        return image

    def read(self, memory: np.ndarray, tensor: Tensor) -> np.ndarray:
        """Return a tensor from ``memory``, in ONNX order and its own type."""
        if tensor.name in self.places:
            return memory[self.places[tensor.name]]
        start = self.addresses[tensor.name]
        if tensor.name in self.within:
            places = self.within[tensor.name].places(np.arange(tensor.size))
            return tensor.from_memory(memory[start + places])
        return tensor.from_memory(memory[start : start + tensor.size])


def _dense(
    builder: ProgramBuilder, layers: list[Layer], parts: list[list[Instruction]]
) -> list[int]:
    """Return `Layer.dense_cycles` of each layer, whose instructions are ``parts``."""
    if not any(layer.weights.compressed for layer in layers):
        return [0] * len(layers)
    works = [work(layer.nodes, part, dense=True) for layer, part in zip(layers, parts, strict=True)]
    needed = [each.bound_cycles if each.macs else 0 for each in works]
    timeline = builder.timeline(dense=True)
    shares = layer_shares(timeline.layer_end, needed, timeline.total)
    return [
        cycles if layer.weights.compressed and each.bound_by == "read" else 0
        for layer, each, cycles in zip(layers, works, shares, strict=True)
    ]


def _ready(node: Node) -> int:
    """Bytes that become ready together: those of a matrix, and what follows keeps to them."""
    return prod(node.y.shape[-2:])


def compile_graph(
    graph: Graph,
    config: AcceleratorConfig,
    progress: Callable[[str, int, int], None] | None = None,
    statistics: Sequence[str] = (),
) -> CompiledModel:
    """Place the tensors, cut every node into tiles and write the program.

    Parameters
    ----------
    progress : called with (node name, nodes done, nodes in all).
    statistics : layers whose results are counted: names, one of their channels as ``name[3]``, or
        `compiler.emit.statistics.ALL`.

    Raises
    ------
    KiwichaError
        When a node or the whole model does not fit the machine; names node and limit. When a
        layer's statistics cannot be had.
    """
    counted = counted_layers(graph, config, statistics)
    parts = split_chains(chains(graph.nodes, graph.wholes), counted)
    together = {node.name for part in parts for node in part if len(part) > 1}
    names = {each.node.name for each in counted}
    absorbed = absorb(graph, config, together, names)
    functions = functions_of(graph, config, absorbed, together, names)
    functions = with_pools(graph, config, functions, absorbed, names)
    alone = [node for node in graph.nodes if node.name not in functions.besides]
    require_units(alone, config, graph.wholes)
    # The last beat of the address space cannot be granted: limits are exclusive.
    memory = Memory((1 << config.axi_address_width) - ALIGN)
    addresses: dict[str, int] = {}
    updated = {place: name for name, place in graph.updates.items()}
    for tensor in graph.input_tensors:
        if tensor.name not in updated:
            addresses[tensor.name] = memory.take(tensor.size, f"input {tensor.name!r}")
    write_base = memory.top
    for tensor in graph.input_tensors:
        if tensor.name in updated:
            place = memory.take(tensor.size, f"input {tensor.name!r}")
            addresses[tensor.name] = addresses[updated[tensor.name]] = place
    parts = functions.joined(absorbed.left(parts))
    addresses = place_results(graph, memory, addresses, absorbed, functions)
    records = memory.take(_RECORD * len(parts), "the layer records")
    tallies = {}
    for node, channel in ((each.node, each.channel) for each in counted):
        size = records_needed(node.y.size, config) * RECORD_BYTES
        place = memory.take(size, f"statistics of {node.name!r}")
        tallies[node.name] = Tally(config, node.name, channel, place)
    write_limit = memory.top

    addends = addends_of(functions.sums, addresses, graph, config.beat_bytes, memory.put)
    # What is counted is counted once: such programs are emitted once.
    kind = ForwardingBuilder if config.forwarding and not tallies else ProgramBuilder
    builder = kind(
        config, absorbed=absorbed, counted=names, addends=addends,
        siblings=siblings(graph) if config.forwarding else {},
    )
    slots = addresses[graph.dynamic[0].record.name] if graph.dynamic and config.dynamic else None
    if slots is not None:
        builder.load_slots(slots)
    done, refused = 0, list[KiwichaError]()
    emitted = list[list[Step]]()
    for index, nodes in enumerate(parts):
        builder.layer = index
        whole = graph.wholes.get(nodes[0].y.name) if len(nodes) > 1 else None
        steps, ready = [], 0
        for node in nodes:
            if progress is not None:
                progress(node.name, done, sum(map(len, parts)))
            done += 1
            if node.name in functions.besides:
                continue
            pool = functions.pools.get(node.name)
            try:
                made = layer_steps(node, addresses, builder, memory.put, ready, pool)
            except KiwichaError as error:
                refused.append(error)
                if whole is not None:
                    break  # the other steps are in the way for the same reason
                continue
            if tally := tallies.get(node.name):
                made = [besides(step, builder, tally=tally) for step in made]
            if table := functions.table(node):
                made = [besides(step, builder, function=table.table) for step in made]
            steps.append(made)
            ready = _ready(node) if len(nodes) > 1 and whole is None else 0
        if refused:
            continue  # a line for each node in the way, and no program
        emitted.append(interleave(steps) if whole is None else list(chain.from_iterable(steps)))
        for step in emitted[-1]:
            step.emit()
        for node in nodes:
            if node.name in tallies:
                builder.store_statistics(tallies[node.name].close())
        builder.store_counters(records + index * _RECORD)
    if refused:
        raise UnfitMachine.together(refused)
    unwritten = frozenset[str]()
    if isinstance(builder, ForwardingBuilder):

        def emit_again() -> None:
            if slots is not None:
                builder.load_slots(slots)
            for index, steps in enumerate(emitted):
                builder.layer = index
                for step in steps:
                    step.emit()
                builder.store_counters(records + index * _RECORD)

        unwritten = forward(builder, emit_again, graph, addresses)
    words = builder.words()
    start = memory.take(words.size * 8, "the program")
    memory.check()
    timeline = builder.timeline()
    image = np.zeros(memory.top, np.uint8)
    memory.move_constants(image)
    image[start : start + words.size * 8] = words.view(np.uint8)
    layers = []
    instructions: list[list[Instruction]] = [[] for _ in parts]
    for each in builder.instructions:
        instructions[each.layer].append(each)
    for index, (nodes, mine) in enumerate(zip(parts, instructions, strict=True)):
        layers.append(
            Layer(
                nodes,
                records + index * _RECORD,
                0,
                work(nodes, mine),
                0,
                sum(i.bytes_read for i in mine),
                sum(i.bytes_written for i in mine),
                LayerWeights.of(nodes, builder.stored[index]),
                graph.wholes.get(nodes[0].y.name) if len(nodes) > 1 else None,
            )
        )
    shares = layer_shares(
        timeline.layer_end, [layer.needed_cycles for layer in layers], timeline.total
    )
    dense = _dense(builder, layers, instructions)
    layers = [
        replace(layer, predicted_cycles=cycles, dense_cycles=without)
        for layer, cycles, without in zip(layers, shares, dense, strict=True)
    ]
    return CompiledModel(
        config,
        graph,
        image,
        (start, words.size * 8),
        (0, memory.top),
        (write_base, write_limit),
        {
            name: place for name, place in addresses.items()
            if name not in functions.passing | unwritten
        },
        tuple(layers),
        timeline,
        energy(config, builder.instructions, sum(layer.macs for layer in layers)),
        tallies,
        {
            node.scales.name: scale_places(builder.scale_runs[index], node.scales.shape)
            for index, (node, *_) in enumerate(parts)
            if isinstance(node, BlocksNode)
        },
        absorbed.within,
        tuple(absorbed.notes),
    )
