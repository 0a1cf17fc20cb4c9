# SPDX-License-Identifier: Apache-2.0
"""The window shows each bit of a stream once, in order, whatever is taken and whenever."""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.sparse.contract import beat_layout
from kiwicha.hw.sparse.window import BitWindow

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports

BEAT, SIZES = 1, (0, 4, 12)


class BrokenWindow(BitWindow):
    """Broken on purpose."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__(BEAT, SIZES)

    def elaborate(self, platform: object) -> Module:
        if self.fault == "too short":
            self.capacity -= 8
        m = super().elaborate(platform)
        if self.fault == "takes on after the end":
            m.d.comb += self.i.ready.eq(1)
        elif self.fault == "miscounts":
            m.d.comb += self.has[2].eq(self.level >= 8)
        return m


class WindowSpec(wiring.Component):
    """Follows one bit, of a place that the solver chooses, from the beat into the view."""

    i: In(stream.Signature(beat_layout(BEAT)))
    take: In(2)
    restart: In(1)
    chosen: In(6)

    def __init__(self, dut: BitWindow) -> None:
        self.dut = dut
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        join_ports(m, self, dut)
        before = Signal(6, reset_less=True)
        put, got, bit, ended = Signal(7), Signal(7), Signal(), Signal()
        m.d.sync += before.eq(self.chosen)
        m.d.comb += [
            Assume(self.take < len(SIZES)),
            Assume(dut.has.bit_select(self.take, 1)),
            Assume(~self.restart | ended),
            Assume(put <= 64),
        ]
        with m.If(first.started):
            m.d.comb += Assume(self.chosen == before)
        offered = dut.i.valid & dut.i.ready
        beat = dut.i.payload.data
        for choice, size in enumerate(SIZES):
            with m.If(self.take == choice):
                m.d.sync += got.eq(got + size)
        with m.If(offered):
            m.d.sync += [put.eq(put + 8), ended.eq(dut.i.payload.last)]
            with m.If((self.chosen >= put) & (self.chosen < put + 8)):
                m.d.sync += bit.eq(beat.bit_select((self.chosen - put)[:3], 1))
        with m.If(self.restart):
            m.d.sync += [put.eq(0), got.eq(0), ended.eq(0)]
        with m.If(first.started):
            place = (self.chosen - got)[:7]
            m.d.comb += [
                Assert(dut.level == put - got),
                Assert(dut.has[2] == (put - got >= 12)),
                Assert(dut.ended == ended),
                Assert(~(ended & dut.i.ready)),
                Assert(dut.i.ready | ended | dut.surplus),
                Assert(dut.i.ready | ended | dut.has[2]),
                Assert(dut.offset == got >> 3),
            ]
            with m.If((self.chosen >= got) & (self.chosen < put) & (place < 12)):
                m.d.comb += Assert(dut.view.bit_select(place[:4], 1) == bit)
            with m.If(put == got):
                m.d.comb += Assert(dut.blank)
            m.d.comb += [
                Cover((got == 28) & bit & (self.chosen == 29) & (put == 40)),
                Cover(ended & (got == 4) & dut.blank & (put == 16)),
                Cover(~dut.i.ready & ~ended),
            ]
        return m


def test_proved():
    assert_proved(WindowSpec(BitWindow(BEAT, SIZES)), depth=9)


def test_covered():
    assert_covered(WindowSpec(BitWindow(BEAT, SIZES)), depth=14)


@pytest.mark.parametrize("fault", ["too short", "takes on after the end", "miscounts"])
def test_broken_is_refuted(fault):
    assert_refuted(WindowSpec(BrokenWindow(fault)), depth=12)
