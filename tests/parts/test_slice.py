# SPDX-License-Identifier: Apache-2.0
"""The register slice keeps order and content under every ready policy, at a word a cycle."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, FallingEdge

from kiwicha.hw.parts.slice import RegisterSlice

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset


@cocotb.test(timeout_time=100, timeout_unit="us")
@cocotb.parametrize(offer=["always", "random"], ready=READY_POLICIES)
async def keeps_order(dut, offer, ready):
    await start_clock_and_reset(dut)
    chooser = random.Random(3)
    words = [chooser.getrandbits(16) for _ in range(300)]
    source = StreamSource(dut, "i", 16, policy=offer, seed=3)
    sink = StreamSink(dut, "o", 16, policy=ready, seed=4)
    source.put(words)
    assert await sink.receive(len(words)) == words
    await ClockCycles(dut.clk, 5)
    assert not sink.words


@cocotb.test(timeout_time=100, timeout_unit="us")
async def takes_a_word_a_cycle(dut):
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", 16)
    sink = StreamSink(dut, "o", 16)
    source.put(range(100))
    await ClockCycles(dut.clk, 102)
    await FallingEdge(dut.clk)
    assert len(sink.words) == 100


@cocotb.test(timeout_time=100, timeout_unit="us")
async def holds(dut):
    """A full slice takes one word while it holds, a forward one none; and none goes out."""
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", 16)
    sink = StreamSink(dut, "o", 16)
    dut.hold.value = 1
    source.put(range(10))
    await ClockCycles(dut.clk, 20)
    assert source.sent == bench_params()["inside"]
    assert not sink.words
    dut.hold.value = 0
    assert await sink.receive(10) == list(range(10))


@pytest.mark.parametrize(("full", "inside"), [(True, 1), (False, 0)])
def test_slice(full, inside):
    run_cocotb(RegisterSlice(16, full), __name__, params={"inside": inside})
