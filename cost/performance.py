# SPDX-License-Identifier: Apache-2.0
"""The performance model: when each instruction of a program starts and ends, in cycles."""

import math
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
from kiwicha.machine.latency import compute_latency, instruction_gap

__all__ = ["Player", "Timed", "Timeline", "predict"]

# Estimates, seen with a memory latency of 20; the engines' own numbers are exact.
_END_CYCLES = 39  # from the last record in memory to the interrupt
_ISSUE = 6  # from the fetch unit through the queue, the assembler and the wait for tokens
_REQUEST = 5  # from a LOAD to its first request
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
    def early(self) -> int: ...
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


@dataclass(slots=True)
class _Played:
    """An instruction that was played: what it waits for, when the next one of its engine may begin,
    and its number among those of its engine."""

    engine: Engine
    layer: int
    sources: Collection[int]
    free: float
    number: int


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
        self._array = compute_latency(config) - 1
        self.free = [0.0] * ENGINES  #: when each engine may begin its next instruction
        self._played: list[_Played] = []
        self._taken = [-math.inf] * ENGINES  # when each one took its last one
        self._begun: list[list[float]] = [[] for _ in range(ENGINES)]
        self._layer_end: list[float] = []
        self._kind: tuple[int, ...] | None = None
        self._drained = self._stored = 0.0  # when the last VECTOR, the last STORE is done
        self._measured = 0.0  # when a SOFTMAX may begin behind another one

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
        words = INSTRUCTION_WORDS[instruction.opcode]
        if self.fetch.hand_out(words, blocked):
            self._delay_reads()
        judged = engine in _JUDGED
        # One follows another no sooner than its words do, out of its queue.
        follows = self._taken[engine] + words - judged
        waited = max([self.handed, follows, *(end[s] + _TOKEN for s in sources)])
        ready = max(waited + judged, self.free[engine])
        taken, done = ready, ready + needed
        if engine == Engine.VECTOR:
            ready = self._turn(ready, instruction.fields)
            taken, done = ready, ready + needed
        elif engine == Engine.SPECIAL:
            taken, done = self._special(waited, instruction)
            ready = taken
        elif engine == Engine.LOAD:
            # It is taken when it can ask for its first burst, and begins when the bus is free.
            taken = max(waited, ready - self.fetch.ahead())
            done = self._read(instruction, waited, ready)
        self._taken[engine] = ready if engine != Engine.LOAD else taken
        start.append(ready)
        self.free[engine] = done
        end.append(done + instruction.latency)
        if engine == Engine.STORE:
            if instruction.fields.get("destination"):
                self._forward(needed)
            # Those on chip may be early, but are done in order.
            self._stored = end[-1] = max(end[-1], self._stored)
        if engine == Engine.VECTOR:
            self._drained = end[-1]
        elif engine == Engine.COMPUTE:
            taken = done  # it stays where it is until its last step
            # A pass that is stretched keeps the next instruction waiting in any case.
            self.free[engine] += max(0, self._gap - (self._array - instruction.latency))
        layer = instruction.layer
        self._played.append(_Played(engine, layer, sources, self.free[engine], len(begun)))
        begun.append(taken)
        self._layer_end += [0.0] * (layer + 1 - len(self._layer_end))
        self._layer_end[layer] = max(self._layer_end[layer], end[-1])

    def _forward(self, beats: int) -> None:
        """Let the last STORE's beats go where LOAD's would."""
        self.end[-1] += self.fetch.waits(self.end[-1] - 1 - beats)
        if self.fetch.make_way(self.end[-1] - 1 - beats, beats, on_chip=True):
            self._delay_reads()

    def _delay_reads(self) -> None:
        """Take over from the bus when LOADs are done that had to make way."""
        first = len(self.end)
        for read in self.fetch.reads:
            if self.end[read.index] != read.after:
                self.end[read.index] = read.after
                first = min(first, read.index)
        self.free[Engine.LOAD] = self.fetch.reads[-1].after - READ_ROUND_TRIP
        self._delay_readers(first)

    def _delay_readers(self, first: int) -> None:
        """Let those begin later that were played since, and wait for LOADs from ``first`` on."""
        free: dict[Engine, float] = {}
        for index in range(first + 1, len(self._played)):
            each = self._played[index]
            if each.engine == Engine.LOAD:
                continue
            there = max((self.end[s] for s in each.sources), default=0.0) + _TOKEN
            begin = max(there + (each.engine in _JUDGED), free.get(each.engine, 0.0))
            delay = begin - self.start[index]
            if delay > 0:
                self.start[index] += delay
                self.end[index] += delay
                each.free += delay
                self._begun[each.engine][each.number] += delay
                self._layer_end[each.layer] = max(self._layer_end[each.layer], self.end[index])
                if each.engine == Engine.VECTOR:
                    self._drained = max(self._drained, self.end[index])
                elif each.engine == Engine.STORE:
                    self._stored = max(self._stored, self.end[index])
            free[each.engine] = each.free
        for engine, cycle in free.items():
            self.free[engine] = max(self.free[engine], cycle)

    def _read(self, instruction: Timed, waited: float, ready: float) -> float:
        """Let a LOAD begin in cycle ``ready`` that could ask for its first burst in cycle
        ``waited``; return when the next one may."""
        needed, first = instruction.cycles, ready + READ_ROUND_TRIP
        form = instruction.fields.get("format")
        idle = max(0, needed - instruction.bytes_read // self.config.beat_bytes)
        if form == WeightFormat.DENSE:
            idle = 0  # it waits for bursts in flight, of which the program has one then
        read = Read(
            len(self.end), first, first + needed, idle, self._bursts(instruction),
            waited + _REQUEST, form == WeightFormat.INTERLEAVED,
        )
        self.fetch.read(read)
        return read.after - READ_ROUND_TRIP

    def _bursts(self, instruction: Timed) -> int:
        """Return the bursts of a LOAD, segments taken as the first one."""
        size = self.config.beat_bytes * self.config.axi_burst_beats
        start, length, segments = (
            instruction.fields.get(name, 0) for name in ("address", "length", "segments")
        )
        return max(1, segments * ((start + length - 1) // size - start // size + 1))

    def _special(self, waited: float, instruction: Timed) -> tuple[float, float]:
        """Return when a SPECIAL begins that could do so in cycle ``waited``, and its end."""
        through, early = self.free[Engine.SPECIAL], instruction.early
        ready = max(waited, self._measured if early and self._measured else through)
        done = ready + instruction.cycles
        if early:
            done = max(done, through + early)
        # Its rows are measured by then, and the instruction before it is carried out.
        self._measured = max(through, ready + instruction.cycles - early) if early else 0.0
        return ready, done

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
