# SPDX-License-Identifier: Apache-2.0
"""The proof helpers prove a right register stage, refute a wrong one, and notice empty proofs."""

import pytest
from amaranth.hdl import Assert, Cover, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .formal import FirstCycle, assert_covered, assert_proved, assert_refuted, prove


class Stage(wiring.Component):
    """A one-word register stage; ``broken`` lets it overwrite a word that waits."""

    i: In(stream.Signature(2))
    o: Out(stream.Signature(2))

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready | self.broken):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


class StableSpec(wiring.Component):
    """Rule: a word that is offered stays, unchanged, until it is taken."""

    i: In(stream.Signature(2))
    ready: In(1)

    def __init__(self, broken: bool = False, covers: int = 1) -> None:
        self.broken = broken
        self.covers = covers
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = Stage(self.broken)
        m.submodules.first = first = FirstCycle()
        wiring.connect(m, wiring.flipped(self.i), dut.i)
        waiting, word = Signal(), Signal(2)
        m.d.comb += dut.o.ready.eq(self.ready)
        m.d.sync += [waiting.eq(dut.o.valid & ~dut.o.ready), word.eq(dut.o.payload)]
        with m.If(first.started & waiting):
            m.d.comb += [Assert(dut.o.valid), Assert(dut.o.payload == word)]
        if self.covers:
            m.d.comb += Cover(first.started & waiting & (word == 3))
        if self.covers > 1:
            m.d.comb += Cover(first.started & waiting & (word == 2) & ~dut.o.valid)
        return m


class NothingAsserted(wiring.Component):
    """A specification that says nothing."""

    i: In(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.first = FirstCycle()
        return m


def test_bounded_proof():
    assert_proved(StableSpec(), depth=8)


def test_induction():
    assert_proved(StableSpec(), depth=3, mode="prove")


def test_cover():
    assert_covered(StableSpec(), depth=6)


def test_broken_unit_is_refuted():
    assert_refuted(StableSpec(broken=True), depth=8)


def test_unreachable_cover_is_noticed():
    assert prove(StableSpec(covers=2), depth=6, mode="cover").status == "FAIL"


def test_empty_specification_is_noticed():
    with pytest.raises(AssertionError, match="nothing is asserted"):
        assert_proved(NothingAsserted(), depth=3)
    with pytest.raises(AssertionError, match="nothing is covered"):
        assert_covered(NothingAsserted(), depth=3)


def test_illegal_mode():
    with pytest.raises(ValueError, match=r"^mode is 'live'; legal: bmc, prove, cover$"):
        prove(StableSpec(), depth=3, mode="live")
