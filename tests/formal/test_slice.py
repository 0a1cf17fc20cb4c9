# SPDX-License-Identifier: Apache-2.0
"""The register slice hands out each word once, in order, unchanged, and keeps the stream rules."""

import pytest
from amaranth.hdl import Assert, Cover, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.parts.slice import RegisterSlice

from ..support.following import FollowedWord
from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports

WIDTH = 3
KINDS = pytest.mark.parametrize("full", [True, False], ids=["full", "forward"])


class BrokenSlice(RegisterSlice):
    """Broken on purpose."""

    def __init__(self, fault: str, full: bool) -> None:
        self.fault = fault
        super().__init__(WIDTH, full)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        if self.fault == "takes when full":
            m.d.comb += self.i.ready.eq(1)
        elif self.fault == "drops what waits":
            with m.If(self.i.valid):
                m.d.sync += self.o.valid.eq(0)
        elif self.fault == "offers while held":
            with m.If(self.i.valid & (self.i.ready | ~self.o.valid)):
                m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(self.i.payload)]
        return m


class SliceSpec(wiring.Component):
    """Follows the word of a number that the solver chooses, from one end to the other."""

    i: In(stream.Signature(WIDTH))
    o: Out(stream.Signature(WIDTH))
    hold: In(1)
    chosen: In(4)

    def __init__(self, dut: RegisterSlice) -> None:
        self.dut = dut
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        join_ports(m, self, dut)
        m.submodules.followed = followed = FollowedWord(WIDTH)
        followed.between(m, dut.i, dut.o)
        m.d.comb += followed.chosen.eq(self.chosen)
        put, got = followed.puts, followed.gots
        waiting, offered, held = Signal(), Signal(WIDTH), Signal()
        m.d.sync += [
            waiting.eq(dut.o.valid & ~dut.o.ready),
            offered.eq(dut.o.payload),
            held.eq(self.hold),
        ]
        with m.If(first.started):
            with m.If(dut.o.valid):
                m.d.comb += Assert(put != got)
                with m.If(followed.due):
                    m.d.comb += Assert(dut.o.payload == followed.kept)
            with m.If(waiting):
                m.d.comb += [Assert(dut.o.valid), Assert(dut.o.payload == offered)]
            with m.If(held & ~waiting):
                m.d.comb += Assert(~dut.o.valid)
            m.d.comb += [
                Assert(put - got <= (2 if dut.full else 1)),
                # Nothing waits inside unless somebody holds it there.
                Assert(held | dut.o.valid | (put == got)),
                Cover((got == 4) & (self.chosen == 3) & (followed.kept == 5) & ~dut.i.ready),
                Cover(held & ~dut.o.valid & ~dut.i.ready),
            ]
        return m


@KINDS
def test_proved(full):
    assert_proved(SliceSpec(RegisterSlice(WIDTH, full)), depth=8)


@KINDS
def test_covered(full):
    assert_covered(SliceSpec(RegisterSlice(WIDTH, full)), depth=14)


@KINDS
@pytest.mark.parametrize("fault", ["takes when full", "drops what waits", "offers while held"])
def test_broken_is_refuted(fault, full):
    assert_refuted(SliceSpec(BrokenSlice(fault, full)), depth=10)
