# SPDX-License-Identifier: Apache-2.0
"""The whole program arrives, in order, and no read data ever has to wait."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from kiwicha.hw.control.dispatch import PROGRAM_WORD
from kiwicha.hw.control.fetch import FETCH_NUMBER, Fetch
from kiwicha.hw.parts.axi import REQUEST
from kiwicha.hw.parts.fault import FAULT
from kiwicha.machine.isa import ErrorCode
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, start_clock_and_reset, unpack

BASE = 0x5A5A_5FC0
OTHER_BASE = 0xA5A5_A040


class Memory:
    """Answers requests in order, after some cycles; checks them against the program's extent."""

    def __init__(self, dut, words, policy, seed, *, base=BASE, latency=8):
        self.dut = dut
        self.words = words
        self.base = base
        self.bytes = bench_params()["beat_bytes"]
        self.requests = StreamSink(dut, "request", REQUEST, policy=policy, seed=seed)
        self.seen = []
        self.chooser = random.Random(seed)
        self.latency = latency
        cocotb.start_soon(self.run())

    async def run(self):
        dut = self.dut
        per_beat = self.bytes // 8
        while True:
            (request,) = await self.requests.receive(1)
            self.seen.append(request)
            await ClockCycles(dut.clk, self.latency)
            first = (request["address"] - self.base) // 8
            for beat in range(request["beats"]):
                while self.chooser.random() < 0.3:
                    await FallingEdge(dut.clk)
                low = first + beat * per_beat
                parts = (self.words + [0xBAD] * per_beat)[low : low + per_beat]
                await FallingEdge(dut.clk)
                dut.data__valid.value = 1
                dut.data__payload.value = sum(w << 64 * k for k, w in enumerate(parts)) | (
                    (beat == request["beats"] - 1) << 8 * self.bytes
                )
                await RisingEdge(dut.clk)
                assert dut.data__ready.value == 1
                await FallingEdge(dut.clk)
                dut.data__valid.value = 0


async def go(dut, address, length):
    await FallingEdge(dut.clk)
    dut.address.value = address
    dut.length.value = length
    dut.go.value = 1
    await FallingEdge(dut.clk)
    dut.go.value = 0


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(ready=READY_POLICIES, count=[1, 2, 3, 64, 129])
async def fetches(dut, ready, count):
    await start_clock_and_reset(dut)
    chooser = random.Random(count)
    words = [chooser.getrandbits(64) for _ in range(count)]
    base = OTHER_BASE if count % 2 else BASE
    memory = Memory(dut, words, "random", count, base=base)
    sink = StreamSink(dut, "words", PROGRAM_WORD, policy=ready, seed=count)
    faults = StreamSink(dut, "error", FAULT)
    await go(dut, base, 8 * count)
    got = await sink.receive(count)
    assert got == [{"word": w, "address": base + 8 * k} for k, w in enumerate(words)]
    # END was not said: the program ran out.
    assert await faults.receive(1) == [
        {"code": ErrorCode.PROGRAM_END.value, "address": base + 8 * count}
    ]
    await ClockCycles(dut.clk, 50)
    assert dut.busy.value == 0
    assert not sink.words
    assert not faults.words
    beats = -(-8 * count // memory.bytes)
    assert sum(request["beats"] for request in memory.seen) == beats
    position = base
    for request in memory.seen:
        assert request["address"] == position
        position += request["beats"] * memory.bytes


@cocotb.test(timeout_time=1000, timeout_unit="us")
@cocotb.parametrize(run=[1, 2, 5, 7, 9, 11, 13])
async def buffers_what_it_asked_for(dut, run):
    # Stalls long enough for everything asked for to arrive, at every fill of the buffer.
    await start_clock_and_reset(dut)
    chooser = random.Random(run)
    words = [chooser.getrandbits(64) for _ in range(200)]
    Memory(dut, words, "always", run, latency=1)
    await go(dut, BASE, 8 * len(words))
    got = []
    while len(got) < len(words):
        await ClockCycles(dut.clk, 60)
        await FallingEdge(dut.clk)
        dut.words__ready.value = 1
        for _ in range(run):
            if dut.words__valid.value:
                word = unpack(PROGRAM_WORD, dut.words__payload.value.to_unsigned())["word"]
                got.append(word)
            await FallingEdge(dut.clk)
        dut.words__ready.value = 0
    assert got == words


@cocotb.test(timeout_time=200, timeout_unit="us")
async def ends(dut):
    await start_clock_and_reset(dut)
    words = list(range(100, 400))
    memory = Memory(dut, words, "always", 1)
    sink = StreamSink(dut, "words", PROGRAM_WORD, policy="random", seed=1)
    faults = StreamSink(dut, "error", FAULT)
    await go(dut, BASE, 8 * len(words))
    await sink.receive(50)
    dut.ended.value = 1
    await ClockCycles(dut.clk, 150)
    assert dut.busy.value == 0
    seen = len(memory.seen)
    assert sum(request["beats"] for request in memory.seen) * memory.bytes < 8 * 50 + 2 * 128 + 200
    await ClockCycles(dut.clk, 50)
    assert len(memory.seen) == seen
    assert not faults.words


@cocotb.test(timeout_time=50, timeout_unit="us")
async def no_fault_when_end_is_the_last_word(dut):
    await start_clock_and_reset(dut)
    Memory(dut, [1, 2, 3], "always", 1)
    faults = StreamSink(dut, "error", FAULT)
    sink = StreamSink(dut, "words", PROGRAM_WORD)
    await go(dut, BASE, 24)
    while len(sink.words) < 3:
        await RisingEdge(dut.clk)
    # As the router does: high from the cycle after the transfer.
    dut.ended.value = 1
    await ClockCycles(dut.clk, 20)
    assert not faults.words


@cocotb.test(timeout_time=200, timeout_unit="us")
async def fetches_from_afar(dut):
    """More chunks than the low bits of an address have room for."""
    await start_clock_and_reset(dut)
    words = list(range(1200))
    memory = Memory(dut, words, "always", 1, latency=1)
    sink = StreamSink(dut, "words", PROGRAM_WORD)
    await go(dut, BASE, 8 * len(words))
    assert [got["word"] for got in await sink.receive(len(words))] == words
    position = BASE
    for request in memory.seen:
        assert request["address"] == position
        position += request["beats"] * memory.bytes


@cocotb.test(timeout_time=50, timeout_unit="us")
@cocotb.parametrize(case=[
    (BASE, 0), (BASE + 8, 64), (BASE + 1, 64), (BASE + 2, 64), (BASE + 4, 64), (BASE, 12),
    (BASE, 9), (BASE, 10), (BASE, 1 << 31), (BASE, (1 << 32) - 8),
])
async def refuses(dut, case):
    address, length = case
    legal = address % bench_params()["beat_bytes"] == 0 and length % 8 == 0
    await start_clock_and_reset(dut)
    faults = StreamSink(dut, "error", FAULT)
    await go(dut, address, length)
    await ClockCycles(dut.clk, 10)
    if length == 0:
        assert list(faults.words) == [{"code": ErrorCode.PROGRAM_END.value, "address": address}]
    elif not legal:
        assert list(faults.words) == [
            {"code": ErrorCode.ILLEGAL_FIELD.value, "address": FETCH_NUMBER}
        ]
    else:
        assert not faults.words
    assert dut.busy.value == (length != 0 and legal)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def stop_holds_requests_back(dut):
    await start_clock_and_reset(dut)
    dut.stop.value = 1
    await go(dut, BASE, 64)
    await ClockCycles(dut.clk, 20)
    assert dut.request__valid.value == 0
    assert dut.busy.value == 0


@pytest.mark.parametrize("width", [64, 128, 256])
def test_fetch(width):
    cfg = preset("default").replace(axi_data_width=width)
    run_cocotb(Fetch(cfg), __name__, params={"beat_bytes": width // 8})


def test_one_beat_bursts():
    cfg = preset("default").replace(axi_burst_beats=1)
    run_cocotb(Fetch(cfg), __name__, params={"beat_bytes": 16})
