# SPDX-License-Identifier: Apache-2.0
"""Runs a model on the simulated machine and compares everything with everything.

Three judges: the golden operators layer by layer, the golden machine running the same program
(which tells a compiler fault from a hardware fault), and ONNX Runtime, node by node for the inputs
that each node had and, where every node is to be exact to it, on the outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.emit.compile import CompiledModel
from kiwicha.compiler.emit.layer import Layer
from kiwicha.compiler.frontend.lower import LoweredModel
from kiwicha.compiler.frontend.source import Source
from kiwicha.compiler.frontend.tflite.model import TfliteModel
from kiwicha.compiler.graph.graph import Note
from kiwicha.cost.advice import advice
from kiwicha.cost.shares import layer_shares, utilization
from kiwicha.golden.network import outputs
from kiwicha.hw.control.counters import COUNTER_RECORD
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import COUNTER_WORDS, WORD_BITS
from kiwicha.report.report import LayerReport, Report
from kiwicha.sim.blocks import block_noise
from kiwicha.sim.judge import Verdict, judge
from kiwicha.sim.litert import kernel_notes
from kiwicha.sim.prepare import (
    NOTHING,
    Asked,
    Listener,
    Prepared,
    prepare,
    quiet,
    run_golden_machine,
)
from kiwicha.sim.reference import Reference, elements_that_differ, reference
from kiwicha.sim.simulation import SimulatedMachine, SimulationResult, simulated_machine
from kiwicha.sim.simulator import find_simulator
from kiwicha.sim.statistics import layer_statistics

__all__ = ["Board", "Outcome", "run_model", "run_prepared"]

_RECORD = COUNTER_WORDS * WORD_BITS // 8


@dataclass(frozen=True, eq=False)
class Outcome:
    """The report, the graph outputs as the machine computed them, and which machine it was."""

    report: Report
    outputs: dict[str, NDArray[Any]]
    reference: Reference
    config: AcceleratorConfig


@dataclass(frozen=True)
class Board:
    """What a machine is simulated with.

    Members
    -------
    waves : where to write a waveform; its suffix says which kind (.vcd or .fst).
    latency, stall, seed : of the simulated memory; see `SimulatedMachine.run`.
    """

    simulator: str = "verilator"
    waves: Path | None = None
    latency: int = 20
    stall: int = 0
    seed: int = 1


def run_model(
    model: Source,
    config: AcceleratorConfig | None,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    *,
    samples: int | None = None,
    name: str = "model",
    simulator: str = "verilator",
    waves: Path | None = None,
    latency: int = 20,
    stall: int = 0,
    seed: int = 1,
    asked: Asked = NOTHING,
    listener: Listener = quiet,
) -> Outcome:
    """Lower, compile, simulate and compare; nothing is built before the model is known to fit.

    Parameters
    ----------
    config : None for one that has what the model needs; see `sim.follow`.
    inputs : arrays by graph input name with a leading batch dimension; random when None.
    samples : how many random ones (default: 1, or the model's own batch).
    waves, latency, stall, seed : as of `Board`; the seed is that of random inputs, too.
    asked : what some layers do besides.

    Raises
    ------
    KiwichaError
        For a model, configuration or input that cannot be used.
    SimulatorError, MachineStopped
        When there is no simulator, or the machine reports an error.
    """
    made = prepare(
        model, config, inputs, samples=samples, seed=seed, asked=asked, listener=listener
    )
    board = Board(simulator, waves, latency, stall, seed)
    return run_prepared(made, board, name=name, listener=listener)


def run_prepared(
    made: Prepared, board: Board, *, name: str = "model", listener: Listener = quiet
) -> Outcome:
    """Run what is compiled already; errors as of `run_model`."""
    graph, compiled, asked = made.graph, made.compiled, made.asked
    config, waves = compiled.config, board.waves
    toolchain = find_simulator(board.simulator)
    listener("golden model", 0, 0)
    golden = run_golden_machine(made)  # first: it refuses what would end LiteRT, and us with it
    listener(f"reference: {made.runtime}", 0, 0)
    expected = reference(made.lowered, made.inputs)

    machine = simulated_machine(
        config,
        compiled.image.size,
        simulator=toolchain,
        waves="none" if waves is None else waves.suffix[1:],
        listener=lambda stage: listener(stage, 0, 0),
    )
    total = compiled.timeline.total
    result = _simulate(machine, compiled, golden.image, board, asked.random, listener)

    listener("comparing", 0, 0)
    found = made.read(result.memory, golden.tensors)
    produced = outputs(graph, found)
    wrong = _differences(compiled, result.memory, golden.memory)
    layers = tuple(_layers(compiled, made.lowered, result, golden.tensors, found))
    counted = layer_statistics(compiled, result.memory, golden.tensors)
    whole = all(layer.promise == "runtime-exact" for layer in layers)
    differ = elements_that_differ(produced, expected.outputs)
    report = Report(
        model=name,
        config={"name": config.name, **config.to_dict()},
        simulator=machine.build.toolchain.version,
        cycles=result.cycles,
        predicted_cycles=total,
        macs=compiled.macs,
        utilization=utilization(compiled.macs, result.cycles, config),
        mismatches=wrong
        + sum(layer.mismatches for layer in layers)
        + sum(found.mismatches for found in counted),
        reference={
            **expected.info.to_dict(),
            "compared": whole or any(layer.compared for layer in layers),
            "whole": whole,
            "mismatches": sum(layer.differ for layer in layers) + (differ if whole else 0),
            "outputs_differ": differ,
            "outputs": sum(value.size for value in expected.outputs.values()),
        },
        layers=layers,
        notes=tuple(
            {"node": note.node, "text": note.text}
            for note in (*graph.notes, *compiled.notes, *_kernels(made, found))
        ),
        counters=result.counters,
        seconds=result.seconds,
        waves=None if result.waves is None else str(result.waves),
        statistics=counted,
        blocks=block_noise(graph, golden.tensors, config, produced),
    )
    return Outcome(report, produced, expected, config)


def _kernels(made: Prepared, found: Mapping[str, NDArray[Any]]) -> list[Note]:
    """Return what there is to say of the runtime's own kernels."""
    if not isinstance(made.lowered, TfliteModel):
        return []
    return kernel_notes(made.lowered, made.graph, made.graph.nodes, found, made.inputs)


def _simulate(
    machine: SimulatedMachine,
    compiled: CompiledModel,
    image: NDArray[np.uint8],
    board: Board,
    random: tuple[int, int],
    listener: Listener,
) -> SimulationResult:
    latency, stall, total = board.latency, board.stall, compiled.timeline.total
    listener("simulating", 0, total)
    slow = 1 + latency // 20 + 16 * stall // (256 - stall)  # than the memory of the prediction
    return machine.run(
        image,
        compiled.program,
        compiled.read_window,
        compiled.write_window,
        latency=latency,
        stall=stall,
        seed=board.seed,
        random=random,
        limit=100_000 + 50 * slow * total,
        waves=board.waves,
        progress=lambda cycles: listener("simulating", min(cycles, total), total),
    )


def _differences(
    compiled: CompiledModel, memory: NDArray[np.uint8], golden: NDArray[np.uint8]
) -> int:
    """Bytes of all memory in which simulation and golden machine differ, counters apart."""
    differ = memory != golden
    for layer in compiled.layers:
        differ[layer.record : layer.record + _RECORD] = False
    return int(np.count_nonzero(differ))


def _layers(
    compiled: CompiledModel,
    lowered: LoweredModel,
    result: SimulationResult,
    tensors: Mapping[str, NDArray[Any]],
    found: Mapping[str, NDArray[Any]],
) -> list[LayerReport]:
    reports = []
    cycles = _cycles(compiled, result)
    for layer, used in zip(compiled.layers, cycles, strict=True):
        verdict = judge(lowered, compiled.graph, layer.nodes, compiled.config, found)
        reports.append(_layer(compiled, layer, used, verdict, tensors, found))
    return reports


def _cycles(compiled: CompiledModel, result: SimulationResult) -> list[int]:
    """Return the cycles of each layer, from the counters that STORE wrote at its end."""
    ends = []
    for layer in compiled.layers:
        record = result.memory[layer.record : layer.record + _RECORD].tobytes()
        ends.append(COUNTER_RECORD.from_bits(int.from_bytes(record, "little")).cycles)
    return layer_shares(ends, [layer.needed_cycles for layer in compiled.layers], result.cycles)


def _layer(
    compiled: CompiledModel,
    layer: Layer,
    cycles: int,
    verdict: Verdict,
    tensors: Mapping[str, NDArray[Any]],
    found: Mapping[str, NDArray[Any]],
) -> LayerReport:
    config = compiled.config
    wrong = sum(
        int(np.count_nonzero(found[tensor.name] != tensors[tensor.name]))
        for node in layer.nodes
        for tensor in node.results
    )
    weights = layer.weights
    return LayerReport(
        name=layer.name,
        op=layer.op,
        **vars(verdict),
        x_shape=layer.nodes[0].x.shape,
        y_shape=layer.nodes[-1].y.shape,
        macs=layer.macs,
        cycles=cycles,
        predicted_cycles=layer.predicted_cycles,
        utilization=utilization(layer.macs, cycles, config),
        bound=utilization(layer.macs, layer.bound_cycles, config),
        bound_by=layer.bound_by,
        bytes_read=layer.bytes_read,
        bytes_written=layer.bytes_written,
        mismatches=wrong,
        density=weights.density,
        weight_bytes=weights.dense_bytes,
        stored_bytes=weights.stored_bytes,
        weight_formats=weights.formats,
        cycles_saved=layer.dense_cycles - cycles if layer.dense_cycles else None,
        advice=advice(layer.work, config, cycles),
    )
