# SPDX-License-Identifier: Apache-2.0
"""The read master on a bus: data, pauses, bandwidth, faults and stopping."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiRamRead, AxiReadBus

from kiwicha.hw.parts.axi import REQUEST, read_beat
from kiwicha.hw.parts.read_master import ReadMaster
from kiwicha.machine.isa import ErrorCode
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset
from .bus import DECERR, OKAY, PREFIX, SLVERR, ReadSubordinate, Referee, pauses

SIZE = 1 << 16


def machine(width=64, burst=16, outstanding=4):
    return preset("tiny").replace(
        axi_data_width=width, axi_burst_beats=burst, axi_outstanding=outstanding
    )


def filled(seed):
    return bytearray(random.Random(f"{seed} memory").randbytes(SIZE))


def words(cfg, memory, address, beats):
    """Return what reading a run gives back."""
    for index in range(beats):
        place = address + index * cfg.beat_bytes
        word = int.from_bytes(memory[place : place + cfg.beat_bytes], "little")
        yield {"data": word, "last": int(index == beats - 1)}


async def start(dut, cfg, *, base=0, limit=SIZE, policy="always", seed=1):
    """Reset the unit; return the source of requests, the sink of data, the referee, the faults."""
    await start_clock_and_reset(dut)
    dut.window_base.value = base
    dut.window_limit.value = limit
    referee = Referee(dut, beat_bytes=cfg.beat_bytes, burst_beats=cfg.axi_burst_beats)
    faults = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if dut.error__valid.value:
                fault = int(dut.error__payload.value)
                faults.append((fault & 0xFF, fault >> 8))

    cocotb.start_soon(watch())
    source = StreamSource(dut, "request", REQUEST, seed=seed)
    sink = StreamSink(dut, "data", read_beat(cfg), policy=policy, seed=seed)
    return source, sink, referee, faults


@cocotb.test(timeout_time=300, timeout_unit="us")
async def reads_runs(dut):
    params = bench_params()
    cfg = machine(params["width"], params["burst"], params["outstanding"])
    seed, pause = params["seed"], params["pause"]
    memory = filled(seed)
    source, sink, referee, faults = await start(dut, cfg, policy=params["ready"], seed=seed)
    ram = AxiRamRead(AxiReadBus.from_prefix(dut, PREFIX), dut.clk, size=SIZE)
    ram.write(0, memory)
    if pause:
        ram.ar_channel.set_pause_generator(pauses(pause, f"{seed} ar"))
        ram.r_channel.set_pause_generator(pauses(pause, f"{seed} r"))
    chooser = random.Random(seed)
    expected = []
    for _ in range(12 if pause > 0.5 else 40):
        beats = chooser.choice((1, 2, 3, chooser.randint(1, 40)))
        # Around a 4 KiB border as often as anywhere.
        page = chooser.randrange(1, SIZE >> 12) << 12
        address = page + chooser.randint(-beats, 0) * cfg.beat_bytes
        if chooser.random() < 0.5:
            address = chooser.randrange(0, SIZE - beats * cfg.beat_bytes, cfg.beat_bytes)
        source.put([{"address": address, "beats": beats}])
        expected += words(cfg, memory, address, beats)
    assert await sink.receive(len(expected)) == expected
    await ClockCycles(dut.clk, 5)
    assert not sink.words
    assert dut.idle.value
    assert sum(beats for _, _, beats in referee.reads) == len(expected)
    assert not faults


@cocotb.test(timeout_time=100, timeout_unit="us")
async def keeps_the_bus_busy(dut):
    params = bench_params()
    cfg = machine(params["width"], params["burst"], params["outstanding"])
    source, sink, referee, _ = await start(dut, cfg)
    memory = filled(1)
    ReadSubordinate(dut, memory, beat_bytes=cfg.beat_bytes, latency=20)
    requests = params["requests"]
    source.put({"address": address, "beats": beats} for address, beats in requests)
    total = sum(beats for _, beats in requests)
    expected = [word for run in requests for word in words(cfg, memory, *run)]
    assert await sink.receive(total) == expected
    first_address, first_beat = referee.reads[0][0], referee.read_beats[0]
    assert first_beat - first_address == 20
    assert referee.read_beats[-1] - first_beat == total - 1 + params["gaps"]


@cocotb.test(timeout_time=50, timeout_unit="us")
async def refuses_what_is_outside(dut):
    base, limit = 0x1008, 0x2010
    outside = [
        (base - 8, 1), (0, 1), (limit, 1), (limit - 8, 2), (base - 8, 600),
        (base + (1 << 32), 1), ((1 << 64) - 8, 1), ((1 << 64) - 8, base // 8 + 2), (base, 1 << 31),
    ]
    await start_clock_and_reset(dut)
    for address, beats in outside:
        # The first requests are good and may be on their way when the fault arrives.
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
        dut.window_base.value = base
        dut.window_limit.value = limit
        dut.axi__arready.value = 1
        dut.data__ready.value = 1
        dut.request__valid.value = 1
        dut.request__payload.value = beats << 64 | address
        issued, faults = 0, []
        for _ in range(20):
            await RisingEdge(dut.clk)
            issued += int(dut.axi__arvalid.value)
            if dut.error__valid.value:
                faults.append(int(dut.error__payload.value))
            if faults:
                # Nothing gets past a fault, not even what is allowed.
                dut.request__payload.value = 1 << 64 | base
        assert issued == 0
        assert faults == [address << 8 | ErrorCode.READ_WINDOW]
        assert dut.idle.value


@cocotb.test(timeout_time=50, timeout_unit="us")
async def reads_up_to_the_edges(dut):
    cfg = machine()
    memory = filled(2)
    base, limit = 0x1008, 0x2010
    source, sink, _, faults = await start(dut, cfg, base=base, limit=limit)
    ReadSubordinate(dut, memory, beat_bytes=8)
    runs = [(base, 1), (limit - 8, 1), (base, (limit - base) // 8)]
    source.put({"address": address, "beats": beats} for address, beats in runs)
    expected = [word for run in runs for word in words(cfg, memory, *run)]
    assert await sink.receive(len(expected)) == expected
    assert not faults


@cocotb.test(timeout_time=50, timeout_unit="us")
async def reports_bad_responses(dut):
    params = bench_params()
    cfg = machine()
    source, sink, referee, faults = await start(dut, cfg)
    bad = 0x1000 + 8 * (16 + params["beat"])

    def respond(address):
        return params["response"] if address == bad else OKAY

    ReadSubordinate(dut, filled(3), beat_bytes=8, latency=3, respond=respond)
    source.put([{"address": 0x1000, "beats": 200}, {"address": 0x3000, "beats": 8}])
    await ClockCycles(dut.clk, 300)
    assert faults == [(ErrorCode.READ_RESPONSE, 0x1080)]
    assert dut.idle.value
    # What was begun ends; what was not begun never is.
    assert len(referee.reads) < 13
    assert len(sink.words) == sum(beats for _, _, beats in referee.reads)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def stops(dut):
    cfg = machine()
    memory = filled(4)
    source, sink, referee, faults = await start(dut, cfg)
    ReadSubordinate(dut, memory, beat_bytes=8, latency=5)
    source.put([{"address": 0x1000, "beats": 100}])
    await ClockCycles(dut.clk, bench_params()["cycle"])
    dut.stop.value = 1
    # An address that appeared at the edge just gone is taken at the next one.
    await ClockCycles(dut.clk, 2)
    begun = list(referee.reads)
    await ClockCycles(dut.clk, 80)
    assert dut.idle.value
    assert referee.reads == begun
    assert len(sink.words) == sum(beats for _, _, beats in begun) < 100
    dut.stop.value = 0
    assert await sink.receive(100) == list(words(cfg, memory, 0x1000, 100))
    assert not faults


@pytest.mark.parametrize(
    ("pause", "ready"),
    [*((0, ready) for ready in READY_POLICIES), (0.5, "random"), (0.5, "bursty"), (0.5, "always"),
     (0.9, "always"), (0.9, "after_valid")],
)
def test_reads_runs(ready, pause):
    params = {"width": 64, "burst": 16, "outstanding": 4}
    params |= {"ready": ready, "pause": pause, "seed": 21}
    unit = ReadMaster(machine())
    run_cocotb(unit, __name__, params=params, testcase="reads_runs")


@pytest.mark.parametrize(
    ("width", "burst", "outstanding"), [(128, 64, 1), (256, 256, 3), (64, 1, 16), (64, 2, 5)]
)
def test_machines(width, burst, outstanding):
    params = {"width": width, "burst": burst, "outstanding": outstanding}
    unit = ReadMaster(machine(width, burst, outstanding))
    params |= {"ready": "random", "pause": 0.5, "seed": 22}
    run_cocotb(unit, __name__, params=params, testcase="reads_runs")


@pytest.mark.parametrize(
    ("burst", "outstanding", "requests", "gaps"),
    [
        (16, 4, [(0x0000, 1024)], 0),
        (64, 4, [(0x0FC8, 700)], 0),
        (16, 4, [(0x1000 + 256 * k, 16) for k in range(32)], 0),
        (16, 16, [(0x1000 + 512 * k, 4) for k in range(64)], 0),
    ],
)
def test_keeps_the_bus_busy(burst, outstanding, requests, gaps):
    params = {"width": 64, "burst": burst, "outstanding": outstanding}
    params |= {"requests": requests, "gaps": gaps}
    unit = ReadMaster(machine(64, burst, outstanding))
    run_cocotb(unit, __name__, params=params, testcase="keeps_the_bus_busy")


def test_refuses_what_is_outside():
    run_cocotb(ReadMaster(machine()), __name__, testcase="refuses_what_is_outside")


def test_reads_up_to_the_edges():
    run_cocotb(ReadMaster(machine()), __name__, testcase="reads_up_to_the_edges")


@pytest.mark.parametrize(("response", "beat"), [(SLVERR, 0), (DECERR, 7), (SLVERR, 15)])
def test_reports_bad_responses(response, beat):
    params = {"response": response, "beat": beat}
    unit = ReadMaster(machine())
    run_cocotb(unit, __name__, params=params, testcase="reports_bad_responses")


@pytest.mark.parametrize("cycle", [1, 5, 6, 30])
def test_stops(cycle):
    run_cocotb(ReadMaster(machine()), __name__, params={"cycle": cycle}, testcase="stops")
