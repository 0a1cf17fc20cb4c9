# SPDX-License-Identifier: Apache-2.0
"""The queue keeps order and content under every ready policy, and holds what it says."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, FallingEdge

from kiwicha.hw.parts.queue import Queue
from kiwicha.machine.config import PIPELINE
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset


@cocotb.test(timeout_time=100, timeout_unit="us")
@cocotb.parametrize(offer=["always", "random"], ready=READY_POLICIES)
async def keeps_order(dut, offer, ready):
    await start_clock_and_reset(dut)
    assert dut.empty.value == 1
    chooser = random.Random(3)
    words = [chooser.getrandbits(16) for _ in range(300)]
    source = StreamSource(dut, "i", 16, policy=offer, seed=3)
    sink = StreamSink(dut, "o", 16, policy=ready, seed=4)
    source.put(words)
    assert await sink.receive(len(words)) == words
    await ClockCycles(dut.clk, 2)
    assert dut.empty.value == 1


@cocotb.test(timeout_time=100, timeout_unit="us")
async def fills_up(dut):
    depth, capacity = bench_params()["depth"], bench_params()["capacity"]
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", 16)
    source.put(range(depth + 10))
    await ClockCycles(dut.clk, 2 * depth + 20)
    assert source.sent == capacity
    assert dut.empty.value == 0


@cocotb.test(timeout_time=100, timeout_unit="us")
async def takes_a_word_a_cycle(dut):
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", 16)
    sink = StreamSink(dut, "o", 16)
    source.put(range(100))
    await ClockCycles(dut.clk, 105)
    await FallingEdge(dut.clk)
    assert len(sink.words) == 100


@pytest.mark.parametrize(("depth", "beyond"), [(2, 1), (16, 1), (64, 2)])
def test_queue(depth, beyond):
    params = {"depth": depth, "capacity": depth + beyond}
    run_cocotb(Queue(16, depth), __name__, params=params)


def test_size_decides_what_it_is_made_of():
    depths = (2, 16, 32, 64)
    assert [Queue(16, depth).registered for depth in depths] == [False, False, False, True]
    assert Queue(16, 2, registered=True).registered


@pytest.mark.parametrize("pipeline", [PIPELINE, ("memory",)])
def test_machine_decides_whether_block_ram_has_a_register(pipeline):
    machine = preset("ecp5-8x8").replace(pipeline=pipeline)
    small, large = (Queue.of_machine(machine, 16, depth) for depth in (16, 64))
    assert (small.registered, large.registered) == (False, "queue" in pipeline)
    assert large.cells is machine.cells


def test_refuses_other_depths():
    for depth in (0, 1, 3):
        with pytest.raises(ValueError, match=f"^depth is {depth}; legal: a power of two"):
            Queue(8, depth)
