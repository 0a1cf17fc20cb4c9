# SPDX-License-Identifier: Apache-2.0
"""Who must wait for whom: turns what instructions touch into the tokens that order the engines.

Instructions are given in a sequential order that is correct by itself. Each names the byte (or
entry) ranges that it reads and writes; every read-after-write, write-after-read and
write-after-write between two engines becomes a token, and those that an earlier token already
implies are dropped. Because the k-th signal from one engine to another is taken by the k-th wait,
and both engines run in order, a plain counter per pair is enough. How many tokens a counter must
hold is bounded too: an instruction is dispatched only once all but the last few before it have
begun, so it may as well wait for one of those few instead of a much older one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from kiwicha.machine.isa import ENGINES, Engine

__all__ = ["Dependencies", "Range", "Space"]

_MANY = 64


class Space(Enum):
    """A memory that engines share; OPERAND and RESULT are offsets in every lane alike, ADDEND is as
    OUTPUT, FUNCTION and SUMS count the tables of VECTOR, SLOT the slots of dynamic quantization,
    STATISTICS and BOUNDS have one place: the record, and the bounds of binary32 values."""

    MEMORY = "memory"
    ACTIVATION = "activation"
    WEIGHT = "weight"
    PARAMETER = "parameter"
    ACCUMULATOR = "accumulator"
    OUTPUT = "output"
    OPERAND = "operand"
    TABLE = "table"
    RESULT = "result"
    FUNCTION = "function"
    ADDEND = "addend"
    SUMS = "sums"
    REAL = "real"
    BOUNDS = "bounds"
    SLOT = "slot"
    STATISTICS = "statistics"


@dataclass(frozen=True)
class Range:
    """Addresses ``start <= a < stop`` of one memory, in its own unit."""

    space: Space
    start: int
    stop: int


@dataclass(eq=False)
class _Access:
    start: int
    stop: int
    engine: Engine
    index: int  # the instruction's place in its engine's own order
    writes: bool


class Dependencies:
    """Wait and signal masks of a growing instruction sequence.

    Parameters
    ----------
    reach : for each engine, how many of its instructions can be dispatched and not begun, plus
        the one that runs: any older one is done, or about to be, when a later one is dispatched.

    Members
    -------
    wait, signal : list of int
        One mask per instruction, bit ``e`` for engine ``e``; final once all were added.
    """

    def __init__(self, reach: Sequence[int]) -> None:
        self.reach = tuple(reach)
        self.wait: list[int] = []
        self.signal: list[int] = []
        self.sources: list[list[int]] = []  # instructions that each one waits for, for the model
        self._live: dict[Space, list[_Access]] = {space: [] for space in Space}
        self._limit = dict.fromkeys(Space, _MANY)  # accesses before the old ones are merged
        self._place: list[list[int]] = [[] for _ in range(ENGINES)]  # engine order -> sequence
        # known[a][b]: engine a's next instruction runs after this many of engine b's are done.
        self._known = [[0] * ENGINES for _ in range(ENGINES)]
        # seen[b][i][c]: what engine b knew of engine c when its instruction i was issued.
        self._seen: list[list[list[int]]] = [[] for _ in range(ENGINES)]

    def add(self, engine: Engine, reads: Iterable[Range], writes: Iterable[Range]) -> int:
        """Append an instruction and return its place in the sequence."""
        sequence = len(self.wait)
        index = len(self._place[engine])
        needed = [0] * ENGINES
        for touched, is_write in [(r, False) for r in reads] + [(w, True) for w in writes]:
            self._touch(touched, is_write, engine, index, needed)
        self.wait.append(0)
        self.signal.append(0)
        self.sources.append([])
        known = self._known[engine]
        # Downstream engines first: having waited for those up the stream, they imply them.
        for other in reversed(range(ENGINES)):
            if other == engine or needed[other] <= known[other]:
                continue
            producer = max(needed[other] - 1, len(self._place[other]) - self.reach[other])
            self.signal[self._place[other][producer]] |= 1 << engine
            self.wait[sequence] |= 1 << other
            self.sources[sequence].append(self._place[other][producer])
            known[other] = producer + 1
            for third in range(ENGINES):
                # What the producer had waited for is done as well.
                known[third] = max(known[third], self._seen[other][producer][third])
        self._place[engine].append(sequence)
        self._seen[engine].append(list(known))
        return sequence

    def awaited(
        self, engine: Engine, reads: Iterable[Range], writes: Iterable[Range]
    ) -> dict[Engine, int]:
        """Return the last instruction of each other engine that one which reads and writes these
        ranges would have to wait for if it were next."""
        found: dict[Engine, int] = {}
        for touched, is_write in [(r, False) for r in reads] + [(w, True) for w in writes]:
            for access in self._live[touched.space]:
                if (
                    access.start < touched.stop and touched.start < access.stop
                    and (is_write or access.writes) and access.engine != engine
                ):
                    found[access.engine] = max(found.get(access.engine, 0), access.index)
        return {other: self._place[other][index] for other, index in found.items()}

    def _touch(
        self, touched: Range, is_write: bool, engine: Engine, index: int, needed: list[int]
    ) -> None:
        start, stop, live = touched.start, touched.stop, self._live[touched.space]
        # Programs have a million of these, most of which touch nothing.
        for access in [a for a in live if a.start < stop and start < a.stop]:
            if is_write or access.writes:
                needed[access.engine] = max(needed[access.engine], access.index + 1)
            if not is_write:
                same = access.engine == engine and not access.writes
                if same and start <= access.start and access.stop <= stop:
                    live.remove(access)
                continue
            # The write hides what it covers; what sticks out on either side stays.
            live.remove(access)
            if access.start < start:
                live.append(replace(access, stop=start))
            if stop < access.stop:
                live.append(replace(access, start=stop))
        live.append(_Access(start, stop, engine, index, is_write))
        if len(live) > self._limit[touched.space]:
            self._live[touched.space] = live = self._merged(live)
            self._limit[touched.space] = max(_MANY, 2 * len(live))

    def _merged(self, accesses: list[_Access]) -> list[_Access]:
        """Return accesses with those joined that touch each other and are out of reach.

        Whoever waits for one of these waits for the last instruction that is out of reach anyway.
        """
        recent: list[_Access] = []
        old: list[_Access] = []
        for access in accesses:
            reached = len(self._place[access.engine]) - self.reach[access.engine]
            (old if access.index < reached else recent).append(access)
        old.sort(key=lambda access: (access.engine, access.writes, access.start))
        joined: list[_Access] = []
        for access in old:
            last = joined[-1] if joined else None
            if (
                last is not None
                and (last.engine, last.writes) == (access.engine, access.writes)
                and access.start <= last.stop
            ):
                last.stop = max(last.stop, access.stop)
                last.index = max(last.index, access.index)
            else:
                joined.append(access)
        return joined + recent
