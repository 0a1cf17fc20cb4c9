# SPDX-License-Identifier: Apache-2.0
"""Engines are reset only while the bus is idle, and no fault or interrupt is ever lost."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.control.fault import FaultSignature
from hw.control.supervisor import State, Supervisor
from hw.isa import ErrorCode
from tests.support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

SOURCES, DRAIN_LIMIT = 2, 3

LEGAL = {
    State.IDLE: (State.IDLE, State.CLEARING),
    State.CLEARING: (State.CLEARING, State.RUNNING),
    State.RUNNING: (State.RUNNING, State.DONE, State.DRAINING),
    State.DRAINING: (State.DRAINING, State.ERROR),
    State.DONE: (State.DONE, State.CLEARING),
    State.ERROR: (State.ERROR, State.CLEARING),
}


class BrokenSupervisor(Supervisor):
    """Broken on purpose."""

    def __init__(self, fault: str) -> None:
        self.mistake = fault
        super().__init__(SOURCES, drain_limit=DRAIN_LIMIT)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        if self.mistake == "start while draining":
            with m.If((self.state == State.DRAINING) & self.start):
                m.d.sync += [self.state.eq(State.CLEARING), self.clear.eq(1)]
        elif self.mistake == "done although a fault arrives":
            with m.If((self.state == State.RUNNING) & self.ended & self.quiet & self.abort):
                m.d.sync += [self.state.eq(State.DONE), self.finished.eq(1)]
        elif self.mistake == "silent when the bus hangs":
            with m.If((self.state == State.DRAINING) & ~self.masters_idle):
                m.d.sync += self.failed.eq(0)
        elif self.mistake == "stop ends with draining":
            with m.If(self.state == State.ERROR):
                m.d.comb += self.stop.eq(0)
        return m


class SupervisorSpec(wiring.Component):
    """What the rest of the machine and software rely on."""

    start: In(1)
    abort: In(1)
    fault: In(FaultSignature).array(SOURCES)
    ended: In(1)
    quiet: In(1)
    masters_idle: In(1)
    progress: In(1)
    watchdog_limit: In(32)

    def __init__(self, dut: Supervisor) -> None:
        self.dut = dut
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        for name in self.signature.members:
            if name != "fault":
                m.d.comb += getattr(dut, name).eq(getattr(self, name))
        for source, port in zip(self.fault, dut.fault, strict=True):
            wiring.connect(m, wiring.flipped(source), port)
            m.d.comb += Assume(source.payload.code != ErrorCode.NONE)

        running, draining = dut.state == State.RUNNING, dut.state == State.DRAINING
        was_idle, was = Signal(reset_less=True), Signal(State)
        m.d.sync += [was_idle.eq(self.masters_idle), was.eq(dut.state)]
        # Nothing starts a transaction by itself; only engines at work do.
        with m.If(~first.started | ~(running | draining) & was_idle):
            m.d.comb += Assume(self.masters_idle)
        # After a fault no transaction begins: what is open may finish, and then stays finished.
        with m.If(first.started & draining & was_idle & (was == State.DRAINING)):
            m.d.comb += Assume(self.masters_idle)

        # The first fault since the start, by its own account.
        arriving = Cat(source.valid for source in self.fault)
        known, code, address = Signal(), Signal(8), Signal(64)
        with m.If(dut.clear):
            m.d.sync += known.eq(0)
        with m.Elif(running & ~known & (arriving.any() | self.abort)):
            m.d.sync += known.eq(1)
            with m.If(arriving[0]):
                m.d.sync += [code.eq(self.fault[0].payload.code)]
                m.d.sync += address.eq(self.fault[0].payload.address)
            with m.Elif(arriving[1]):
                m.d.sync += [code.eq(self.fault[1].payload.code)]
                m.d.sync += address.eq(self.fault[1].payload.address)
            with m.Else():
                m.d.sync += [code.eq(ErrorCode.ABORTED), address.eq(0)]

        reported, drained_for = Signal(), Signal(4)
        with m.If(dut.clear):
            m.d.sync += reported.eq(0)
        with m.Elif(dut.failed):
            m.d.sync += reported.eq(1)
        m.d.sync += drained_for.eq(0)
        with m.If(draining & (drained_for != 15)):
            m.d.sync += drained_for.eq(drained_for + 1)
        error = dut.error.code

        with m.If(first.started):
            with m.If(was_started := Signal()):
                with m.Switch(was):
                    for state, successors in LEGAL.items():
                        with m.Case(state):
                            m.d.comb += Assert(Cat(dut.state == s for s in successors).any())
                    with m.Default():
                        m.d.comb += Assert(0)
            m.d.comb += [
                Assert(~dut.clear | self.masters_idle),
                Assert(dut.clear == (dut.state == State.CLEARING)),
                Assert(~dut.go | (running & (was == State.CLEARING))),
                Assert(dut.finished == (was_started & (dut.state == State.DONE)
                                        & (was == State.RUNNING))),
                Assert(~(dut.failed & reported)),
                Assert(~dut.failed | draining | (dut.state == State.ERROR)),
                Assert((drained_for <= DRAIN_LIMIT) | reported),
            ]  # fmt: skip
            with m.Switch(dut.state):
                with m.Case(State.IDLE, State.DONE):
                    m.d.comb += [Assert(error == ErrorCode.NONE), Assert(~dut.stop), Assert(~known)]
                with m.Case(State.CLEARING):
                    m.d.comb += Assert(dut.stop)
                with m.Case(State.DRAINING, State.ERROR):
                    m.d.comb += [Assert(error != ErrorCode.NONE), Assert(dut.stop)]
                with m.Case(State.RUNNING):
                    # A fault stops the machine from the next cycle on.
                    m.d.comb += Assert(~known | dut.stop)
            with m.If(known & (error != ErrorCode.WATCHDOG)):
                m.d.comb += [Assert(error == code), Assert(dut.error.address == address)]
            with m.If((dut.state == State.ERROR) & (was == State.ERROR)):
                m.d.comb += Assert(reported)
            m.d.comb += [
                Cover(dut.finished),
                Cover(dut.failed & ~self.masters_idle),
                Cover((dut.state == State.ERROR) & (error == ErrorCode.WATCHDOG)),
                Cover((was == State.ERROR) & dut.clear),
                Cover(running & known & arriving.all()),
            ]
        m.d.sync += was_started.eq(first.started)
        return m


def test_proved():
    assert_proved(SupervisorSpec(Supervisor(SOURCES, drain_limit=DRAIN_LIMIT)), depth=24)


def test_covered():
    assert_covered(SupervisorSpec(Supervisor(SOURCES, drain_limit=DRAIN_LIMIT)), depth=20)


@pytest.mark.parametrize(
    "fault",
    [
        "start while draining",
        "done although a fault arrives",
        "silent when the bus hangs",
        "stop ends with draining",
    ],
)
def test_broken_is_refuted(fault):
    assert_refuted(SupervisorSpec(BrokenSupervisor(fault)), depth=18)
