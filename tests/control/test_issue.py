# SPDX-License-Identifier: Apache-2.0
"""Each instruction passes once, unchanged, and only after its own acquisition."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.control.issue import Issue
from kiwicha.machine.isa import ENGINES, VECTOR

from ..support.bench import run_cocotb
from ..support.streams import (
    READY_POLICIES,
    StreamSink,
    StreamSource,
    start_clock_and_reset,
    unpack,
)


async def watch(dut, log):
    """Log transfers of ``acquire`` and ``o``; check ``stalled``."""
    while True:
        await RisingEdge(dut.clk)
        waits = dut.acquire__valid.value == 1 and dut.acquire__ready.value == 0
        assert dut.stalled.value == waits
        if dut.acquire__valid.value and dut.acquire__ready.value:
            log.append(("acquire", dut.acquire__payload.value.to_unsigned()))
        if dut.o__valid.value and dut.o__ready.value:
            log.append(("issue", unpack(VECTOR, dut.o__payload.value.to_unsigned())["wait"]))


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(tokens=READY_POLICIES, engine=READY_POLICIES)
async def acquires_then_issues(dut, tokens, engine):
    await start_clock_and_reset(dut)
    log: list[tuple[str, int]] = []
    cocotb.start_soon(watch(dut, log))
    chooser = random.Random(2)
    instructions = [chooser.getrandbits(VECTOR.size) for _ in range(100)]
    StreamSource(dut, "i", None, policy="random", seed=1).put(instructions)
    acquired = StreamSink(dut, "acquire", ENGINES, policy=tokens, seed=2)
    sink = StreamSink(dut, "o", None, policy=engine, seed=3)
    assert await sink.receive(len(instructions)) == instructions
    masks = [unpack(VECTOR, bits)["wait"] for bits in instructions]
    assert list(acquired.words) == masks
    await ClockCycles(dut.clk, 2)
    assert log == [entry for mask in masks for entry in (("acquire", mask), ("issue", mask))]


def test_issue():
    run_cocotb(Issue(VECTOR), __name__)
