# SPDX-License-Identifier: Apache-2.0
"""Every way into and out of every state, and what is never lost: the first fault, the interrupt."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from hw.control.fault import FAULT
from hw.control.supervisor import CLEAR_CYCLES, SETTLE_CYCLES, State, Supervisor
from hw.isa import ErrorCode
from tests.support.bench import run_cocotb
from tests.support.streams import pack, start_clock_and_reset, unpack

DRAIN_LIMIT = 40
HIGH = 0xFEDC_BA98_7654_3210


class Bench:
    """Steps the supervisor and counts its pulses."""

    def __init__(self, dut):
        self.dut = dut
        self.finished = self.failed = self.go = self.cleared = 0

    async def begin(self, *, watchdog=0):
        await start_clock_and_reset(self.dut)
        self.dut.masters_idle.value = 1
        self.dut.watchdog_limit.value = watchdog

    async def step(self, cycles=1, **pulses):
        for name, value in pulses.items():
            getattr(self.dut, name).value = value
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)
            self.finished += int(self.dut.finished.value)
            self.failed += int(self.dut.failed.value)
            self.go += int(self.dut.go.value)
            self.cleared += int(self.dut.clear.value)
            for name in pulses:
                getattr(self.dut, name).value = 0

    @property
    def state(self):
        return State(self.dut.state.value.to_unsigned())

    @property
    def error(self):
        fault = unpack(FAULT, self.dut.error.value.to_unsigned())
        return ErrorCode(fault["code"]), fault["address"]

    async def run(self):
        """From START to RUNNING."""
        cleared, go = self.cleared, self.go
        await self.step(start=1)
        assert self.state is State.CLEARING
        assert self.dut.stop.value == 1
        await self.step(CLEAR_CYCLES)
        assert self.state is State.RUNNING
        assert self.dut.stop.value == 0
        assert (self.cleared - cleared, self.go - go) == (CLEAR_CYCLES, 1)
        await self.step()
        assert self.go - go == 1

    async def fault(self, source, code, address):
        getattr(self.dut, f"fault__{source}__payload").value = pack(
            FAULT, {"code": code.value, "address": address}
        )
        await self.step(**{f"fault__{source}__valid": 1})


@cocotb.test(timeout_time=50, timeout_unit="us")
async def runs_to_done(dut):
    bench = Bench(dut)
    await bench.begin()
    await bench.step(5)
    assert bench.state is State.IDLE
    for _ in range(3):
        await bench.run()
        dut.quiet.value = 1
        await bench.step(20)
        assert bench.state is State.RUNNING  # not before END
        dut.ended.value = 1
        # Any sign of life starts the wait again.
        for name in ("quiet", "masters_idle"):
            await bench.step(SETTLE_CYCLES - 1)
            getattr(dut, name).value = 0
            await bench.step(1)
            getattr(dut, name).value = 1
        await bench.step(SETTLE_CYCLES - 1)
        assert bench.state is State.RUNNING
        await bench.step(1)
        assert bench.state is State.DONE
        assert bench.error == (ErrorCode.NONE, 0)
        assert dut.stop.value == 0
        dut.ended.value = dut.quiet.value = 0
        await bench.step(5, abort=1)
        assert bench.state is State.DONE
        assert bench.error == (ErrorCode.NONE, 0)
    assert (bench.finished, bench.failed) == (3, 0)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def reports_the_first_fault(dut):
    bench = Bench(dut)
    await bench.begin()
    await bench.run()
    dut.masters_idle.value = 0
    getattr(dut, "fault__0__payload").value = pack(FAULT, {"code": 7, "address": HIGH})
    dut.fault__0__valid.value = 1
    await bench.fault(1, ErrorCode.WRITE_WINDOW, 0x1234)
    dut.fault__0__valid.value = 0
    assert dut.stop.value == 1
    await bench.fault(1, ErrorCode.ILLEGAL_FIELD, 9)
    await bench.step(start=1, abort=1)
    assert bench.state is State.DRAINING
    await bench.step(DRAIN_LIMIT // 2)
    assert bench.failed == 0
    dut.masters_idle.value = 1
    await bench.step(SETTLE_CYCLES)
    assert bench.state is State.ERROR
    await bench.step(5)
    assert bench.error == (ErrorCode.WRITE_RESPONSE, HIGH)
    assert bench.failed == 1
    assert dut.stop.value == 1
    # Ignored without a program; gone with the next start.
    await bench.fault(1, ErrorCode.ILLEGAL_FIELD, 9)
    await bench.run()
    assert bench.error == (ErrorCode.NONE, 0)
    await bench.step(10)
    assert bench.state is State.RUNNING


@cocotb.test(timeout_time=50, timeout_unit="us")
async def aborts(dut):
    bench = Bench(dut)
    await bench.begin()
    await bench.run()
    await bench.step(abort=1)
    await bench.step(10)
    assert bench.state is State.ERROR
    assert bench.error == (ErrorCode.ABORTED, 0)
    assert (bench.finished, bench.failed) == (0, 1)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def never_loses_an_abort(dut):
    # Wherever it falls around the end of the program: either DONE and no error, or ERROR and one.
    for delay in range(12):
        bench = Bench(dut)
        await bench.begin()
        await bench.run()
        await bench.step(ended=0, quiet=0)
        dut.ended.value = dut.quiet.value = 1
        await bench.step(delay)
        await bench.step(abort=1)
        await bench.step(10)
        done = delay >= SETTLE_CYCLES
        assert bench.state is (State.DONE if done else State.ERROR)
        assert bench.error == (ErrorCode.NONE if done else ErrorCode.ABORTED, 0)
        assert (bench.finished, bench.failed) == (done, not done)
        assert dut.stop.value == (not done)


@cocotb.test(timeout_time=100, timeout_unit="us")
async def watchdog_bites_after_its_limit(dut):
    for limit in (3, 4, 17):
        bench = Bench(dut)
        await bench.begin(watchdog=limit)
        await bench.run()
        for _ in range(3):
            await bench.step(progress=1)
            await bench.step(limit - 1)
        await bench.step(progress=1)
        assert bench.state is State.RUNNING
        await bench.step(limit)
        assert bench.state is State.RUNNING
        await bench.step(3)
        assert bench.state is State.DRAINING
        assert bench.error == (ErrorCode.WATCHDOG, 0)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def watchdog_off(dut):
    bench = Bench(dut)
    await bench.begin(watchdog=0)
    await bench.run()
    await bench.step(1000)
    assert bench.state is State.RUNNING


@cocotb.test(timeout_time=50, timeout_unit="us")
async def interrupts_although_the_bus_hangs(dut):
    bench = Bench(dut)
    await bench.begin(watchdog=10)
    dut.masters_idle.value = 0
    await bench.run()
    await bench.step(10 + 4)
    assert bench.state is State.DRAINING
    await bench.step(DRAIN_LIMIT)
    assert bench.failed == 1
    await bench.step(5 * DRAIN_LIMIT, start=1)
    assert bench.state is State.DRAINING
    assert bench.failed == 1
    # A late answer still leads on, without a second interrupt.
    dut.masters_idle.value = 1
    await bench.step(10)
    assert bench.state is State.ERROR
    assert bench.failed == 1
    await bench.run()


@cocotb.test(timeout_time=500, timeout_unit="us")
async def random_walk(dut):
    chooser = random.Random(8)
    bench = Bench(dut)
    await bench.begin(watchdog=30)
    was = now = State.IDLE
    seen = set()
    legal = {
        (State.IDLE, State.CLEARING), (State.CLEARING, State.RUNNING), (State.RUNNING, State.DONE),
        (State.RUNNING, State.DRAINING), (State.DRAINING, State.ERROR),
        (State.DONE, State.CLEARING), (State.ERROR, State.CLEARING),
    }  # fmt: skip
    entered = dict.fromkeys(State, 0)
    for _ in range(10000):
        pulses = {"start": 0.1, "abort": 0.01, "progress": 0.2, "fault__1__valid": 0.01}
        levels = {"ended": 0.5, "quiet": 0.9, "masters_idle": 0.9}
        if chooser.random() < 0.2:
            for name, chance in levels.items():
                getattr(dut, name).value = chooser.random() < chance
        if now in (State.IDLE, State.CLEARING, State.DONE):
            address = chooser.getrandbits(64)
        dut.fault__1__payload.value = pack(FAULT, {"code": 5, "address": address})
        await bench.step(**{n: chooser.random() < chance for n, chance in pulses.items()})
        now = bench.state
        if now is not was:
            assert (was, now) in legal
            seen.add((was, now))
            entered[now] += 1
        if now in (State.IDLE, State.DONE):
            assert bench.error == (ErrorCode.NONE, 0)
        if now in (State.DRAINING, State.ERROR):
            assert bench.error in {
                (ErrorCode.WRITE_WINDOW, address), (ErrorCode.WATCHDOG, 0), (ErrorCode.ABORTED, 0)
            }  # fmt: skip
        was = now
    await bench.step()
    assert seen == legal
    assert bench.finished == entered[State.DONE]
    assert bench.go == entered[State.RUNNING]


def test_supervisor():
    run_cocotb(Supervisor(2, drain_limit=DRAIN_LIMIT), __name__)


def test_refuses_no_drain_limit():
    with pytest.raises(ValueError, match="^drain_limit is 0; legal: at least 1$"):
        Supervisor(1, drain_limit=0)


def test_refuses_no_clear_cycles():
    with pytest.raises(ValueError, match="^clear_cycles is 0; legal: at least 1$"):
        Supervisor(1, clear_cycles=0)
