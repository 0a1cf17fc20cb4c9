# SPDX-License-Identifier: Apache-2.0
"""Bursts cover each run exactly, cut at blocks; runs outside the window are refused."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.parts.axi import REQUEST
from kiwicha.hw.parts.bursts import BurstPlanner, block_beats, burst_layout
from kiwicha.machine.isa import ErrorCode
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset


def machine(burst, width=64, address=32):
    return preset("tiny").replace(
        axi_burst_beats=burst, axi_data_width=width, axi_address_width=address
    )


def expected(cfg, address, beats):
    """Bursts of a run: cut wherever a block begins."""
    block = block_beats(cfg) * cfg.beat_bytes
    end = address + beats * cfg.beat_bytes
    while address < end:
        stop = min(end, (address // block + 1) * block)
        length = (stop - address) // cfg.beat_bytes - 1
        yield {"address": address, "length": length, "last": int(stop == end)}
        address = stop


@cocotb.test(timeout_time=500, timeout_unit="us")
async def splits(dut):
    params = bench_params()
    cfg = machine(params["burst"], params["width"])
    chooser = random.Random(params["seed"])
    await start_clock_and_reset(dut)
    dut.window_limit.value = (1 << cfg.axi_address_width) - 1
    requests, bursts = [], []
    offsets = range(4096 // cfg.beat_bytes)
    if params["ready"] != "always":
        offsets = chooser.sample(offsets, 40)
    for offset in offsets:
        address = (chooser.randrange(1 << 18) << 12) + offset * cfg.beat_bytes
        beats = chooser.choice((1, 2, chooser.randint(1, 3 * cfg.axi_burst_beats)))
        requests.append({"address": address, "beats": beats})
        bursts += expected(cfg, address, beats)
    source = StreamSource(dut, "request", REQUEST, seed=params["seed"])
    sink = StreamSink(dut, "o", burst_layout(cfg), policy=params["ready"], seed=params["seed"])
    source.put(requests)
    assert await sink.receive(len(bursts)) == bursts
    await ClockCycles(dut.clk, 2)
    assert not dut.pending.value


@cocotb.test(timeout_time=50, timeout_unit="us")
async def refuses(dut):
    cfg = machine(4)
    base, limit = 0x1_1008, 0x2_2040
    await start_clock_and_reset(dut)
    dut.window_base.value = base
    dut.window_limit.value = limit
    source = StreamSource(dut, "request", REQUEST)
    sink = StreamSink(dut, "o", burst_layout(cfg))
    whole = (limit - base) // 8
    inside = [(base, 1), (limit - 8, 1), (base, whole)]
    outside = [
        (base - 8, 1), (base - 8, 2), (limit, 1), (limit - 8, 2), (base, whole + 1),
        (base - 8, whole + 2), (base + (1 << 32), 1), (base + (1 << 63), 1), (0, 1),
        (base, 0), (base, 0xFFFF_FFFF), ((1 << 64) - 8, 1), ((1 << 64) - 8, (base >> 3) + 2),
        ((1 << 32) - 8, 1), ((1 << 32) - 8, (base >> 3) + 2),
    ]
    faults = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if dut.error__valid.value:
                faults.append(int(dut.error__payload.value))

    cocotb.start_soon(watch())
    for address, beats in outside:
        source.put([{"address": address, "beats": beats}])
    await source.send([{"address": address, "beats": beats} for address, beats in inside])
    bursts = [burst for address, beats in inside for burst in expected(cfg, address, beats)]
    assert await sink.receive(len(bursts)) == bursts
    assert faults == [address << 8 | ErrorCode.READ_WINDOW for address, _ in outside]


@cocotb.test(timeout_time=50, timeout_unit="us")
async def grants_whole_beats(dut):
    """What `registers.md` says of windows: also that nobody is granted the last beat of all."""
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "request", REQUEST)
    sink = StreamSink(dut, "o", burst_layout(machine(4)))
    top = (1 << 32) - 8
    for base, limit, refused, granted in [
        (0, (1 << 32) - 1, top, top - 8), (3, 64, 0, 8), (8, 63, 56, 48), (8, 8, 8, None),
    ]:
        dut.window_base.value, dut.window_limit.value = base, limit
        await source.send([{"address": refused, "beats": 1}])
        while not dut.error__valid.value:
            await RisingEdge(dut.clk)
        assert int(dut.error__payload.value) == refused << 8 | ErrorCode.READ_WINDOW
        if granted is not None:
            await source.send([{"address": granted, "beats": 1}])
            (burst,) = await sink.receive(1)
            assert burst["address"] == granted
        while dut.pending.value:
            await RisingEdge(dut.clk)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def keeps_pace(dut):
    await start_clock_and_reset(dut)
    dut.window_limit.value = 0xFFFF_FFFF
    source = StreamSource(dut, "request", REQUEST)
    dut.o__ready.value = 1
    source.put([{"address": 0x1000 * index, "beats": 1} for index in range(32)])
    source.put([{"address": 0, "beats": 128}])
    cycles = []
    for cycle in range(120):
        await RisingEdge(dut.clk)
        if dut.o__valid.value:
            cycles.append(cycle)
    gaps = [after - before for before, after in zip(cycles, cycles[1:], strict=False)]
    assert gaps == [2] * 32 + [1] * 31


@pytest.mark.parametrize(
    ("burst", "width", "ready"),
    [*((16, 64, ready) for ready in READY_POLICIES), (1, 64, "always"), (256, 256, "always")],
)
def test_splits(burst, width, ready):
    unit = BurstPlanner(machine(burst, width), ErrorCode.READ_WINDOW)
    params = {"ready": ready, "burst": burst, "width": width, "seed": 11}
    run_cocotb(unit, __name__, params=params, testcase="splits")


def test_refuses():
    run_cocotb(BurstPlanner(machine(4), ErrorCode.READ_WINDOW), __name__, testcase="refuses")


def test_grants_whole_beats():
    unit = BurstPlanner(machine(4), ErrorCode.READ_WINDOW)
    run_cocotb(unit, __name__, testcase="grants_whole_beats")


def test_keeps_pace():
    run_cocotb(BurstPlanner(machine(4), ErrorCode.READ_WINDOW), __name__, testcase="keeps_pace")


@pytest.mark.parametrize(("burst", "width", "block"), [(1, 64, 1), (64, 128, 64), (256, 256, 128)])
def test_block_beats(burst, width, block):
    assert block_beats(machine(burst, width)) == block
