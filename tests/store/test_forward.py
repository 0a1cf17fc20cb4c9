# SPDX-License-Identifier: Apache-2.0
"""STORE's way on chip: which beat of which memory, what leaves it, and how beats part."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from kiwicha.hw.parts.axi import write_beat
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.store.forward import Forward, Way, read_beat_layout, way_layout
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.destination import FORWARDED, StoreDestination, destinations

from ..support.bench import bench_params, run_cocotb
from ..support.streams import (
    READY_POLICIES,
    StreamSink,
    StreamSource,
    start_clock_and_reset,
    unpack,
)

BEAT = 8
MACHINE = AcceleratorConfig(
    rows=4, columns=4, requantize_lanes=4, axi_data_width=8 * BEAT, activation_bytes=1024,
    special={"lanes": 2, "bytes": 256}, forwarding=True,
)


@cocotb.test(timeout_time=100, timeout_unit="us")
async def counts_through_a_memory(dut):
    chooser, shape = random.Random(1), way_layout(MACHINE)
    sizes = destinations(MACHINE)
    await start_clock_and_reset(dut)
    for _ in range(60):
        kind = chooser.choice([StoreDestination.MEMORY, *sizes])
        size = sizes.get(kind, 1 << 40)
        beats = chooser.randint(1, 9)
        first = chooser.choice((0, size - BEAT * beats, BEAT * chooser.randrange(16)))
        beyond = kind in sizes and chooser.random() < 0.3
        if beyond:
            first = chooser.choice((size, size - BEAT * (beats - 1), size << 8, 1 << 63))
        dut.start.value, dut.destination.value, dut.address.value = 1, kind, first + 3
        await FallingEdge(dut.clk)
        dut.start.value, dut.address.value = 0, chooser.getrandbits(64)
        for number in range(beats):
            inside = kind not in sizes or first + number * BEAT < size
            dut.final.value = int(number == beats - 1)
            await Timer(1, "ns")
            assert dut.astray.value == (not inside), (kind, first, number)
            if not inside:
                break
            way = unpack(shape, int(dut.o.value))
            assert way["destination"] == kind
            assert way["final"] == (number == beats - 1)
            if kind in sizes:
                assert way["place"] * BEAT == first // BEAT * BEAT + number * BEAT
            dut.step.value = 1
            await FallingEdge(dut.clk)
            dut.step.value = 0
        if beyond:
            for _ in range(3):  # for good
                await FallingEdge(dut.clk)
                assert dut.failed.value
                assert dut.astray.value
            dut.rst.value = 1
            await FallingEdge(dut.clk)
            dut.rst.value = 0


@cocotb.test(timeout_time=100, timeout_unit="us")
async def parts_beats(dut):
    policy, chooser = bench_params()["policy"], random.Random(2)
    await start_clock_and_reset(dut)
    shape = read_beat_layout(MACHINE)
    source = StreamSource(dut, "i", shape, policy="random" if policy == "after_valid" else policy)
    memory = StreamSink(dut, "data", write_beat(MACHINE), policy=policy, seed=3)
    chip = StreamSink(dut, "forward", scratchpad_write(MACHINE), policy=policy, seed=4)
    beats, outside, inside, finals = [], [], [], 0
    for _ in range(300):
        word, strobe = chooser.getrandbits(8 * BEAT), chooser.getrandbits(BEAT)
        kind = chooser.choice(list(StoreDestination))
        size = destinations(MACHINE).get(kind, BEAT)
        place, final = chooser.randrange(size // BEAT), chooser.getrandbits(1)
        way = {"destination": kind, "place": place, "final": final}
        beats.append({"data": word, "strobe": strobe, "way": way})
        if kind == StoreDestination.MEMORY:
            outside.append({"data": word, "strobe": strobe})
        else:
            inside.append({"target": FORWARDED[kind], "address": place * BEAT, "data": word})
            finals += final
    source.put(beats)
    ended = 0
    while len(memory.words) < len(outside) or len(chip.words) < len(inside):
        await RisingEdge(dut.clk)
        ended += int(dut.written.value)
        # No end before the beat was taken.
        assert ended <= len(chip.words)
    for _ in range(2):
        await RisingEdge(dut.clk)
        ended += int(dut.written.value)
    assert list(memory.words) == outside
    assert list(chip.words) == inside
    assert ended == finals


def test_counts_through_a_memory():
    run_cocotb(Way(MACHINE), __name__, testcase="counts_through_a_memory")


@pytest.mark.parametrize("policy", READY_POLICIES)
def test_parts_beats(policy):
    run_cocotb(Forward(MACHINE), __name__, params={"policy": policy}, testcase="parts_beats")
