# SPDX-License-Identifier: Apache-2.0
"""The order of a program's instructions: a LOAD that waits for a result lets others go first.

Engines take instructions in order, so that a LOAD which waits until a STORE has written what it
reads keeps those behind it waiting: the next layer's weights, parameters and tables, which nobody
has to wait for. Instructions come here in an order that is correct one after the other, and leave
in another one of which that is true as well.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kiwicha.compiler.emit.dependencies import Dependencies, Range, Space
from kiwicha.compiler.emit.instruction import Instruction
from kiwicha.cost.performance import Player
from kiwicha.cost.timing import queued_instructions
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Engine, Opcode

__all__ = ["Order"]

_AHEAD = 128  # instructions among which there may be a LOAD to go first
_WORTH = 8  # cycles of waiting that are worth a search
_LEAD = 128  # cycles that LOAD may be busy for when it is not known how long it will wait


class _Entry(NamedTuple):
    instruction: Instruction
    reads: Sequence[Range]
    writes: Sequence[Range]


class _Passed:
    """What instructions touch that somebody would go before."""

    def __init__(self) -> None:
        self._read: defaultdict[Space, list[Range]] = defaultdict(list)
        self._written: defaultdict[Space, list[Range]] = defaultdict(list)

    def add(self, entry: _Entry) -> None:
        for touched, ranges in ((self._read, entry.reads), (self._written, entry.writes)):
            for each in ranges:
                touched[each.space].append(each)

    def keeps(self, entry: _Entry) -> bool:
        """Whether an instruction must come after one of these."""
        return any(
            _meet(each, self._written[each.space]) for each in (*entry.reads, *entry.writes)
        ) or any(_meet(each, self._read[each.space]) for each in entry.writes)


def _meet(one: Range, others: Iterable[Range]) -> bool:
    return any(
        one.start < other.stop and other.start < one.stop
        for other in others if other.space is one.space
    )


class Order:
    """Instructions as they are appended, and, some of them later, as they are ordered.

    Members
    -------
    instructions, dependencies, player : those that have their place, and what is known of them.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.instructions: list[Instruction] = []
        self.dependencies = Dependencies([
            queued_instructions(config, Opcode[engine.name]) + 1 for engine in Engine
        ])
        self.player = Player(config)
        self._waiting: deque[_Entry] = deque()
        self._loads: deque[_Entry] = deque()  # those among them
        self._written = (1 << 64, 0)  # first byte that was written, and the one after the last

    def add(
        self, instruction: Instruction, reads: Sequence[Range], writes: Sequence[Range]
    ) -> None:
        """Append an instruction, which reads and writes these ranges."""
        entry = _Entry(instruction, reads, writes)
        self._waiting.append(entry)
        if instruction.engine == Engine.LOAD:
            self._loads.append(entry)
        if len(self._waiting) > _AHEAD:
            self._next()

    def finish(self) -> None:
        """Give every instruction its place."""
        while self._waiting:
            self._next()

    def _next(self) -> None:
        """Give the first instruction its place, behind those that may go first."""
        entry, player = self._waiting[0], self.player
        if self._loads and self._late(self._loads[0]):
            begin = max(player.free[Engine.LOAD], player.handed)
            if self._loads[0] is entry:
                end = self._awaited(entry).get(Engine.STORE, 0.0)
            else:
                # Nobody knows yet how long it will wait: keep LOAD busy, and no more.
                end = player.handed + _LEAD
            if end > begin + _WORTH and len(self._loads) > 1:
                self._fill(begin, end)
        self._waiting.popleft()
        if entry.instruction.engine == Engine.LOAD:
            self._loads.popleft()
        self._place(entry)

    def _late(self, entry: _Entry) -> bool:
        """Whether a LOAD reads what the program may have written."""
        low, high = self._written
        return any(
            each.space is Space.MEMORY and each.start < high and low < each.stop
            for each in entry.reads
        )

    def _place(self, entry: _Entry) -> None:
        instruction, dependencies = entry.instruction, self.dependencies
        dependencies.add(instruction.engine, entry.reads, entry.writes)
        self.instructions.append(instruction)
        self.player.play(instruction, dependencies.sources[-1])
        (written,) = entry.writes if instruction.engine == Engine.STORE else (None,)
        if written is not None and written.space is Space.MEMORY:
            low, high = self._written
            self._written = min(low, written.start), max(high, written.stop)

    def _awaited(self, entry: _Entry) -> dict[Engine, float]:
        """Return when the last instruction of each engine ends that one would have to wait for."""
        found = self.dependencies.awaited(Engine.LOAD, entry.reads, entry.writes)
        return {engine: self.player.end[at] for engine, at in found.items()}

    def _fill(self, begin: float, end: float) -> None:
        """Give LOADs their place before the first instruction that keep LOAD busy for a while.

        None may begin later, nor be done later; but for those without which nobody can begin with
        what the LOAD brings that they overtake.
        """
        waits = self._loads[0]
        passed, chosen, needed = _Passed(), set[int](), self._first_reads(waits)
        for entry in self._waiting:
            if begin >= end:
                break
            if entry.instruction.engine == Engine.LOAD and not passed.keeps(entry):
                starts = max([begin, *self._awaited(entry).values()])
                done = starts + entry.instruction.cycles
                if done <= end or (starts < end and any(_meet(w, needed) for w in entry.writes)):
                    chosen.add(id(entry))
                    begin = done
                    continue
            passed.add(entry)
        going = [entry for entry in self._loads if id(entry) in chosen]
        self._waiting = deque(entry for entry in self._waiting if id(entry) not in chosen)
        self._loads = deque(entry for entry in self._loads if id(entry) not in chosen)
        for entry in going:
            self._place(entry)

    def _first_reads(self, load: _Entry) -> Sequence[Range]:
        """Return what the first instruction reads that reads what a LOAD brings."""
        for entry in self._waiting:
            if entry.instruction.engine != Engine.LOAD and any(
                _meet(each, load.writes) for each in entry.reads
            ):
                return entry.reads
        return ()
