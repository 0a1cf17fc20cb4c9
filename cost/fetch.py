# SPDX-License-Identifier: Apache-2.0
"""When the words of a program come out of memory, which LOAD reads as well."""

from bisect import insort
from collections import deque
from dataclasses import dataclass

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import WORD_BITS
from kiwicha.machine.latency import program_chunk, requests_ahead

__all__ = ["ProgramFetch", "Read"]

# Estimates, seen with a memory latency of 20.
_FIRST = 16  # from the start register to the first word
_ROUND_TRIP = 31  # from the last word of a chunk to the first word that is asked for then


@dataclass
class Read:
    """A LOAD on the bus, from its first beat to after its last one."""

    index: int  #: of the instruction
    first: float
    after: float
    idle: float  #: cycles in between in which it reads nothing
    bursts: int
    asked: float = 0.0  #: when LOAD could ask for the first of them
    interleaved: bool = False  #: what goes on chip waits for it, not it for that

    def make_way(self, beats: float) -> float:
        """Let somebody else have as many beats; return by how much that delays the end."""
        delay = max(0.0, beats - self.idle)
        self.idle = max(0.0, self.idle - beats)
        self.after += delay
        return delay


class ProgramFetch:
    """The fetch unit: two chunks of a program in its buffer or on their way.

    A chunk is asked for when the last word of the chunk before the previous one is handed out. It
    comes behind what LOAD has asked for by then, and what LOAD asks for later comes behind it.

    Members
    -------
    handed : cycle in which the last word so far is handed out.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.beats = program_chunk(config)
        self._words = self.beats * config.beat_bytes * 8 // WORD_BITS
        self._requests = requests_ahead(config)
        self.handed = float(_FIRST)
        self._left = self._words  # words of this chunk that are not handed out
        self._next = self.handed + self.beats  # when the next chunk's first word is there
        # What came that no LOAD has made way for yet: when, its beats, whether it goes on chip.
        self._alone: list[tuple[float, float, bool]] = []
        self.reads: deque[Read] = deque(maxlen=16)  # the last ones of LOAD

    def hand_out(self, words: int, blocked: float) -> bool:
        """Hand out an instruction's words; none before cycle ``blocked``. Return whether ``reads``
        are delayed because of what is read for them."""
        delayed = False
        while words > self._left:
            words -= self._left
            self.handed += self._left
            asked = self.handed
            self.handed = max(self.handed, self._next)
            self._left = self._words
            self._next = self._place(asked)
            delayed |= self.make_way(self._next, self.beats)
        self._left -= words
        self.handed = max(self.handed + words, blocked)
        return delayed

    def _place(self, asked: float) -> float:
        """Return when a chunk's first word is there that is asked for in cycle ``asked``."""
        busy, left = asked, self._requests - (self._next > asked)
        for read in self.reads:
            if read.after <= asked or read.asked > asked:
                continue
            each = (read.after - read.first) / read.bursts
            over = int(max(0.0, asked - read.first) / each) if each else 0
            if read.bursts - over > left:
                busy = read.first + (over + left) * each
                break
            busy, left = read.after, left - (read.bursts - over)
        return max(asked + _ROUND_TRIP, busy)

    def waits(self, there: float) -> float:
        """Return by how much what goes on chip from cycle ``there`` on waits for interleaved
        rows."""
        end = there
        for read in self.reads:
            if read.interleaved and read.first <= end < read.after:
                end = read.after
        return end - there

    def make_way(self, there: float, beats: float, on_chip: bool = False) -> bool:
        """Let somebody else have LOAD's beats of some cycles, from ``there`` on; return whether
        ``reads`` are delayed."""
        delay: float | None = None
        for read in self.reads:
            if delay is not None:
                read.first += delay
                read.after += delay
            elif read.first >= there + beats:
                break
            elif read.after > there and not (on_chip and read.interleaved):
                delay = read.make_way(min(beats, there + beats - read.first))
        if not self.reads or self.reads[-1].after <= there:
            insort(self._alone, (there, beats, on_chip))
        return bool(delay)

    def ahead(self) -> float:
        """Return the cycles of the last bursts that LOAD has asked for, as many as may be at a
        time."""
        left, cycles = self._requests, 0.0
        for read in reversed(self.reads):
            if read.bursts >= left:
                return cycles + (read.after - read.first) * left / read.bursts
            left -= read.bursts
            cycles += read.after - read.first
        return cycles

    def read(self, read: Read) -> None:
        """Let LOAD read; what comes meanwhile makes it longer."""
        while self._alone and sum(self._alone[0][:2]) <= read.first:
            self._alone.pop(0)
        while self._alone and self._alone[0][0] < read.after:
            there, beats, on_chip = self._alone.pop(0)
            if not (on_chip and read.interleaved):
                read.make_way(min(beats, there + beats - read.first))
        self.reads.append(read)
