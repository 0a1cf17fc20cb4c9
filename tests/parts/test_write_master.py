# SPDX-License-Identifier: Apache-2.0
"""The write master on a bus: data, strobes, pauses, bandwidth, either channel first, faults."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiRamWrite, AxiWriteBus

from kiwicha.hw.parts.axi import REQUEST, write_beat
from kiwicha.hw.parts.write_master import OUTSTANDING_WRITES, WriteMaster
from kiwicha.machine.isa import ErrorCode
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import StreamSource, start_clock_and_reset
from .bus import DECERR, OKAY, PREFIX, SLVERR, Referee, WriteSubordinate, pauses

SIZE = 1 << 16


def machine(width=64, burst=16):
    return preset("tiny").replace(axi_data_width=width, axi_burst_beats=burst)


def random_beats(cfg, chooser, count):
    width, lanes = cfg.axi_data_width, cfg.beat_bytes
    return [
        {"data": chooser.getrandbits(width), "strobe": chooser.getrandbits(lanes)}
        for _ in range(count)
    ]


def written(memory, cfg, address, beats):
    """Write ``beats`` to ``memory`` the slow way."""
    for index, beat in enumerate(beats):
        for lane in range(cfg.beat_bytes):
            if beat["strobe"] >> lane & 1:
                place = address + index * cfg.beat_bytes + lane
                memory[place] = beat["data"] >> 8 * lane & 0xFF


class Bench:
    """The unit after reset, with its sources, its referee, its faults and its count of ``done``."""

    def __init__(self, dut, cfg, *, policy="always", seed=1):
        self.dut = dut
        self.requests = StreamSource(dut, "request", REQUEST, policy=policy, seed=seed)
        self.data = StreamSource(dut, "data", write_beat(cfg), policy=policy, seed=seed)
        self.referee = Referee(dut, beat_bytes=cfg.beat_bytes, burst_beats=cfg.axi_burst_beats)
        self.faults = []
        self.done = []
        cocotb.start_soon(self._watch())

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            if self.dut.error__valid.value:
                fault = int(self.dut.error__payload.value)
                self.faults.append((fault & 0xFF, fault >> 8))
            if self.dut.done__valid.value:
                self.done.append(self.referee.cycle)

    async def finish(self, count):
        while len(self.done) < count:
            await RisingEdge(self.dut.clk)
        await ClockCycles(self.dut.clk, 10)
        assert len(self.done) == count
        assert self.dut.idle.value


async def start(dut, cfg, *, base=0, limit=SIZE, **options):
    await start_clock_and_reset(dut)
    dut.window_base.value = base
    dut.window_limit.value = limit
    return Bench(dut, cfg, **options)


@cocotb.test(timeout_time=300, timeout_unit="us")
async def writes_runs(dut):
    params = bench_params()
    cfg = machine(params["width"], params["burst"])
    seed, pause = params["seed"], params["pause"]
    chooser = random.Random(seed)
    memory = bytearray(chooser.randbytes(SIZE))
    bench = await start(dut, cfg, policy=params["policy"], seed=seed)
    ram = AxiRamWrite(AxiWriteBus.from_prefix(dut, PREFIX), dut.clk, size=SIZE)
    ram.write(0, bytes(memory))
    if pause:
        for channel in (ram.aw_channel, ram.w_channel, ram.b_channel):
            channel.set_pause_generator(pauses(pause, f"{seed} {type(channel)}"))
    count = 12 if pause > 0.5 else 40
    for _ in range(count):
        beats = chooser.choice((1, 2, 3, chooser.randint(1, 40)))
        page = chooser.randrange(1, SIZE >> 12) << 12
        address = page + chooser.randint(-beats, 0) * cfg.beat_bytes
        if chooser.random() < 0.5:
            address = chooser.randrange(0, SIZE - beats * cfg.beat_bytes, cfg.beat_bytes)
        words = random_beats(cfg, chooser, beats)
        bench.requests.put([{"address": address, "beats": beats}])
        bench.data.put(words)
        written(memory, cfg, address, words)
    await bench.finish(count)
    assert ram.read(0, SIZE) == bytes(memory)
    assert not bench.faults


@cocotb.test(timeout_time=100, timeout_unit="us")
async def takes_either_channel_first(dut):
    params = bench_params()
    cfg = machine()
    memory, expected = bytearray(SIZE), bytearray(SIZE)
    bench = await start(dut, cfg)
    order = params["order"]
    WriteSubordinate(dut, memory, beat_bytes=8, latency=20, order=order)
    chooser = random.Random(5)
    total = 0
    for address, beats in params["requests"]:
        words = random_beats(cfg, chooser, beats)
        bench.requests.put([{"address": address, "beats": beats}])
        bench.data.put(words)
        written(expected, cfg, address, words)
        total += beats
    await bench.finish(len(params["requests"]))
    assert memory == expected
    cycles = bench.referee.write_beats
    assert len(cycles) == total
    if order == "any":
        assert cycles[-1] - cycles[0] == total - 1 + params["gaps"]
        # The last response: one cycle to arrive, one to be counted.
        assert bench.done[-1] == cycles[-1] + 20 + 1


@cocotb.test(timeout_time=50, timeout_unit="us")
async def refuses_what_is_outside(dut):
    base, limit = 0x1008, 0x2010
    outside = [
        (base - 8, 1), (0, 1), (limit, 1), (limit - 8, 2), (base - 8, 600), (base + (1 << 32), 1),
        ((1 << 64) - 8, 1), ((1 << 64) - 8, base // 8 + 2), (base, 1 << 31),
    ]
    await start_clock_and_reset(dut)
    for address, beats in outside:
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
        dut.window_base.value = base
        dut.window_limit.value = limit
        for ready in (dut.axi__awready, dut.axi__wready, dut.data__valid, dut.request__valid):
            ready.value = 1
        dut.request__payload.value = beats << 64 | address
        offered, faults = 0, []
        for _ in range(20):
            await RisingEdge(dut.clk)
            offered += int(dut.axi__awvalid.value) + int(dut.axi__wvalid.value)
            if dut.error__valid.value:
                faults.append(int(dut.error__payload.value))
            if faults:
                dut.request__payload.value = 1 << 64 | base
        assert offered == 0
        assert faults == [address << 8 | ErrorCode.WRITE_WINDOW]
        assert dut.idle.value


@cocotb.test(timeout_time=50, timeout_unit="us")
async def writes_up_to_the_edges(dut):
    cfg = machine()
    base, limit = 0x1008, 0x2010
    chooser = random.Random(6)
    memory = bytearray(SIZE)
    bench = await start(dut, cfg, base=base, limit=limit)
    WriteSubordinate(dut, memory, beat_bytes=8)
    expected = bytearray(SIZE)
    for address, beats in [(base, (limit - base) // 8), (base, 1), (limit - 8, 1)]:
        words = random_beats(cfg, chooser, beats)
        bench.requests.put([{"address": address, "beats": beats}])
        bench.data.put(words)
        written(expected, cfg, address, words)
    await bench.finish(3)
    assert memory == expected
    assert not bench.faults


@cocotb.test(timeout_time=50, timeout_unit="us")
async def reports_bad_responses(dut):
    params = bench_params()
    cfg = machine()
    bench = await start(dut, cfg)
    bad = 0x1000 + 16 * 8 * params["burst"]

    def respond(address):
        return params["response"] if address == bad else OKAY

    WriteSubordinate(dut, bytearray(SIZE), beat_bytes=8, latency=3, respond=respond)
    bench.requests.put([{"address": 0x1000, "beats": 64}, {"address": 0x3000, "beats": 400}])
    bench.data.put(random_beats(cfg, random.Random(7), 464))
    await ClockCycles(dut.clk, 600)
    assert bench.faults == [(ErrorCode.WRITE_RESPONSE, bad)]
    assert not bench.done
    assert dut.idle.value
    # What was begun ends; what was not begun never is.
    assert len(bench.referee.writes) < 29
    assert len(bench.referee.write_beats) == sum(n for _, _, n in bench.referee.writes)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def stops(dut):
    cfg = machine()
    bench = await start(dut, cfg)
    memory, expected = bytearray(SIZE), bytearray(SIZE)
    WriteSubordinate(dut, memory, beat_bytes=8, latency=5)
    words = random_beats(cfg, random.Random(8), 900)
    bench.requests.put([{"address": 0x1000, "beats": 900}])
    bench.data.put(words)
    written(expected, cfg, 0x1000, words)
    await ClockCycles(dut.clk, bench_params()["cycle"])
    dut.stop.value = 1
    # An address that appeared at the edge just gone is taken at the next one.
    await ClockCycles(dut.clk, 2)
    begun = list(bench.referee.writes)
    await ClockCycles(dut.clk, 16 * OUTSTANDING_WRITES + 20)
    assert dut.idle.value
    assert bench.referee.writes == begun
    assert len(bench.referee.write_beats) == sum(beats for _, _, beats in begun) < 900
    dut.stop.value = 0
    await bench.finish(1)
    assert memory == expected
    assert not bench.faults


@slow("0.5-always", "0.5-bursty", "0.9-random")
@pytest.mark.parametrize(
    ("pause", "policy"),
    [(0, "always"), (0, "random"), (0, "bursty"), (0.5, "always"), (0.5, "random"),
     (0.5, "bursty"), (0.9, "always"), (0.9, "random")],
)
def test_writes_runs(pause, policy):
    params = {"width": 64, "burst": 16, "pause": pause, "policy": policy, "seed": 31}
    run_cocotb(WriteMaster(machine()), __name__, params=params, testcase="writes_runs")


@slow("64-2")
@pytest.mark.parametrize(("width", "burst"), [(128, 64), (256, 256), (64, 1), (64, 2)])
def test_machines(width, burst):
    params = {"width": width, "burst": burst, "pause": 0.5, "policy": "always", "seed": 32}
    run_cocotb(WriteMaster(machine(width, burst)), __name__, params=params, testcase="writes_runs")


@slow(
    "requests0-0-address", "requests0-0-data", "requests1-0-any", "requests1-0-data",
    "requests2-0-any", "requests2-0-address",
)
@pytest.mark.parametrize("order", ["any", "address", "data"])
@pytest.mark.parametrize(
    ("requests", "gaps"),
    [
        ([(0x0FC8, 500)], 0),
        ([(0x1000 + 128 * k, 16) for k in range(16)], 0),
        ([(0x1000 + 512 * k, 4) for k in range(32)], 0),
    ],
)
def test_takes_either_channel_first(order, requests, gaps):
    params = {"order": order, "requests": requests, "gaps": gaps}
    run_cocotb(
        WriteMaster(machine()), __name__, params=params, testcase="takes_either_channel_first"
    )


def test_refuses_what_is_outside():
    run_cocotb(WriteMaster(machine()), __name__, testcase="refuses_what_is_outside")


def test_writes_up_to_the_edges():
    run_cocotb(WriteMaster(machine()), __name__, testcase="writes_up_to_the_edges")


@pytest.mark.parametrize(("response", "burst"), [(SLVERR, 0), (DECERR, 1), (SLVERR, 3)])
def test_reports_bad_responses(response, burst):
    params = {"response": response, "burst": burst}
    run_cocotb(WriteMaster(machine()), __name__, params=params, testcase="reports_bad_responses")


@slow("30")
@pytest.mark.parametrize("cycle", [1, 5, 6, 30])
def test_stops(cycle):
    run_cocotb(WriteMaster(machine()), __name__, params={"cycle": cycle}, testcase="stops")
