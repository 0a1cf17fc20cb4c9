# SPDX-License-Identifier: Apache-2.0
"""Performance counters, and the record of them that STORE writes (source COUNTERS).

========  ===============================================================  ======
Word      Meaning                                                          Bits
========  ===============================================================  ======
0         cycles since START                                               64
1         beats read, beats written                                        32, 32
2 to 6    LOAD, COMPUTE, VECTOR, SPECIAL, STORE: cycles busy, and stalled  32, 32
7         array steps, UPDATE: cycles busy                                 32, 32
========  ===============================================================  ======

The first of two is in the low half. Counters wrap. An engine that a machine has not counts 0.

The counts lie in a small memory, a beat of the memory port side by side, and one set of adders goes
round all beats. What happened to a count since its last visit waits in five bits.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.machine.isa import COUNTER_WORDS, ENGINES, WORD_BITS, Engine

__all__ = ["COUNTER_RECORD", "Counters"]

_WAITING_BITS = 5
_COUNT = 32

COUNTER_RECORD = data.StructLayout({
    "cycles": 64,  # while the machine ran
    "read_beats": 32,  # accepted on the memory port's R channel
    "written_beats": 32,  # accepted on the memory port's W channel
    "engines": data.ArrayLayout(
        data.StructLayout({
            "busy": 32,  # cycles with an instruction in flight
            "stalled": 32,  # cycles in which the next instruction waited for a token
        }),
        Engine.UPDATE,  # those before it
    ),
    "steps": 32,  # input vectors that entered the array
    "update_busy": 32,  # of UPDATE, whose stalls are not counted
})
"""The record as it lies in memory, little endian; COUNTER_WORDS words of 64 bits."""

assert COUNTER_RECORD.size == COUNTER_WORDS * WORD_BITS


class Counters(Component):
    """Counts events while ``running``; keeps its values afterwards, until ``clear``.

    A count is read with all events of the cycles before its visit: of the cycle in which it was
    asked for and before, or of one cycle less where the same beat was visited just then. Whoever
    reads the record piece by piece while the machine runs gets counts of different cycles.

    Parameters
    ----------
    engines : those that the machine has.
    width : ``axi_data_width``.

    Members
    -------
    clear, running : In(1)
        Zero everything, which takes ``clear_cycles`` cycles in which no beat is read and 32 bits
        are 0; count.
    read_beat, written_beat, step : In(1)
        High in a cycle in which one was transferred, or entered the array.
    busy, stalled : In(ENGINES)
        A bit per engine.
    enable : In(1); index : In(range(beats))
        Read of a beat of the record, in any cycle. A beat that is read is not left out: others are
        late by as many cycles, so read whole records in order.
    data : Out(width)
        That beat, two cycles later.
    ask : In(1); place : In(range(16))
        Read of 32 bits of the record by their place in it; both stay until ``there``, and the next
        one follows four cycles later at the soonest.
    there : Out(1); count : Out(32)
        Those 32 bits, in this cycle only.
    """

    def __init__(self, engines: Sequence[Engine] = tuple(Engine), width: int = 64) -> None:
        self.engines = tuple(engines)
        self.width = width
        self.beats = COUNTER_RECORD.size // width
        self.clear_cycles = self.beats + 1
        super().__init__({
            "clear": In(1),
            "running": In(1),
            "read_beat": In(1),
            "written_beat": In(1),
            "step": In(1),
            "busy": In(ENGINES),
            "stalled": In(ENGINES),
            "enable": In(1),
            "index": In(range(self.beats)),
            "data": Out(width),
            "ask": In(1),
            "place": In(range(COUNTER_RECORD.size // _COUNT)),
            "there": Out(1),
            "count": Out(_COUNT),
        })

    def _events(self) -> dict[int, Value]:
        """Return the events by the place of their count, in pieces of 32 bits."""
        first = COUNTER_RECORD["engines"].offset // _COUNT
        events: dict[int, Value] = {
            0: self.running,
            COUNTER_RECORD["read_beats"].offset // _COUNT: self.read_beat,
            COUNTER_RECORD["written_beats"].offset // _COUNT: self.written_beat,
            COUNTER_RECORD["steps"].offset // _COUNT: self.step,
        }
        for number in self.engines:
            if number == Engine.UPDATE:
                events[COUNTER_RECORD["update_busy"].offset // _COUNT] = self.busy[number]
                continue
            events[first + 2 * number] = self.busy[number]
            events[first + 2 * number + 1] = self.stalled[number]
        return events

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.width // _COUNT
        lane_bits = exact_log2(lanes)
        visit = Signal(range(self.beats))
        turn, written = Signal.like(visit), Signal.like(visit)
        fresh, asked, moving, empty = Signal(), Signal(), Signal(), Signal()
        wanted = self.place[lane_bits:]

        # The next beat to visit. What is asked for may be the beat of this cycle's visit, whose sum
        # is not in the memory yet: then that sum is kept for a cycle more.
        following = Signal.like(visit)
        m.d.comb += [
            asked.eq(self.ask & ~self.enable & ~moving & ~self.there),
            following.eq(
                Mux(self.clear, turn, Mux(self.enable, self.index, Mux(asked, wanted, turn)))
            ),
        ]
        # While everything is cleared, which is so until the first program, counts are 0.
        with m.If(asked):
            m.d.sync += empty.eq(self.clear)
        m.d.sync += [
            visit.eq(following),
            fresh.eq((following != visit) | ~fresh),
            written.eq(visit),
            moving.eq(asked),
            self.there.eq(moving),
        ]
        with m.If((~self.enable & ~asked) | self.clear):
            m.d.sync += turn.eq(turn + 1)

        waiting: list[list[Value]] = [[] for _ in range(lanes)]
        for place in range(lanes * self.beats):
            beat, lane = divmod(place, lanes)
            event = self._events().get(place)
            if event is None:
                waiting[lane].append(Signal(_WAITING_BITS, name=f"none_{place}"))
                continue
            late = Signal(_WAITING_BITS, name=f"late_{place}")
            now = event & self.running
            with m.If(fresh & (visit == beat)):
                m.d.sync += late.eq(now)
            with m.Elif(now):
                m.d.sync += late.eq(late + 1)
            with m.If(self.clear):
                m.d.sync += late.eq(0)
            waiting[lane].append(late)

        m.submodules.memory = memory = Memory(shape=self.width, depth=self.beats, init=[])
        read, write = memory.read_port(domain="comb"), memory.write_port()
        m.d.comb += [
            read.addr.eq(visit),
            write.addr.eq(written),
            write.data.eq(self.data),
            write.en.eq(1),
            self.count.eq(Mux(empty, 0, self.data.word_select(self.place[:lane_bits], _COUNT))),
        ]
        old = [read.data[_COUNT * lane : _COUNT * (lane + 1)] for lane in range(lanes)]
        late_now = []
        for lane, choices in enumerate(waiting):
            chosen = Signal(_WAITING_BITS, name=f"chosen_{lane}")
            with m.Switch(visit):
                for beat, choice in enumerate(choices):
                    with m.Case(beat):
                        m.d.comb += chosen.eq(choice)
            late_now.append(chosen)
        # The carry of the cycles goes on through a bit between the halves, any other ends there.
        halves = Cat(old[0], visit == 0, old[1]) + Cat(
            late_now[0], Const(0, _COUNT + 1 - _WAITING_BITS), late_now[1]
        )
        with m.If(fresh):
            m.d.sync += self.data.eq(
                Cat(
                    halves[:_COUNT],
                    halves[_COUNT + 1 : 2 * _COUNT + 1],
                    (
                        (value + late)[:_COUNT]
                        for value, late in zip(old[2:], late_now[2:], strict=True)
                    ),
                )
            )
        with m.If(self.clear):
            m.d.sync += self.data.eq(0)
        return m
