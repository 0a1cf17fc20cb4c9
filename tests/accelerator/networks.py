# SPDX-License-Identifier: Apache-2.0
"""Whole networks as jobs for the board, with everything that memory must hold afterwards."""

import functools
from dataclasses import dataclass

import numpy as np

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.frontend.inputs import input_batch, random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import Graph
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import COUNTER_WORDS, WORD_BITS
from kiwicha.machine.modes import RequantizeMode
from kiwicha.models.variants import build
from kiwicha.sim.reference import reference

from .board import Done, Job

__all__ = ["Prepared", "check", "prepare", "result_bits", "to_job"]

_RECORD = COUNTER_WORDS * WORD_BITS // 8


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network, one input, and every tensor by the golden operators and ONNX Runtime."""

    graph: Graph
    tensors: dict[str, np.ndarray]


@functools.cache
def prepare(name: str, mode: RequantizeMode = RequantizeMode.ONNX) -> Prepared:
    """Lower a network of `models.variants` and evaluate it once, for all configurations.

    In mode ``onnx`` the outputs are compared with ONNX Runtime's here.
    """
    model, _ = build(name)
    lowered = lower(model, input_batch(model, {}))
    graph = legalize(lowered)
    given = random_inputs(graph.inputs, 1)
    tensors = evaluate(graph, given, mode)
    exact = reference(lowered, given).outputs if mode is RequantizeMode.ONNX else {}
    for key, value in exact.items():
        np.testing.assert_array_equal(outputs(graph, tensors)[key], value)
    return Prepared(graph, tensors)


def to_job(prepared: Prepared, config: AcceleratorConfig) -> tuple[CompiledModel, Job, np.ndarray]:
    """Compile for a machine; return also the job, and memory as the golden machine leaves it."""
    compiled = compile_graph(prepared.graph, config)
    image = compiled.load(prepared.tensors)
    golden = image.copy()
    Machine(config, golden, compiled.read_window, compiled.write_window).run(compiled.words)
    job = Job(
        image=image, program=compiled.program, read_window=compiled.read_window,
        write_window=compiled.write_window,
    )
    return compiled, job, golden


def check(
    prepared: Prepared, compiled: CompiledModel, golden: np.ndarray, done: Done, where: str
) -> None:
    """Fail unless all memory equals the golden machine's and each layer the golden operator's."""
    assert done.error == 0, f"{where}: {done.error!r} at {done.address:#x}"
    for layer in compiled.layers:
        y = layer.node.y
        np.testing.assert_array_equal(
            compiled.read(done.memory, y), prepared.tensors[y.name], f"{where}: {y.name}"
        )
    differ = done.memory != golden
    for layer in compiled.layers:
        differ[layer.record : layer.record + _RECORD] = False
    assert not differ.any(), f"{where}: wrong from {np.flatnonzero(differ)[0]:#x} on"


def result_bits(prepared: Prepared, compiled: CompiledModel, memory: np.ndarray) -> bytes:
    """Return the bytes of the output tensors, in ONNX order."""
    return b"".join(
        compiled.read(memory, tensor).tobytes() for tensor in prepared.graph.output_tensors
    )
