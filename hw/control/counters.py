# SPDX-License-Identifier: Apache-2.0
"""Performance counters, and the record of them that STORE writes (source COUNTERS).

========  ===============================================================  ======
Word      Meaning                                                          Bits
========  ===============================================================  ======
0         cycles since START                                               64
1         beats read, beats written                                        32, 32
2 to 6    LOAD, COMPUTE, VECTOR, SPECIAL, STORE: cycles busy, and stalled  32, 32
7         array steps, 0                                                   32, 32
========  ===============================================================  ======

The first of two is in the low half. Counters wrap. An engine that a machine has not counts 0.
"""

from collections.abc import Sequence

from amaranth.hdl import Module
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from hw.isa import COUNTER_WORDS, ENGINES, WORD_BITS, Engine

__all__ = ["COUNTER_RECORD", "Counters"]

COUNTER_RECORD = data.StructLayout({
    "cycles": 64,  # while the machine ran
    "read_beats": 32,  # accepted on the memory port's R channel
    "written_beats": 32,  # accepted on the memory port's W channel
    "engines": data.ArrayLayout(
        data.StructLayout({
            "busy": 32,  # cycles with an instruction in flight
            "stalled": 32,  # cycles in which the next instruction waited for a token
        }),
        ENGINES,
    ),
    "steps": 32,  # input vectors that entered the array
    "reserved0": 32,
})  # fmt: skip
"""The record as it lies in memory, little endian; COUNTER_WORDS words of 64 bits."""

assert COUNTER_RECORD.size == COUNTER_WORDS * WORD_BITS


class Counters(Component):
    """Counts events while ``running``; keeps its values afterwards, until ``clear``.

    An event shows in ``record`` one cycle later. Whoever reads the record word by word while the
    machine runs gets words that are each right, of different cycles.

    Parameters
    ----------
    engines
        Those that the machine has.

    Members
    -------
    clear, running : In(1)
        Zero everything; count.
    read_beat, written_beat, step : In(1)
        High in a cycle in which one was transferred, or entered the array.
    busy, stalled : In(ENGINES)
        A bit per engine.
    record : Out(COUNTER_RECORD)
        The values.
    """

    def __init__(self, engines: Sequence[Engine] = tuple(Engine)) -> None:
        self.engines = tuple(engines)
        super().__init__({
            "clear": In(1),
            "running": In(1),
            "read_beat": In(1),
            "written_beat": In(1),
            "step": In(1),
            "busy": In(ENGINES),
            "stalled": In(ENGINES),
            "record": Out(COUNTER_RECORD),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        record = self.record
        events = [
            (record.cycles, 1),
            (record.read_beats, self.read_beat),
            (record.written_beats, self.written_beat),
            (record.steps, self.step),
        ]
        for number in self.engines:
            events += [
                (record.engines[number].busy, self.busy[number]),
                (record.engines[number].stalled, self.stalled[number]),
            ]
        for count, event in events:
            with m.If(self.clear):
                m.d.sync += count.eq(0)
            with m.Elif(self.running):
                m.d.sync += count.eq(count + event)
        return m
