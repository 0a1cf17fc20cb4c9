# SPDX-License-Identifier: Apache-2.0
"""The performance model: when each instruction of a program starts and ends, in cycles."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kiwicha.cost.fetch import ProgramFetch, Read
from kiwicha.cost.timing import READ_ROUND_TRIP, queued_instructions
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import (
    ENGINES,
    INSTRUCTION_WORDS,
    Engine,
    Opcode,
    VectorMode,
    WeightFormat,
)
from kiwicha.machine.latency import instruction_gap

__all__ = ["Player", "Timed", "Timeline", "predict"]

# Estimates, seen with a memory latency of 20; the engines' own numbers are exact.
_END_CYCLES = 39  # from the last record in memory to the interrupt
_ISSUE = 6  # from the fetch unit through the queue, the assembler and the wait for tokens
_TOKEN = 2  # from the done of one instruction to the end of another's wait
# Those that take an instruction a cycle after its offer.
_JUDGED = (Engine.LOAD, Engine.STORE, Engine.VECTOR, Engine.UPDATE)
_ALONE = VectorMode.MEASURE, VectorMode.QUANTIZE, VectorMode.REAL, VectorMode.RANGE


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
    def bytes_read(self) -> int: ...
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
) -> Timeline:
    """Play a program through the in-order engines, their queues and their tokens.

    Parameters
    ----------
    sources : for each instruction, those whose end it has to wait for.
    """
    player = Player(config)
    for instruction, awaited in zip(instructions, sources, strict=True):
        player.play(instruction, awaited)
    return player.timeline()


class Player:
    """Plays a program, one instruction after the other."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        self.start: list[float] = []
        self.end: list[float] = []
        self.fetch = ProgramFetch(config)
        # What waits before the last word of one more fits: without the one in the engine.
        self._room = {opcode: queued_instructions(config, opcode) - 1 for opcode in Opcode}
        self._gap = instruction_gap(config)
        self.free = [0.0] * ENGINES  #: when each engine may begin its next instruction
        self._begun: list[list[float]] = [[] for _ in range(ENGINES)]
        self._layer_end: list[float] = []
        self._kind: tuple[int, ...] | None = None
        self._drained = self._stored = 0.0  # when the last VECTOR, the last STORE is done

    @property
    def handed(self) -> float:
        """When the next instruction could begin if nothing else were in its way."""
        return self.fetch.handed + _ISSUE

    def play(self, instruction: Timed, sources: Collection[int]) -> None:
        """Let an instruction begin as soon as it can, after the end of ``sources``."""
        engine, start, end = instruction.engine, self.start, self.end
        needed = instruction.cycles
        begun, room = self._begun[engine], self._room[instruction.opcode]
        blocked = begun[-room] if len(begun) >= room else 0.0
        if self.fetch.hand_out(INSTRUCTION_WORDS[instruction.opcode], blocked):
            for read in self.fetch.reads:
                end[read.index] = read.after
            self.free[Engine.LOAD] = self.fetch.reads[-1].after - READ_ROUND_TRIP
        waited = max([self.handed, *(end[s] + _TOKEN for s in sources)])
        ready = max(waited + (engine in _JUDGED), self.free[engine])
        taken, done = ready, ready + needed
        if engine == Engine.VECTOR:
            ready = self._turn(ready, instruction.fields)
            taken, done = ready, ready + needed
        elif engine == Engine.LOAD:
            # It is taken when it can ask for its first burst, and begins when the bus is free.
            taken = max(waited, ready - self.fetch.ahead())
            done = self._read(instruction, ready)
        start.append(ready)
        self.free[engine] = done
        end.append(done + instruction.latency)
        if engine == Engine.STORE:  # those on chip may be early, but are done in order
            self._stored = end[-1] = max(end[-1], self._stored)
        if engine == Engine.VECTOR:
            self._drained = end[-1]
        elif engine == Engine.COMPUTE:
            taken = done  # it stays where it is until its last step
            self.free[engine] += self._gap
        begun.append(taken)
        layer = instruction.layer
        self._layer_end += [0.0] * (layer + 1 - len(self._layer_end))
        self._layer_end[layer] = max(self._layer_end[layer], end[-1])

    def _read(self, instruction: Timed, ready: float) -> float:
        """Let a LOAD begin in cycle ``ready``; return when the next one may."""
        needed, first = instruction.cycles, ready + READ_ROUND_TRIP
        beats = instruction.bytes_read // self.config.beat_bytes
        idle = max(0, needed - beats)
        if instruction.fields.get("format") == WeightFormat.DENSE:
            idle = 0  # it waits for bursts in flight, of which the program has one then
        bursts = max(1, -(-beats // self.config.axi_burst_beats))
        read = Read(len(self.end), first, first + needed, idle, bursts)
        self.fetch.read(read)
        return read.after - READ_ROUND_TRIP

    def _turn(self, ready: float, fields: Mapping[str, Any]) -> float:
        """Return when a VECTOR can begin that could otherwise begin in cycle ``ready``."""
        # Another mode, pair of tables, mask or shift waits until all is done; these modes for
        # themselves, too.
        kind = tuple(fields.get(name, 0) for name in ("mode", "residual", "sums"))
        if kind[0] == VectorMode.SHIFT:
            kind += tuple(fields.get(name, 0) for name in ("relu", "target"))
        before, self._kind = self._kind, kind
        alone = kind[0] in _ALONE
        if before not in (None, kind) or alone:
            return max(ready, self._drained + 1)
        return ready

    def timeline(self) -> Timeline:
        """Return what was played."""
        # The engines work in order, but what one ends last is not always of the last layer.
        ends = tuple(int(cycle) for cycle in np.maximum.accumulate(self._layer_end))
        total = ends[-1] + _END_CYCLES if ends else 0
        return Timeline(np.array(self.start), np.array(self.end), ends, total)
