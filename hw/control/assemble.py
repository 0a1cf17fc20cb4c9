# SPDX-License-Identifier: Apache-2.0
"""Puts an instruction together from its 64-bit words."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.machine.isa import WORD_BITS

__all__ = ["Assembler"]


class Assembler(Component):
    """Collects the words of one layout, first word in the low bits.

    Double buffered: while one instruction waits at the output, all words of the next but the last
    are taken. Throughput one word a cycle; latency one cycle from the last word.

    Parameters
    ----------
    layout : instruction layout, a whole number of words.

    Members
    -------
    i : In(stream.Signature(64))
        Words in memory order; whoever sends them sends whole instructions.
    o : Out(stream.Signature(layout))
        Instructions.
    empty : Out(1)
        No word and no instruction is held here.
    """

    def __init__(self, layout: data.StructLayout) -> None:
        if layout.size == 0 or layout.size % WORD_BITS:
            raise ValueError(f"layout is {layout.size} bits; legal: a multiple of {WORD_BITS}")
        self.layout = layout
        self.words = layout.size // WORD_BITS
        super().__init__({
            "i": In(stream.Signature(WORD_BITS)),
            "o": Out(stream.Signature(layout)),
            "empty": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        free = Signal()
        m.d.comb += free.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        # Words shift in from the top, so no word needs an enable or a multiplexer of its own.
        held = Signal(WORD_BITS * (self.words - 1))
        count = Signal(range(max(2, self.words)))
        last = count == self.words - 1
        m.d.comb += [self.i.ready.eq(~last | free), self.empty.eq(~self.o.valid & (count == 0))]
        with m.If(self.i.valid & self.i.ready):
            with m.If(last):
                m.d.sync += [
                    self.o.payload.eq(Cat(held, self.i.payload)),
                    self.o.valid.eq(1),
                    count.eq(0),
                ]
            with m.Else():
                m.d.sync += [
                    held.eq(Cat(held, self.i.payload)[WORD_BITS:]),
                    count.eq(count + 1),
                ]
        return m
