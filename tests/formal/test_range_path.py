# SPDX-License-Identifier: Apache-2.0
"""A range is that of all live lanes since it began; it is answered once, in time, with its slot."""

import pytest
from amaranth.hdl import Assert, Assume, Const, Cover, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.vector.range_path import RangePath
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SLOTS, VECTOR, VectorMode
from kiwicha.machine.latency import RANGE_SETTLE_LATENCY
from kiwicha.machine.records import SLOT_LAYOUT
from kiwicha.machine.shifts import ALL_GONE

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

CONFIG = AcceleratorConfig(columns=2, requantize_lanes=2)
ONE, TWO = 12, 17
"""Cycles of one range, and of one in two instructions."""
FIELDS = ("begin", "settle", "relu", "slot", "target", "zero_point", "high", "signal", "scales")
KEPT = data.StructLayout({name: VECTOR[name].shape for name in FIELDS})


class Broken(RangePath):
    """Broken on purpose."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__(CONFIG)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        if self.fault == "answers at once":
            m.d.sync += self.measured.eq(self.i.valid & self.i.payload.last)
        if self.fault == "own slot":
            m.d.comb += self.settled.payload.slot.eq(self.instruction.target)
        return m

    def _settle(self, m: Module, now: data.View, greatest: Signal) -> None:
        if self.fault == "goes on":
            with m.If(self.take):
                m.d.sync += greatest.eq(greatest)
        if self.fault == "powers of two are one too long":
            greatest = greatest + 1
        if self.fault == "forgets the floor":
            m.d.sync += now.floor.eq(0)
        super()._settle(m, now, greatest)


class RangeSpec(wiring.Component):
    """Any instructions of RANGE, one after the other, of a few steps each; sums of so many bits."""

    take: In(1)
    asked: In(KEPT)
    valid: In(1)
    last: In(1)
    live: In(1)
    words: In(data.ArrayLayout(signed(32), 2))
    slots: In(data.ArrayLayout(SLOT_LAYOUT, SLOTS))

    def __init__(self, dut: RangePath, bits: int = 32) -> None:
        self.dut, self.bits = dut, bits
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        busy, over, now, before = Signal(), Signal(), Signal(KEPT), Signal.like(self.slots)
        age, greatest, ranges = Signal(5), Signal(33), Signal(2)
        takes, steps = Signal(), Signal()
        words = [word[: self.bits].as_signed() for word in self.words]
        m.d.comb += [
            takes.eq(self.take & ~busy & first.started),
            steps.eq(self.valid & busy & ~over),
            dut.take.eq(takes),
            dut.instruction.mode.eq(VectorMode.RANGE),
            *(dut.instruction[name].eq(self.asked[name]) for name in FIELDS),
            dut.i.valid.eq(steps),
            dut.i.payload.last.eq(self.last),
            dut.i.payload.live.eq(self.live),
            *(seen.eq(word) for seen, word in zip(dut.i.payload.words, words, strict=True)),
            dut.slots.eq(self.slots),
        ]
        m.d.sync += before.eq(self.slots)
        sizes = [Mux(word < 0, -word, word)[:32] for word in words]
        second = Mux(self.live & (sizes[1] > sizes[0]), sizes[1], sizes[0])
        with m.If(takes):
            m.d.sync += [now.eq(self.asked), busy.eq(1), over.eq(0)]
            m.d.sync += ranges.eq(Mux(self.asked.begin, 1, ranges + (ranges != 3)))
            with m.If(self.asked.begin):
                m.d.sync += greatest.eq(0)
        with m.If(steps):
            m.d.sync += [over.eq(self.last), age.eq(1)]
            with m.If(second > greatest):
                m.d.sync += greatest.eq(second)
        with m.Elif(over & busy):
            m.d.sync += age.eq(age + 1)
        with m.If(dut.measured):
            m.d.sync += busy.eq(0)

        wait = dut.latency + 1 + Mux(now.settle, RANGE_SETTLE_LATENCY, 0)
        content, bits = dut.settled.payload.content, now.high[:3]
        shift, power = content.zero_point, content.scale[23:31]
        bound = Const(1, 40) << (bits + shift)[:6]
        gone, within = now.relu & (greatest <= 1), greatest <= bound
        least = (shift == 0) | ((greatest << 1) > bound)
        base = before[now.slot].scale[23:31] + now.zero_point[:9].as_signed()
        apart = Signal(signed(12))
        floor = before[(now.scales - 1)[:2]].scale[23:31]
        m.d.comb += apart.eq(Mux((now.scales != 0) & ~gone, floor - base, 0))
        lift = Mux(apart > ALL_GONE, ALL_GONE, apart)
        wanted = base + Mux(apart > shift, apart, shift)
        with m.If(first.started):
            # Slots are those of programs, which do not change one that is in use.
            m.d.comb += [
                Assume(~busy | (before == self.slots)),
                Assume(~self.asked.settle | ((self.asked.high >= 1) & (self.asked.high <= 7))),
                # Floors are of no one range's length: the longer proof is without.
                Assume(self.asked.scales <= (SLOTS if self.bits == 32 else 0)),
                Assert(dut.measured == (busy & over & (age == wait))),
                Assert(~dut.measured | (dut.signal == now.signal)),
                Assert(dut.settled.valid == (busy & over & now.settle & (age == wait - 1))),
            ]
            with m.If(dut.settled.valid):
                m.d.comb += [
                    Assert(dut.settled.payload.slot == now.target),
                    Assert(shift <= ALL_GONE),
                    Assert(Mux(gone, shift == ALL_GONE, (least | (shift == lift)) & within)),
                    Assert(gone | (shift >= lift)),
                    Assert(power == Mux(wanted < 1, 1, Mux(wanted > 254, 254, wanted))),
                    Assert(~content.scale[31] & ~content.scale[:23].any()),
                    Cover(gone & (greatest == 1)),
                    Cover((shift == 30) & (wanted == 99)),
                    Cover((apart == 40) & (now.scales == 4) & (wanted == 99)),
                    Cover((apart == 5) & (shift == 6) & (wanted == 99)),
                    Cover((power == 254) & (wanted > 254)),
                    Cover((wanted < 1) & (ranges == 2) & (greatest == 5) & now.target[1]),
                ]
        return m


@pytest.mark.parametrize(("bits", "depth"), [(32, ONE), (3, TWO)])
def test_proved(bits, depth):
    assert_proved(RangeSpec(RangePath(CONFIG), bits), depth=depth)


def test_covered():
    assert_covered(RangeSpec(RangePath(CONFIG)), depth=TWO + 3)


@pytest.mark.parametrize(("fault", "bits"), [
    ("answers at once", 32), ("own slot", 32), ("goes on", 3),
    ("powers of two are one too long", 32), ("forgets the floor", 32),
])
def test_broken_is_refuted(fault, bits):
    assert_refuted(RangeSpec(Broken(fault), bits), depth=TWO)
