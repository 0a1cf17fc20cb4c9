# SPDX-License-Identifier: Apache-2.0
"""The performance model: when each instruction of a program starts and ends, in cycles."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kiwicha.cost.timing import queued_instructions
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, INSTRUCTION_WORDS, Engine, Opcode, VectorMode
from kiwicha.machine.latency import instruction_gap

__all__ = ["Timed", "Timeline", "predict"]

# Estimates, seen with a memory latency of 20; the engines' own numbers are exact.
_START_CYCLES = 16  # from the start register to the first instruction at its engine
_END_CYCLES = 39  # from the last record in memory to the interrupt
_DISPATCH_WORDS = 1.0  # cycles a word takes from the fetch unit to its queue
_ISSUE = 6  # from there through the queue, the assembler and the wait for tokens
_TOKEN = 2  # from the done of one instruction to the end of another's wait
_JUDGED = (Engine.LOAD, Engine.STORE, Engine.VECTOR)  # take an instruction a cycle after its offer


class Timed(Protocol):
    """An instruction: ``cycles`` on its engine once it starts, and ``latency`` until it is done."""

    @property
    def opcode(self) -> Opcode: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def layer(self) -> int: ...
    @property
    def cycles(self) -> int: ...
    @property
    def latency(self) -> int: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Timeline:
    """Predicted cycle numbers: one entry per instruction, and the end of each layer and of all."""

    start: np.ndarray
    end: np.ndarray
    layer_end: tuple[int, ...]
    total: int


def predict(
    config: AcceleratorConfig,
    instructions: Sequence[Timed],
    sources: Sequence[Collection[int]],
    cycles: Iterable[int] | None = None,
) -> Timeline:
    """Play a program through the in-order engines, their queues and their tokens.

    Parameters
    ----------
    sources : for each instruction, those whose end it has to wait for.
    cycles : of each instruction, where it is not its own.
    """
    count = len(instructions)
    start, end = np.zeros(count), np.zeros(count)
    free = [0.0] * ENGINES
    begun: list[list[float]] = [[] for _ in range(ENGINES)]
    dispatched = float(_START_CYCLES)
    layers = 1 + max((i.layer for i in instructions), default=-1)
    layer_end = np.zeros(layers, np.int64)
    last_mode, last_done = None, 0.0
    taken = (each.cycles for each in instructions) if cycles is None else cycles
    for index, (instruction, needed) in enumerate(zip(instructions, taken, strict=True)):
        engine = instruction.engine
        length = INSTRUCTION_WORDS[instruction.opcode]
        capacity = queued_instructions(config, instruction.opcode)
        dispatched += length * _DISPATCH_WORDS
        if len(begun[engine]) >= capacity:
            dispatched = max(dispatched, begun[engine][-capacity])
        waited = max([dispatched + _ISSUE, *(end[s] + _TOKEN for s in sources[index])])
        ready = max(waited + (engine in _JUDGED), free[engine])
        if engine == Engine.VECTOR:
            mode = instruction.fields.get("mode", VectorMode.REQUANTIZE)
            # Another mode waits until all is done; these two wait for themselves, too.
            if last_mode not in (None, mode) or mode in (VectorMode.MEASURE, VectorMode.QUANTIZE):
                ready = max(ready, last_done + 1)
            last_mode = mode
        start[index] = ready
        free[engine] = ready + needed
        end[index] = free[engine] + instruction.latency
        if engine == Engine.VECTOR:
            last_done = end[index]
        if engine == Engine.COMPUTE:
            free[engine] += instruction_gap(config)
        begun[engine].append(ready)
        layer_end[instruction.layer] = max(layer_end[instruction.layer], int(end[index]))
    # The engines work in order, but what one ends last is not always of the last layer.
    ends = tuple(int(cycle) for cycle in np.maximum.accumulate(layer_end))
    return Timeline(start, end, ends, ends[-1] + _END_CYCLES if ends else 0)
