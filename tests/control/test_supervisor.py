# SPDX-License-Identifier: Apache-2.0
"""Every way into and out of every state, and what is never lost: the first fault, the interrupt."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.control.supervisor import CLEAR_CYCLES, SETTLE_CYCLES, State, Supervisor
from kiwicha.hw.parts.fault import FAULT
from kiwicha.machine.isa import ErrorCode

from ..support.bench import run_cocotb
from ..support.streams import pack, start_clock_and_reset, unpack
from .supervisor_model import DRAIN_LIMIT, Model

WATCHDOG_BITS = 6  # as many as a test can count through
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
    for limit in (3, 4, 5, 9, 17, 33):
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


@cocotb.test(timeout_time=200, timeout_unit="us")
async def follows_its_model(dut):
    chooser = random.Random(8)
    await start_clock_and_reset(dut)
    steps, reached = set(), set()

    def chance(probability):
        return chooser.random() < probability

    def fault(valid):
        return (chooser.randrange(1, 256), chooser.getrandbits(64)) if valid else None

    model = Model(0)
    for cycle in range(9_000):
        if cycle % 300 == 0:  # another temper, from wherever the machine is
            dut.rst.value = 1
            await FallingEdge(dut.clk)
            dut.rst.value = 0
            # 3 bites with what ends a program; those next to a power of two share bits with 1.
            power = 1 << chooser.randrange(WATCHDOG_BITS)
            limit = chooser.choice([0, 1, 2, 3, 3, power, power | 1,
                                    chooser.randrange(1 << WATCHDOG_BITS)])
            dut.watchdog_limit.value = limit
            model = Model(limit)
            pace, faulty = chooser.choice([0.01, 0.3, 0.9]), chooser.choice([0, 0.01, 0.1])
            hang, abort_rate = chooser.choice([0, 0.5, 0.99]), chooser.choice([0, 0.005, 0.3])
            quiet_rate = chooser.choice([0.2, 0.9, 1])
        before = model.state
        inputs = {
            "start": chance(0.2), "abort": chance(abort_rate), "ended": chance(quiet_rate),
            "quiet": chance(quiet_rate), "progress": chance(pace),
        }
        faults = [fault(chance(faulty)) for _ in range(2)]
        idle = before is not State.DRAINING or not chance(hang)
        idle = idle and (before is not State.RUNNING or chance(0.95))
        for name, value in inputs.items():
            getattr(dut, name).value = int(value)
        dut.masters_idle.value = int(idle)
        for number, each in enumerate(faults):
            code, address = each or fault(True)
            getattr(dut, f"fault__{number}__valid").value = int(each is not None)
            getattr(dut, f"fault__{number}__payload").value = code | address << 8
        model.step(**inputs, faults=faults, idle=idle)
        await FallingEdge(dut.clk)
        for name, value in model.shows().items():
            found = int(getattr(dut, name).value)
            assert found == value, f"cycle {cycle}, {before.name}: {name} is {found}, not {value}"
        steps.add((before, model.state))
        if model.state is State.ERROR:
            reached.add(model.fault[0])
    assert {(a, b) for a, b in steps if a is not b} == {
        (State.IDLE, State.CLEARING), (State.CLEARING, State.RUNNING), (State.RUNNING, State.DONE),
        (State.RUNNING, State.DRAINING), (State.DRAINING, State.ERROR),
        (State.DONE, State.CLEARING), (State.ERROR, State.CLEARING),
    }
    assert {ErrorCode.WATCHDOG, ErrorCode.ABORTED} <= reached


def unit():
    """Return the supervisor that these tests take."""
    return Supervisor(2, drain_limit=DRAIN_LIMIT, watchdog_bits=WATCHDOG_BITS)


def test_supervisor():
    run_cocotb(unit(), __name__)


def test_refuses_no_drain_limit():
    with pytest.raises(ValueError, match="^drain_limit is 0; legal: at least 1$"):
        Supervisor(1, drain_limit=0)


def test_refuses_no_clear_cycles():
    with pytest.raises(ValueError, match="^clear_cycles is 0; legal: at least 1$"):
        Supervisor(1, clear_cycles=0)
