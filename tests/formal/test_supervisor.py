# SPDX-License-Identifier: Apache-2.0
"""Engines are reset only while the bus is idle, and no fault or interrupt is ever lost."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from kiwicha.hw.control.supervisor import CLEAR_CYCLES, State, Supervisor
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.machine.isa import ErrorCode

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports

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
        elif self.mistake == "abort with start is lost":
            with m.If(self.start):
                m.d.sync += self._early.eq(0)
        elif self.mistake == "abort while clearing is lost":
            with m.If((self.state == State.CLEARING) & self.abort):
                m.d.sync += self._early.eq(0)
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
        join_ports(m, self, dut)
        for source in self.fault:
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

        # An abort that comes with START, or before the program runs, by its own account.
        clearing = dut.state == State.CLEARING
        resting = Cat(dut.state == s for s in (State.IDLE, State.DONE, State.ERROR)).any()
        early, early_before, was_started, started_now = (Signal() for _ in range(4))
        since, aborted_after, ignored = Signal(4), Signal(4, init=15), Signal()
        with m.If(self.abort & (resting & self.start | clearing)):
            m.d.sync += early.eq(1)
        with m.Elif(~clearing):
            m.d.sync += early.eq(0)

        m.d.comb += started_now.eq(resting & self.start)
        m.d.sync += since.eq(Mux(started_now, 1, since + (since != 15)))
        with m.If(self.abort & (started_now | (aborted_after == 15))):
            m.d.sync += aborted_after.eq(Mux(started_now, 0, since))
        with m.Elif(started_now):
            m.d.sync += aborted_after.eq(15)
        m.d.sync += ignored.eq(resting & self.abort & ~self.start)

        # The first fault since the start, by its own account.
        arriving = Cat(source.valid for source in self.fault)
        known, code, address = Signal(), Signal(8), Signal(64)
        was_known = Signal()
        m.d.sync += [was_known.eq(known), early_before.eq(early)]
        with m.If(dut.clear):
            m.d.sync += known.eq(0)
        with m.Elif(running & ~known & (arriving.any() | self.abort | early)):
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
            with m.If(after_reset := Signal()):
                # Nothing but START begins, and where it may begin something, it does.
                m.d.comb += Assert(was_started == (dut.clear & (was != State.CLEARING)))
                with m.Switch(was):
                    for state, successors in LEGAL.items():
                        with m.Case(state):
                            m.d.comb += Assert(Cat(dut.state == s for s in successors).any())
                    with m.Default():
                        m.d.comb += Assert(0)
            m.d.comb += [
                Assert(running | draining | self.masters_idle),
                Assert(dut.clear == (dut.state == State.CLEARING)),
                Assert(dut.running == running),
                Assert(dut.stop == (dut.clear | (error != ErrorCode.NONE))),
                Assert(~dut.go | (running & (was == State.CLEARING))),
                Assert(dut.finished == (after_reset & (dut.state == State.DONE)
                                        & (was == State.RUNNING))),
                Assert(~(dut.failed & reported)),
                Assert(~dut.failed | draining | (dut.state == State.ERROR)),
                Assert((drained_for <= DRAIN_LIMIT) | reported),
                Assert(dut.clear | (dut._reported == (dut.failed | reported))),
                # Every fault and every abort of a program stops it at once.
                Assert(~(running & was_known)),
                Assert(~early_before | (was != State.RUNNING) | known),
            ]
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
                    # And nothing else does, such as what an engine says in CLEARING.
                    with m.If(~known & (error != ErrorCode.WATCHDOG)):
                        m.d.comb += [Assert(error == ErrorCode.NONE), Assert(~dut.stop)]
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
                *(
                    Cover((dut.state == State.ERROR) & (error == ErrorCode.ABORTED)
                          & (aborted_after == distance))
                    for distance in range(CLEAR_CYCLES + 3)
                ),
                Cover((dut.state == State.DONE) & ignored),
            ]
        m.d.sync += [after_reset.eq(first.started), was_started.eq(started_now)]
        return m


def test_proved():
    spec = SupervisorSpec(Supervisor(SOURCES, drain_limit=DRAIN_LIMIT))
    assert_proved(spec, depth=14, mode="prove")


def test_covered():
    assert_covered(SupervisorSpec(Supervisor(SOURCES, drain_limit=DRAIN_LIMIT)), depth=20)


@pytest.mark.parametrize(
    "fault",
    [
        "start while draining",
        "done although a fault arrives",
        "silent when the bus hangs",
        "stop ends with draining",
        "abort with start is lost",
        "abort while clearing is lost",
    ],
)
def test_broken_is_refuted(fault):
    assert_refuted(SupervisorSpec(BrokenSupervisor(fault)), depth=18)
