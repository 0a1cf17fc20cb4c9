# SPDX-License-Identifier: Apache-2.0
"""The queue of bytes: parts of beats in, runs of any length out, none lost and none twice."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.parts.realign import ROWS, Realigner, part_layout

from ..support.bench import bench_params, run_cocotb
from ..support.netlist import assert_structure
from ..support.streams import StreamSource, start_clock_and_reset


def parts(chooser, beat, count, whole):
    """Return beats and the bytes of them that count."""
    beats, octets = [], b""
    for number in range(count):
        data = chooser.randbytes(beat)
        head = 0 if whole else chooser.choice((0, 0, chooser.randrange(beat)))
        tail = beat - 1 if whole else chooser.choice((beat - 1, chooser.randrange(head, beat)))
        octets += data[head : tail + 1]
        beats.append({
            "data": int.from_bytes(data, "little"), "head": head, "tail": tail,
            "last": number == count - 1,
        })
    return beats, octets


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def closes_up(dut):
    params = bench_params()
    beat, greed = params["beat"], params["greed"]
    chooser = random.Random(params["offer"])
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", part_layout(beat), policy=params["offer"])
    for count in (1, 2, 40, 120):
        beats, octets = parts(chooser, beat, count, whole=False)
        source.put(beats)
        found, due, cycles = b"", [], 0
        while len(found) < len(octets):
            await FallingEdge(dut.clk)
            cycles += 1
            assert cycles < 40 * count + 100
            if len(due) == 2:
                taken = due.pop(0)
                found += dut.o.value.to_unsigned().to_bytes(beat, "little")[:taken]
            level = int(dut.level.value)
            assert level <= ROWS * beat
            most = min(beat, level)
            take = chooser.randint(0, most) if chooser.random() < greed else 0
            dut.take.value = int(take > 0)
            dut.count.value = take if take else chooser.randint(0, beat)
            due.append(take)
        assert found == octets
        assert int(dut.ended.value)
        assert int(dut.level.value) == 0
        dut.take.value = 0
        dut.restart.value = 1
        await FallingEdge(dut.clk)
        dut.restart.value = 0
        assert not int(dut.ended.value)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def keeps_pace(dut):
    """After any first part, a beat a cycle goes in and out; the first one after three cycles."""
    beat, head = bench_params()["beat"], bench_params()["head"]
    await start_clock_and_reset(dut)
    beats, _ = parts(random.Random(1), beat, 50, whole=True)
    beats[0]["head"] = head
    dut.count.value = beat
    StreamSource(dut, "i", part_layout(beat)).put(beats)
    # The first part is offered in this cycle, 0.
    taken, cycle = [], 0
    while len(taken) < 49:
        await FallingEdge(dut.clk)
        cycle += 1
        dut.take.value = int(int(dut.level.value) >= beat)
        if int(dut.level.value) >= beat:
            taken.append(cycle)
    assert taken[-1] - taken[0] == 48
    assert taken[0] == 3 + (head > 0)


@pytest.mark.parametrize("offer", ["always", "random", "bursty"])
@pytest.mark.parametrize(("beat", "greed"), [(8, 0.9), (8, 0.3), (16, 0.7)])
def test_closes_up(beat, greed, offer):
    params = {"beat": beat, "greed": greed, "offer": offer}
    run_cocotb(Realigner(beat), __name__, params=params, testcase="closes_up")


@pytest.mark.parametrize("head", [0, 1, 7])
def test_keeps_pace(head):
    params = {"beat": 8, "head": head}
    run_cocotb(Realigner(8), __name__, params=params, testcase="keeps_pace")


def test_structure():
    assert_structure(Realigner(8))
