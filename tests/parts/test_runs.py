# SPDX-License-Identifier: Apache-2.0
"""The segment walker: positions, beats and ends of every segment, under back-pressure."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.parts.pieces import load_targets
from kiwicha.hw.parts.runs import SegmentWalker, segment_layout
from kiwicha.machine.isa import LOAD, Engine, ErrorCode
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset

CFG = preset("tiny")
BEAT = CFG.beat_bytes
KINDS = load_targets(CFG)


def random_instruction(chooser, width=CFG.axi_address_width):
    """Return a legal instruction, in every other case anywhere in 64 bits of address."""
    while True:
        target = chooser.choice(list(KINDS))
        local = chooser.randrange(KINDS[target])
        length = chooser.choice((1, BEAT, chooser.randint(1, 200)))
        segments = chooser.randint(1, 6)
        local_pitch = chooser.randint(-300, 300)
        pitch = chooser.randrange(-(1 << 31), 1 << 31) // BEAT * BEAT + local_pitch % BEAT
        ends = (local, local + (segments - 1) * local_pitch)
        if min(ends) >= 0 and max(ends) + length <= KINDS[target]:
            return dict.fromkeys(LOAD.members, 0) | {
                "target": target, "local": local, "length": length, "segments": segments,
                "address": chooser.getrandbits(chooser.choice((width, 64))) // BEAT * BEAT
                + local % BEAT,
                "pitch": pitch, "local_pitch": local_pitch, "signal": chooser.randrange(16),
            }


def segments(load, width=CFG.axi_address_width):
    """Return the segments of an instruction; those after one that is nowhere are nowhere too."""
    result = []
    space, nowhere = 1 << width, 0
    for k in range(load["segments"]):
        address = load["address"] + k * load["pitch"]
        if not 0 <= address < space:
            nowhere = (1 << 64) - space
        address = nowhere + address % space
        local = load["local"] + k * load["local_pitch"]
        last = address + load["length"] - 1
        result.append({
            "kind": int(load["target"]),
            "address": address // BEAT * BEAT,
            "local": local // BEAT,
            "span": last // BEAT - address // BEAT,
            "head": address % BEAT,
            "tail": last % BEAT,
            "last": int(k == load["segments"] - 1),
            "signal": load["signal"],
        })
    return result


@cocotb.test(timeout_time=100, timeout_unit="us")
async def walks(dut):
    params = bench_params()
    chooser = random.Random(params["seed"])
    await start_clock_and_reset(dut)
    width = params["width"]
    loads = [random_instruction(chooser, width) for _ in range(60)]
    expected = [segment for load in loads for segment in segments(load, width)]
    source = StreamSource(dut, "i", LOAD, policy=params["offer"], seed=params["seed"])
    sink = StreamSink(
        dut, "o", segment_layout(CFG, KINDS), policy=params["ready"], seed=params["seed"]
    )
    source.put(loads)
    assert await sink.receive(len(expected)) == expected
    await ClockCycles(dut.clk, 10)
    assert not sink.words


@cocotb.test(timeout_time=50, timeout_unit="us")
async def keeps_pace(dut):
    await start_clock_and_reset(dut)
    chooser = random.Random(1)
    loads = [random_instruction(chooser) for _ in range(10)]
    StreamSource(dut, "i", LOAD).put(loads)
    dut.o__ready.value = 1
    cycles = []
    total = sum(load["segments"] for load in loads)
    # A cycle is lost behind an instruction of one segment: the next is not judged yet.
    gaps = sum(load["segments"] == 1 for load in loads[:-1])
    assert gaps
    for cycle in range(total + gaps + 20):
        await RisingEdge(dut.clk)
        if dut.o__valid.value:
            cycles.append(cycle)
    assert len(cycles) == total == cycles[-1] - cycles[0] + 1 - gaps


@cocotb.test(timeout_time=50, timeout_unit="us")
async def halts(dut):
    await start_clock_and_reset(dut)
    chooser = random.Random(2)
    loads = [random_instruction(chooser) for _ in range(10)]
    expected = [segment for load in loads for segment in segments(load)]
    sink = StreamSink(dut, "o", segment_layout(CFG, KINDS), policy="random")
    StreamSource(dut, "i", LOAD).put(loads)
    for _ in range(5):
        await ClockCycles(dut.clk, 7)
        dut.stop.value = 1
        await ClockCycles(dut.clk, 10)
        assert not dut.o__valid.value
        before = len(sink.words)
        await ClockCycles(dut.clk, 10)
        assert len(sink.words) == before
        dut.stop.value = 0
    assert await sink.receive(len(expected)) == expected


@cocotb.test(timeout_time=50, timeout_unit="us")
@cocotb.parametrize(first=range(1, 8))
async def reports_once(dut, first):
    """The fault of the first instruction that has one, however soon another follows."""
    base = dict.fromkeys(LOAD.members, 0) | {"target": next(iter(KINDS)), "length": BEAT}
    nowhere, illegal = base | {"local": 1 << 31}, base | {"reserved0": 1, "segments": 1}
    await start_clock_and_reset(dut)
    dut.o__ready.value = 1
    StreamSource(dut, "i", LOAD).put([nowhere | {"segments": first}, illegal, illegal])
    codes = []
    for _ in range(30):
        await RisingEdge(dut.clk)
        if dut.error__valid.value:
            codes.append(dut.error__payload.value.to_unsigned() & 0xFF)
    assert codes == [ErrorCode.SCRATCHPAD_RANGE]


@pytest.mark.parametrize("ready", READY_POLICIES)
@pytest.mark.parametrize("offer", ["always", "random"])
def test_walks(ready, offer):
    params = {"ready": ready, "offer": offer, "seed": 71, "width": CFG.axi_address_width}
    unit = SegmentWalker(CFG, LOAD, Engine.LOAD, KINDS)
    run_cocotb(unit, __name__, params=params, testcase="walks")


@pytest.mark.parametrize("width", [16, 31, 33, 48])
def test_address_widths(width):
    params = {"ready": "always", "offer": "always", "seed": 72, "width": width}
    unit = SegmentWalker(CFG.replace(axi_address_width=width), LOAD, Engine.LOAD, KINDS)
    run_cocotb(unit, __name__, params=params, testcase="walks")


@pytest.mark.parametrize("case", ["keeps_pace", "halts", "reports_once"])
def test_rules(case):
    run_cocotb(SegmentWalker(CFG, LOAD, Engine.LOAD, KINDS), __name__, testcase=case)


@pytest.mark.parametrize("size", [4, 100])
def test_kinds_are_checked(size):
    message = rf"^kinds\[0\] is {size}; legal: a power of two of beats$"
    with pytest.raises(ValueError, match=message):
        SegmentWalker(CFG, LOAD, Engine.LOAD, {0: size})
