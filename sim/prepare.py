# SPDX-License-Identifier: Apache-2.0
"""What comes before a simulation: the model compiled, its inputs at hand, the golden results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.frontend.inputs import check_inputs, input_batch, random_inputs
from kiwicha.compiler.frontend.lower import LoweredModel
from kiwicha.compiler.frontend.source import Source, lower_source
from kiwicha.compiler.frontend.tflite.model import TfliteFile, TfliteModel
from kiwicha.compiler.graph.graph import Graph
from kiwicha.compiler.ops.blocks import with_blocks
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import InputError
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.blocks import require_random
from kiwicha.sim.follow import BASE, compile_following, with_arithmetic
from kiwicha.sim.litert import refuse_overflow

__all__ = [
    "NOTHING", "Asked", "Golden", "Listener", "Prepared", "prepare", "quiet", "run_golden_machine",
]


class Listener(Protocol):
    """Hears how far a run is."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` units of ``stage``; a total of 0 means unknown."""


def quiet(stage: str, done: int, total: int) -> None:
    """Hear nothing."""
    del stage, done, total


@dataclass(frozen=True)
class Asked:
    """What layers do besides, because the user named them.

    Members
    -------
    statistics : layers whose results are counted; see `compile_graph`.
    blocks : layers whose results are quantized by blocks; see `compiler.ops.blocks`.
    random : registers random_seed and random_step, of machines that round blocks randomly.
    """

    statistics: Sequence[str] = ()
    blocks: Sequence[str] = ()
    random: tuple[int, int] = (0, 0)


NOTHING = Asked()
"""No layer does anything besides."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model that fits the machine, inputs that fit the model by name, and what was asked for."""

    lowered: LoweredModel
    graph: Graph
    compiled: CompiledModel
    inputs: dict[str, NDArray[Any]]
    asked: Asked

    @property
    def runtime(self) -> str:
        """What the reference is called."""
        return "LiteRT" if isinstance(self.lowered, TfliteModel) else "ONNX Runtime"

    def read(
        self, memory: NDArray[np.uint8], golden: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        """Return every tensor in ``memory`` by name, in ONNX order and its own type; those that are
        never there as ``golden`` has them."""
        there = self.compiled.addresses
        return {
            name: self.compiled.read(memory, tensor) if name in there else golden[name]
            for name, tensor in self.graph.tensors.items()
        }


@dataclass(frozen=True, eq=False)
class Golden:
    """Members
    -------
    tensors : what the golden operators compute, in ONNX order by name.
    image : memory before the run, the inputs in it.
    memory : memory as the golden machine leaves it.
    """

    tensors: dict[str, NDArray[Any]]
    image: NDArray[np.uint8]
    memory: NDArray[np.uint8]


def prepare(
    model: Source,
    config: AcceleratorConfig | None,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    *,
    samples: int | None = None,
    seed: int = 1,
    asked: Asked = NOTHING,
    listener: Listener = quiet,
) -> Prepared:
    """Lower and compile a model; nothing is built.

    Parameters
    ----------
    config : None for one that has what the model needs; see `sim.follow`.
    inputs : arrays by graph input name with a leading batch dimension; random when None.
    samples, seed : how many random ones (default: 1, or the model's own batch), and of what seed.
    asked : what some layers do besides.

    Raises
    ------
    KiwichaError
        For a model or input that cannot be used.
    """
    known = BASE if config is None else config
    require_random(asked.random, known)
    onnx = not isinstance(model, TfliteFile)
    listener("lowering with ONNX Runtime" if onnx else "lowering the TFLite model", 0, 0)
    lowered = lower_source(model, input_batch(model, inputs) if inputs else samples)
    graph = with_blocks(legalize(lowered), asked.blocks, known)
    graph, base = with_arithmetic(graph, known, named=config is not None)
    given = dict(inputs) if inputs is not None else _drawn(graph, samples, seed)
    check_inputs(graph.inputs, given)

    def compile_for(machine: AcceleratorConfig) -> CompiledModel:
        return compile_graph(
            graph, machine, lambda node, done, total: listener("compiling", done, total),
            asked.statistics,
        )

    compiled = compile_following(compile_for, base) if config is None else compile_for(base)
    return Prepared(lowered, graph, compiled, given, asked)


def run_golden_machine(made: Prepared) -> Golden:
    """Compute everything twice: by the golden operators, and by the program on the golden machine.

    Raises
    ------
    InputError
        When a tensor that is quantized dynamically has no finite range, or LiteRT would end the
        process.
    MachineError
        When the golden machine refuses the program, which is a fault of the compiler.
    """
    compiled, config = made.compiled, made.compiled.config
    try:
        tensors = evaluate(
            made.graph, made.inputs, config.requantize_mode, config.special.softmax,
            made.asked.random,
        )
    except OverflowError as error:
        raise InputError(f"with these inputs, {error}") from None
    if isinstance(made.lowered, TfliteModel):
        refuse_overflow(made.graph, tensors)
    image = compiled.load(tensors)
    memory = image.copy()
    (seed, step), windows = made.asked.random, (compiled.read_window, compiled.write_window)
    Machine(config, memory, *windows, seed=seed, step=step).run(compiled.words)
    return Golden(tensors, image, memory)


def _drawn(graph: Graph, samples: int | None, seed: int) -> dict[str, NDArray[Any]]:
    """Return random inputs, as many as asked for."""
    for value in graph.inputs:
        if samples is not None and value.batched and value.shape[:1] != (samples,):
            raise InputError(f"{samples} samples do not fit input '{value.name}' of {value.shape}")
    return random_inputs(graph.inputs, seed)
