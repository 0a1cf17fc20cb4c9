# SPDX-License-Identifier: Apache-2.0
"""The loop nest is in the state of plain counters after any starts, steps and pauses."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.compute.loop_nest import LoopNest

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports

LEVELS, WIDTH, TAILS = 3, 2, 2


class LateNest(LoopNest):
    """Broken on purpose: a loop may step while one inside it has not wrapped."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.carry[2].eq(self.carry[1])
        return m


class LongTail(LoopNest):
    """Broken on purpose: once a loop is beyond, it stays there."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.beyond[1] & ~self.start):
            m.d.sync += self.beyond[1].eq(1)
        return m


class NestSpec(wiring.Component):
    """One counter up per loop, and what ``carry`` and ``beyond`` have to say about them.

    Counts and tails are free but constant from a start to the last step.
    """

    def __init__(self, dut: LoopNest) -> None:
        self.dut = dut
        super().__init__({
            "counts": In(data.ArrayLayout(WIDTH, LEVELS)),
            "start": In(1),
            "advance": In(1),
            **({"tail": In(data.ArrayLayout(dut.tail_width, dut.tails))} if dut.tails else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        join_ports(m, self, dut)
        free = Cat(self.counts, self.tail) if dut.tails else self.counts.as_value()
        before = Signal.like(free, reset_less=True)
        begun = Signal()
        m.d.sync += [before.eq(free), begun.eq(begun | self.start)]
        m.d.comb += Assume(~(self.start & self.advance))
        with m.If(first.started & ~self.start & begun):
            m.d.comb += Assume(free == before)
        with m.If(~begun):
            m.d.comb += Assume(~self.advance)

        lasts = 1
        indices = []
        for level in range(LEVELS):
            index = Signal(WIDTH, name=f"index{level}")
            indices.append(index)
            m.d.comb += Assume(self.counts[level] != 0)
            with m.If(self.start):
                m.d.sync += index.eq(0)
            with m.Elif(self.advance & lasts):
                last = index + 1 == self.counts[level]
                with m.If(last):
                    m.d.sync += index.eq(0)
                with m.Else():
                    m.d.sync += index.eq(index + 1)
            with m.If(first.started & begun & ~self.start):
                m.d.comb += [
                    Assert(dut.carry[level] == lasts),
                    Assert(index < self.counts[level]),
                ]
            if level < dut.tails:
                m.d.comb += Assume(self.tail[level] < self.counts[level])
                with m.If(first.started & begun & ~self.start):
                    beyond = index + self.tail[level] >= self.counts[level]
                    m.d.comb += Assert(dut.beyond[level] == beyond)
                m.d.comb += Cover(dut.beyond[level] & (index == 1) & (self.counts[level] == 3))
            lasts = lasts & (index + 1 == self.counts[level])
        with m.If(first.started & begun & ~self.start):
            m.d.comb += Assert(dut.carry[LEVELS] == lasts)
        rounds = Signal(2)
        with m.If(self.advance & dut.carry[LEVELS] & (self.counts[1] == 2)):
            m.d.sync += rounds.eq(rounds + 1)
        m.d.comb += [
            Cover((rounds == 2) & (indices[2] == 1)),
            Cover((indices[0] == 2) & (indices[1] == 1) & dut.carry[1] & ~dut.carry[2]),
        ]
        return m


@pytest.mark.parametrize("tails", [0, TAILS])
def test_proved(tails):
    assert_proved(NestSpec(LoopNest(LEVELS, WIDTH, tails, WIDTH)), depth=10)


@pytest.mark.parametrize("tails", [0, TAILS])
def test_reached(tails):
    assert_covered(NestSpec(LoopNest(LEVELS, WIDTH, tails, WIDTH)), depth=20)


@pytest.mark.parametrize(("fault", "tails"), [(LateNest, 0), (LongTail, TAILS)])
def test_broken_is_refuted(fault, tails):
    assert_refuted(NestSpec(fault(LEVELS, WIDTH, tails, WIDTH)), depth=16)
