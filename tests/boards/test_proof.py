# SPDX-License-Identifier: Apache-2.0
"""Proofs: a frame is believed only with its CRC, and nothing is written without one believed.

Solvers cannot compare two CRCs of different making, so the proof is about what the CRC unit is fed
and when it is asked. What it answers is free here; that it is the CRC-32, test_crc.py shows.
"""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.boards.link.commands import CommandExecutor
from kiwicha.boards.link.format import ESCAPE, FLAG, Identity
from kiwicha.boards.link.receive import FrameReceiver

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

PAYLOAD = 4
IDENTITY = Identity(1, PAYLOAD, 16, 0, 1)


class FreeChecker(Elaboratable):
    """Looks like the CRC unit; what it answers is for the solver to say."""

    def __init__(self) -> None:
        self.start, self.valid, self.data = Signal(), Signal(), Signal(8)
        self.crc, self.match_detected = Signal(32), Signal()

    def elaborate(self, platform: object) -> Module:
        return Module()


class Gullible(FrameReceiver):
    """Broken on purpose."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__(PAYLOAD)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        if self.fault == "believes everything":
            with m.If(self.i.valid & (self.i.payload == FLAG) & ~self.frame.valid):
                m.d.sync += self.frame.payload.good.eq(1)
        elif self.fault == "hears while it is busy":
            with m.If(self.frame.valid & self.i.valid & (self.i.payload == FLAG)):
                m.d.sync += self.frame.payload.good.eq(1)
        return m


class ReceiverSpec(Component):
    """Follows what lies between two flags, and what the unit makes of it."""

    i: In(stream.Signature(8, always_ready=True))
    take: In(1)
    match: In(1)
    valid: Out(1)

    def __init__(self, dut: FrameReceiver) -> None:
        self.dut = dut
        dut.checker = FreeChecker()
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        checker = dut.checker
        m.d.comb += checker.match_detected.eq(self.match)
        wiring.connect(m, wiring.flipped(self.i), dut.i)
        frame = dut.frame
        m.d.comb += [frame.ready.eq(self.take), self.valid.eq(frame.valid)]
        count = Signal(5)
        open_, escaped, right = Signal(), Signal(), Signal()
        byte = Signal(8)
        m.d.comb += byte.eq(Mux(escaped, self.i.payload ^ 0x20, self.i.payload))
        fed, begun = Signal(), Signal()
        flag = self.i.payload == FLAG
        with m.If(frame.valid):
            m.d.sync += open_.eq(0)
        with m.Elif(self.i.valid & flag):
            m.d.comb += begun.eq(1)
            m.d.sync += [open_.eq(1), count.eq(0), escaped.eq(0)]
            m.d.sync += right.eq(
                open_ & self.match & ~escaped & (count >= 12) & (count <= 12 + PAYLOAD)
            )
        with m.Elif(self.i.valid & open_):
            with m.If((self.i.payload == ESCAPE) & ~escaped):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.comb += fed.eq(1)
                m.d.sync += escaped.eq(0)
                with m.If(count != 31):
                    m.d.sync += count.eq(count + 1)
        with m.If(first.started & frame.valid & frame.payload.good):
            m.d.comb += Assert(right)
        # What the two have in common in every cycle; without it induction would not close.
        with m.If(first.started):
            m.d.comb += [
                Assert(frame.valid | (dut.hunting == ~open_)),
                Assert(checker.start == begun),
                Assert(checker.valid == fed),
                Assert(~fed | (checker.data == byte)),
                Assert(frame.valid | ~open_ | (dut.escaped == escaped)),
                Assert(frame.valid | ~open_ | (dut.spoilt == (count > dut.capacity))),
                Assert(
                    frame.valid | ~open_
                    | (dut.count == Mux(count > dut.capacity, dut.capacity, count))
                ),
            ]
        waiting, said = Signal(), Signal.like(frame.payload.as_value())
        m.d.sync += [waiting.eq(frame.valid & ~frame.ready), said.eq(frame.payload.as_value())]
        with m.If(first.started & waiting):
            m.d.comb += [Assert(frame.valid), Assert(frame.payload.as_value() == said)]
        with m.If(first.started & frame.valid):
            m.d.comb += [Cover(~frame.payload.good), Cover(frame.payload.good)]
        return m


def test_only_the_right_crc_is_believed():
    assert_proved(ReceiverSpec(FrameReceiver(PAYLOAD)), depth=2, mode="prove")


def test_receiver_is_covered():
    assert_covered(ReceiverSpec(FrameReceiver(PAYLOAD)), depth=16)


@pytest.mark.parametrize("fault", ["believes everything", "hears while it is busy"])
def test_gullible_receiver_is_refuted(fault):
    assert_refuted(ReceiverSpec(Gullible(fault)), depth=18)


class ExecutorSpec(Component):
    """The executor alone, with a buffer and frames of which anything may be said."""

    good: In(1)
    length: In(4)
    offered: In(1)
    data: In(8)
    ready: In(1)
    bus_ready: In(3)

    def __init__(self, dut: Component) -> None:
        self.dut = dut
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        frame = dut.frame
        waiting, before = Signal(), Signal(5)
        m.d.comb += [
            frame.valid.eq(self.offered),
            frame.payload.good.eq(self.good),
            frame.payload.length.eq(self.length),
            dut.data.eq(self.data),
            dut.reply.ready.eq(self.ready),
            dut.write.ready.eq(self.ready),
            dut.read.ready.eq(self.ready),
            dut.bus.awready.eq(self.bus_ready[0]),
            dut.bus.wready.eq(self.bus_ready[1]),
            dut.bus.bvalid.eq(self.bus_ready[2]),
        ]
        m.d.sync += [
            waiting.eq(frame.valid & ~frame.ready),
            before.eq(Cat(self.good, self.length)),
        ]
        with m.If(first.started & waiting):  # as every stream does
            m.d.comb += [Assume(self.offered), Assume(Cat(self.good, self.length) == before)]
        with m.If(first.first):
            m.d.comb += Assume(~self.offered)
        believed = frame.valid & frame.payload.good
        writes = dut.write.valid | dut.bus.awvalid | dut.bus.wvalid
        with m.If(first.started):
            m.d.comb += [
                Assert(~writes | believed),
                Cover(dut.write.valid),
                Cover(dut.bus.awvalid),
                Cover(dut.reply.valid & ~believed),
            ]
        return m


class Hasty(CommandExecutor):
    """Broken on purpose: takes any frame for a good one."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.frame.valid & ~self.frame.payload.good):
            m.d.comb += self.write.valid.eq(self.reply.valid)
        return m


def test_only_what_is_believed_is_written():
    assert_proved(ExecutorSpec(CommandExecutor(IDENTITY)), depth=24)


def test_executor_is_covered():
    assert_covered(ExecutorSpec(CommandExecutor(IDENTITY)), depth=24)


def test_hasty_executor_is_refuted():
    assert_refuted(ExecutorSpec(Hasty(IDENTITY)), depth=8)
