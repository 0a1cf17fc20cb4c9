# SPDX-License-Identifier: Apache-2.0
"""The queue hands out each word once, in order, unchanged, and keeps the stream rules."""

import pytest
from amaranth.hdl import Assert, Cover, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.parts.queue import Queue

from ..support.following import FollowedWord
from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports

DEPTH, WIDTH = 2, 3


class BrokenQueue(Queue):
    """Broken on purpose."""

    def __init__(self, fault: str, registered: bool) -> None:
        self.fault = fault
        super().__init__(WIDTH, DEPTH, registered=registered)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        if self.fault == "takes when full":
            m.d.comb += self.i.ready.eq(1)
        elif self.fault == "drops what waits":
            with m.If(self.i.valid):
                m.d.sync += self._there.eq(0)
        elif self.fault == "empty too early":
            m.d.comb += self.empty.eq(~self.o.valid)
        return m


class QueueSpec(wiring.Component):
    """Follows the word of a number that the solver chooses, from one end to the other."""

    i: In(stream.Signature(WIDTH))
    o: Out(stream.Signature(WIDTH))
    chosen: In(4)

    def __init__(self, dut: Queue) -> None:
        self.dut = dut
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        join_ports(m, self, dut)
        most = DEPTH + 1 + dut.registered
        m.submodules.followed = followed = FollowedWord(WIDTH)
        followed.between(m, dut.i, dut.o)
        m.d.comb += followed.chosen.eq(self.chosen)
        put, got = followed.puts, followed.gots
        waiting, offered = Signal(), Signal(WIDTH)
        m.d.sync += [waiting.eq(dut.o.valid & ~dut.o.ready), offered.eq(dut.o.payload)]
        with m.If(first.started):
            with m.If(dut.o.valid):
                m.d.comb += Assert(put != got)
                with m.If(followed.due):
                    m.d.comb += Assert(dut.o.payload == followed.kept)
            with m.If(waiting):
                m.d.comb += [Assert(dut.o.valid), Assert(dut.o.payload == offered)]
            m.d.comb += [
                Assert(dut.empty == (put == got)),
                Assert(put - got <= most),
                Cover((got == 4) & (self.chosen == 3) & (followed.kept == 5) & ~dut.i.ready),
                Cover(put - got == most),
            ]
        return m


REGISTERED = pytest.mark.parametrize("registered", [False, True])


@REGISTERED
def test_proved(registered):
    assert_proved(QueueSpec(Queue(WIDTH, DEPTH, registered=registered)), depth=11)


@REGISTERED
def test_covered(registered):
    assert_covered(QueueSpec(Queue(WIDTH, DEPTH, registered=registered)), depth=14)


@REGISTERED
@pytest.mark.parametrize("fault", ["takes when full", "drops what waits", "empty too early"])
def test_broken_is_refuted(fault, registered):
    assert_refuted(QueueSpec(BrokenQueue(fault, registered)), depth=10)
