# SPDX-License-Identifier: Apache-2.0
"""LOAD through arbiter and master from a bus: what lands where, in which order, and how fast."""

import random

import cocotb
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiRamRead, AxiReadBus

from hw.config import preset
from hw.control.fault import FaultSignature
from hw.isa import ENGINES, LOAD, Engine, ErrorCode, LoadTarget
from hw.memory.axi import AXI4ReadSignature
from hw.memory.load import LoadEngine, load_targets, scratchpad_write
from hw.memory.read_arbiter import ReadArbiter
from hw.memory.read_master import ReadMaster
from tests.memory.bus import PREFIX, ReadSubordinate, Referee, pauses
from tests.support.bench import bench_params, run_cocotb
from tests.support.streams import StreamSource, pack, start_clock_and_reset, unpack

SIZE = 1 << 16
MACHINES = {
    "tiny": preset("tiny"),
    "one burst": preset("tiny").replace(axi_outstanding=1, axi_burst_beats=1),
    "default": preset("default"),
    "large": preset("large").replace(activation_bytes=4096, weight_bytes=4096),
    "many": preset("tiny").replace(axi_outstanding=16),
}


class LoadPath(Component):
    """LOAD engine, arbiter and read master as they are in the machine."""

    def __init__(self, cfg):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(LOAD)),
            "done": Out(stream.Signature(ENGINES, always_ready=True)),
            "busy": Out(1),
            "idle": Out(1),
            "stop": In(1),
            "window_limit": In(cfg.axi_address_width),
            "error": Out(FaultSignature),
            "refused": Out(1),
            "write": Out(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "axi": Out(AXI4ReadSignature(cfg.axi_address_width, cfg.axi_data_width)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = LoadEngine(self.cfg)
        m.submodules.arbiter = arbiter = ReadArbiter(self.cfg)
        m.submodules.master = master = ReadMaster(self.cfg)
        for name in ("i", "done", "error", "write"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(engine, name))
        wiring.connect(m, engine.request, arbiter.request[1])
        wiring.connect(m, arbiter.data[1], engine.data)
        wiring.connect(m, arbiter.master_request, master.request)
        wiring.connect(m, master.data, arbiter.master_data)
        wiring.connect(m, wiring.flipped(self.axi), master.axi)
        m.d.comb += [
            self.busy.eq(engine.busy), self.idle.eq(master.idle),
            engine.stop.eq(self.stop), master.stop.eq(self.stop),
            master.window_limit.eq(self.window_limit), self.refused.eq(master.error.valid),
        ]  # fmt: skip
        return m


def instruction(cfg, **fields):
    """Return a LOAD of one beat, changed by ``fields``."""
    base = {"target": 0, "local": 0, "address": 0, "length": cfg.beat_bytes, "segments": 1}
    return dict.fromkeys(LOAD.members, 0) | base | fields


def random_instruction(cfg, chooser):
    """Return a legal LOAD whose beats lie in the memory and in its target."""
    beat = cfg.beat_bytes
    while True:
        target = chooser.choice(list(LoadTarget))
        size = load_targets(cfg)[target]
        local = chooser.randrange(size)
        segments = chooser.choice((1, 1, 2, chooser.randint(1, 12)))
        length = chooser.choice((1, beat, chooser.randint(1, 3 * beat), chooser.randint(1, 600)))
        pitch = chooser.randint(-500, 900)
        local_pitch = pitch + beat * chooser.randint(-20, 20)
        if segments == 1:
            local_pitch = chooser.randint(-(1 << 31), (1 << 31) - 1)
        address = chooser.randrange(SIZE) // beat * beat + local % beat
        last, last_local = (segments - 1) * pitch, (segments - 1) * local_pitch
        low = min(address, address + last) // beat * beat
        high = max(address, address + last) + length + beat
        low_local = min(local, local + last_local)
        high_local = max(local, local + last_local) + length
        if segments == 1:
            low_local, high_local = local, local + length
        if low >= 0 and high <= SIZE and low_local >= 0 and high_local <= size:
            return instruction(
                cfg, target=target, local=local, address=address, length=length,
                segments=segments, pitch=pitch, local_pitch=local_pitch,
                signal=chooser.randrange(16), wait=chooser.randrange(16), opcode=1,
            )  # fmt: skip


def writes(cfg, memory, load):
    """Return the (target, address, data) writes of a LOAD, in order."""
    beat = cfg.beat_bytes
    result = []
    for k in range(load["segments"]):
        address = load["address"] + k * load["pitch"]
        local = (load["local"] + k * load["local_pitch"]) // beat * beat
        end = address + load["length"]
        for index, place in enumerate(range(address // beat * beat, end, beat)):
            word = int.from_bytes(memory[place : place + beat], "little")
            result.append((int(load["target"]), local + index * beat, word))
    return result


class Bench:
    """The unit after reset, with what it wrote, finished and complained about."""

    def __init__(self, dut, cfg, *, drive=True):
        self.dut = dut
        self.cfg = cfg
        self.referee = Referee(dut, beat_bytes=cfg.beat_bytes, burst_beats=cfg.axi_burst_beats)
        self.source = StreamSource(dut, "i", LOAD) if drive else None
        self.writes = []
        self.done = []
        self.faults = []
        cocotb.start_soon(self._watch())

    async def _watch(self):
        dut = self.dut
        shape = scratchpad_write(self.cfg)
        while True:
            await RisingEdge(dut.clk)
            if dut.done__valid.value:
                self.done.append((int(dut.done__payload.value), len(self.writes)))
            if dut.write__valid.value:
                write = unpack(shape, int(dut.write__payload.value))
                self.writes.append((write["target"], write["address"], write["data"]))
            if dut.error__valid.value:
                fault = int(dut.error__payload.value)
                self.faults.append((fault & 0xFF, fault >> 8))

    async def finish(self, count):
        while len(self.done) < count:
            assert self.dut.busy.value or not self.source.sent
            await RisingEdge(self.dut.clk)
        await ClockCycles(self.dut.clk, 2)
        assert not self.dut.busy.value
        assert self.dut.idle.value
        assert not self.faults


async def start(dut, cfg):
    await start_clock_and_reset(dut)
    dut.window_limit.value = SIZE
    return Bench(dut, cfg)


@cocotb.test(timeout_time=500, timeout_unit="us")
async def moves_segments(dut):
    params = bench_params()
    cfg, seed, pause = MACHINES[params["machine"]], params["seed"], params["pause"]
    chooser = random.Random(seed)
    memory = chooser.randbytes(SIZE)
    bench = await start(dut, cfg)
    ram = AxiRamRead(AxiReadBus.from_prefix(dut, PREFIX), dut.clk, size=SIZE)
    ram.write(0, memory)
    if pause:
        ram.ar_channel.set_pause_generator(pauses(pause, f"{seed} ar"))
        ram.r_channel.set_pause_generator(pauses(pause, f"{seed} r"))
    loads = [random_instruction(cfg, chooser) for _ in range(10 if pause > 0.5 else 30)]
    bench.source.put(loads)
    await bench.finish(len(loads))
    expected, done = [], []
    for load in loads:
        expected += writes(cfg, memory, load)
        done.append((load["signal"], len(expected)))
    assert bench.writes == expected
    # Each mask after the last write of its instruction has been seen.
    assert [mask for mask, _ in bench.done] == [mask for mask, _ in done]
    assert all(seen >= due for (_, seen), (_, due) in zip(bench.done, done, strict=True))


@cocotb.test(timeout_time=100, timeout_unit="us")
async def keeps_the_bus_busy(dut):
    params = bench_params()
    cfg = MACHINES[params["machine"]]
    memory = random.Random(1).randbytes(SIZE)
    bench = await start(dut, cfg)
    ReadSubordinate(dut, memory, beat_bytes=cfg.beat_bytes, latency=20)
    loads = [instruction(cfg, **params["fields"]) for _ in range(params["count"])]
    bench.source.put(loads)
    await bench.finish(len(loads))
    assert bench.writes == [write for load in loads for write in writes(cfg, memory, load)]
    beats = bench.referee.read_beats
    assert beats[-1] - beats[0] + 1 == params["cycles"], len(beats)


@cocotb.test(timeout_time=200, timeout_unit="us")
async def refuses_what_is_illegal(dut):
    cfg = MACHINES["tiny"]
    await start_clock_and_reset(dut)
    dut.window_limit.value = SIZE
    bench = Bench(dut, cfg, drive=False)
    ReadSubordinate(dut, bytes(SIZE), beat_bytes=8)
    fields, ranges = ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE
    activation, parameter = cfg.activation_bytes, cfg.parameter_channels * 16
    two = {"segments": 2, "length": 8}
    cases = [
        (fields, {"target": 3}), (fields, {"target": 15}), (fields, {"format": 1}),
        (fields, {"reserved0": 0x800}), (fields, {"reserved1": 1}), (fields, {"length": 0}),
        (fields, {"segments": 0}), (fields, {"local": 1}), (fields, {"address": 4}),
        (fields, {**two, "pitch": 8, "local_pitch": 12}), (fields, {**two, "pitch": -1}),
        (ranges, {"local": activation}), (ranges, {"local": activation - 8, "length": 9}),
        (ranges, {"local": 1 << 31}), (ranges, {"local": 0xFFFF_FFF8}),
        (ranges, {"length": 0xFFFF_FFFF}), (ranges, {"length": activation + 1}),
        (ranges, {"local": 0xFFFF_FFFF, "address": 7, "length": 1}),
        (ranges, {**two, "local_pitch": -8}), (ranges, {**two, "local_pitch": -(1 << 31)}),
        (ranges, {**two, "local_pitch": activation}),
        (ranges, {**two, "local": 8, "local_pitch": (1 << 31) - 8}),
        (ranges, {"target": 2, "local": parameter}), (ranges, {"target": 1, "local": 4096}),
        (ranges, {**two, "local": activation - 8, "local_pitch": 8}),
    ]  # fmt: skip
    for code, case in cases:
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
        for log in (bench.faults, bench.writes, bench.done):
            log.clear()
        dut.i__payload.value = pack(LOAD, instruction(cfg, **case))
        dut.i__valid.value = 1
        await ClockCycles(dut.clk, 2)
        # What follows would be legal; it is not executed any more.
        dut.i__payload.value = pack(LOAD, instruction(cfg))
        await ClockCycles(dut.clk, 30)
        assert bench.faults == [(code, Engine.LOAD)], case
        # The first of two segments is legal in these cases.
        assert len(bench.writes) <= int(code == ranges and "segments" in case), case
        assert not bench.done, case
        assert not dut.i__ready.value
        dut.i__valid.value = 0


@cocotb.test(timeout_time=50, timeout_unit="us")
async def reads_only_granted_memory(dut):
    cfg = MACHINES["tiny"]
    bench = await start(dut, cfg)
    dut.window_limit.value = 0x1000
    ReadSubordinate(dut, bytes(SIZE), beat_bytes=8)
    bench.source.put([instruction(cfg, address=0xF00, length=64, segments=8, pitch=128)])
    refused = 0
    for _ in range(100):
        await RisingEdge(dut.clk)
        refused += int(dut.refused.value)
    assert refused == 1
    assert all(address + 8 * beats <= 0x1000 for _, address, beats in bench.referee.reads)
    assert not bench.done


@pytest.mark.parametrize(
    ("machine", "pause"),
    [("tiny", 0), ("tiny", 0.5), ("tiny", 0.9), ("one burst", 0), ("default", 0.5),
     ("large", 0.5), ("many", 0)],
)  # fmt: skip
def test_moves_segments(machine, pause):
    params = {"machine": machine, "pause": pause, "seed": 41}
    run_cocotb(LoadPath(MACHINES[machine]), __name__, params=params, testcase="moves_segments")


@pytest.mark.parametrize(
    ("machine", "count", "fields", "cycles"),
    [
        # One run: a beat a cycle.
        ("default", 1, {"address": 0x1000, "length": 16384}, 1024),
        # The same at an address that is in the middle of a burst.
        ("default", 1, {"address": 0x1080, "length": 16384}, 1024),
        # Runs of a burst: a beat a cycle across segments and instructions.
        ("tiny", 8, {"length": 128, "segments": 8, "pitch": 256, "local_pitch": 128}, 1024),
        # Short runs with enough bursts in flight: two cycles a segment are enough.
        ("many", 4, {"length": 16, "segments": 32, "pitch": 64, "local_pitch": 16}, 256),
    ],
)
def test_keeps_the_bus_busy(machine, count, fields, cycles):
    params = {"machine": machine, "count": count, "fields": fields, "cycles": cycles}
    run_cocotb(LoadPath(MACHINES[machine]), __name__, params=params, testcase="keeps_the_bus_busy")


def test_refuses_what_is_illegal():
    unit = LoadPath(MACHINES["tiny"])
    run_cocotb(unit, __name__, testcase="refuses_what_is_illegal")


def test_reads_only_granted_memory():
    unit = LoadPath(MACHINES["tiny"])
    run_cocotb(unit, __name__, testcase="reads_only_granted_memory")
