# SPDX-License-Identifier: Apache-2.0
"""Runs: on the golden machine, or on the generated hardware, simulated clock by clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kiwicha.api.machine import MachineLike, chosen_machine
from kiwicha.api.model import Model, ModelLike, load_model
from kiwicha.errors import InputError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.report.report import Report, differences
from kiwicha.sim.fallback import check_asked, golden_fallback, simulated_fallback
from kiwicha.sim.files import check_destinations
from kiwicha.sim.golden_run import run_on_golden_machine
from kiwicha.sim.inference import Board, run_model
from kiwicha.sim.prepare import Asked, Listener, quiet

__all__ = ["RunResult", "run_golden", "simulate"]


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run computed, and what the judges say of it.

    Members
    -------
    outputs : graph outputs by name.
    expected : what ONNX Runtime, or LiteRT of a TFLite model, makes of the model as given and the
        same inputs, by name.
    predicted_cycles, cycles : from start to interrupt; ``cycles`` by the machine's own counter,
        None on the golden machine, which has no clock.
    machine : on which it ran, that of the argument unless that was None.
    verdict : what is not as promised, a sentence each; empty if every bit is right.
    report : layer by layer, with cycles, bytes and what each layer promises; None on the golden
        machine.
    """

    outputs: dict[str, NDArray[Any]]
    expected: dict[str, NDArray[Any]]
    predicted_cycles: int
    cycles: int | None
    machine: AcceleratorConfig
    verdict: tuple[str, ...]
    report: Report | None

    @property
    def exact(self) -> bool:
        """Whether every bit is right."""
        return not self.verdict


def run_golden(
    model: ModelLike,
    inputs: Mapping[str, ArrayLike] | None = None,
    machine: MachineLike | None = None,
    *,
    samples: int | None = None,
    blocks: Sequence[str] = (),
    random: tuple[int, int] = (0, 0),
    seed: int = 1,
    host_fallback: bool = False,
    progress: Listener = quiet,
) -> RunResult:
    """Compile a model and run the program on the golden machine, in NumPy: the bits of `simulate`.

    Parameters
    ----------
    model : path of an ONNX file, ``onnx.ModelProto``, or the name of a model that comes along.
    inputs : arrays by graph input name, each of the input's own type and shape, the batch in front;
        random ones of ``seed`` if None.
    machine : name of a preset, path of a TOML file, or `AcceleratorConfig`; None for the machine
        called default with what the model needs besides.
    samples : how many random inputs (default: 1, or the model's own batch).
    blocks : names of layers whose results are quantized by blocks, on a machine that can.
    random : seed and step where blocks are rounded randomly.
    host_fallback : nodes that no machine can run are run by ONNX Runtime, between programs.
    progress : called with (stage, done, total); a total of 0 means unknown.

    Raises
    ------
    ModelError, UnsupportedModel, UnfitMachine, ConfigError, InputError
        For a model, a machine or an input that cannot be used; names what is in the way.
    """
    loaded, config = load_model(model), chosen_machine(machine)
    if host_fallback:
        check_asked(blocks, ())
        return _golden_fallback(loaded, config, _arrays(inputs), samples, seed, progress)
    found = run_on_golden_machine(
        loaded.proto, config, _arrays(inputs), samples=samples, seed=seed,
        asked=Asked(blocks=blocks, random=random), listener=progress,
    )
    return RunResult(
        found.outputs, found.reference.outputs, found.predicted_cycles, None, found.config,
        found.wrong, None,
    )


def simulate(
    model: ModelLike,
    inputs: Mapping[str, ArrayLike] | None = None,
    machine: MachineLike | None = None,
    *,
    samples: int | None = None,
    simulator: str = "verilator",
    waves: str | Path | None = None,
    latency: int = 20,
    stall: int = 0,
    statistics: Sequence[str] = (),
    blocks: Sequence[str] = (),
    random: tuple[int, int] = (0, 0),
    seed: int = 1,
    host_fallback: bool = False,
    progress: Listener = quiet,
) -> RunResult:
    """Run a model on the generated hardware, simulated, and compare every byte of every layer.

    The first run of a machine generates and builds it, a minute or two; `kiwicha.places` says where
    that is kept.

    Parameters
    ----------
    model, inputs, machine, samples, blocks, random, host_fallback, progress : as of `run_golden`.
    simulator : "verilator" or "icarus", which is slow and shows unknown bits.
    waves : where to write a waveform, FILE.vcd or FILE.fst.
    latency : cycles from a read request to its data, at least 0.
    stall : chance in 256 that the memory makes a transfer wait a cycle, 0 to 255.
    statistics : names of layers whose results the machine counts, "all" for every one that can;
        the report has them.
    seed : of random inputs and stalls.

    Raises
    ------
    ModelError, UnsupportedModel, UnfitMachine, ConfigError, InputError, DestinationError
        For a model, a machine, an input or a waveform's place that cannot be used; nothing has been
        built then.
    SimulatorError
        When there is no such simulator, or it cannot build or breaks.
    MachineStopped
        When the machine stops with an error.
    """
    if latency < 0 or not 0 <= stall <= 255:
        raise InputError(f"latency is {latency}, stall {stall}; legal: 0 or more, 0 to 255")
    loaded, config = load_model(model), chosen_machine(machine)
    waves = None if waves is None else Path(waves)
    check_destinations({"waves": waves}, {"waves": (".vcd", ".fst")}, [])
    if host_fallback:
        check_asked(blocks, statistics)
        board = Board(simulator, waves, latency, stall, seed)
        run, report = simulated_fallback(
            loaded.only_onnx("host_fallback"), config, _arrays(inputs), board=board,
            samples=samples, name=loaded.name, listener=progress,
        )
        return RunResult(
            run.outputs, run.expected, report.predicted_cycles, report.cycles, run.plan.config,
            tuple(differences(report)), report,
        )
    found = run_model(
        loaded.proto, config, _arrays(inputs),
        samples=samples, name=loaded.name, simulator=simulator, waves=waves,
        latency=latency, stall=stall, seed=seed, asked=Asked(statistics, blocks, random),
        listener=progress,
    )
    report = found.report
    return RunResult(
        found.outputs, found.reference.outputs, report.predicted_cycles, report.cycles,
        found.config, tuple(differences(report)), report,
    )


def _golden_fallback(
    model: Model, config: AcceleratorConfig | None, inputs: dict[str, NDArray[Any]] | None,
    samples: int | None, seed: int, progress: Listener,
) -> RunResult:
    run = golden_fallback(
        model.only_onnx("host_fallback"), config, inputs, samples=samples, seed=seed,
        listener=progress,
    )
    wrong = [sentence for program in run.programs for sentence in program.wrong]
    if run.wrong:
        wrong.append(f"{run.wrong:,} elements of the outputs differ from ONNX Runtime's")
    cycles = sum(program.predicted_cycles for program in run.programs)
    return RunResult(
        run.outputs, run.expected, cycles, None, run.plan.config, tuple(wrong), None
    )


def _arrays(inputs: Mapping[str, ArrayLike] | None) -> dict[str, NDArray[Any]] | None:
    if inputs is None:
        return None
    if not isinstance(inputs, Mapping):
        raise InputError(
            f"the inputs are a {type(inputs).__name__}; must be arrays by graph input name"
        )
    return {name: np.asarray(value) for name, value in inputs.items()}
