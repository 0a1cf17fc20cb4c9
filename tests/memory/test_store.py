# SPDX-License-Identifier: Apache-2.0
"""STORE through the write master onto a bus: which bytes change, in which order, and how fast."""

import random

import cocotb
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiRamWrite, AxiWriteBus

from hw.config import preset
from hw.control.fault import FaultSignature
from hw.isa import COUNTER_WORDS, ENGINES, STORE, WORD_BITS, Engine, ErrorCode, StoreSource
from hw.memory.axi import AXI4WriteSignature
from hw.memory.store import READ_LATENCY, StoreEngine
from hw.memory.write_master import WriteMaster
from tests.memory.bus import PREFIX, Referee, WriteSubordinate, pauses
from tests.support.bench import bench_params, run_cocotb
from tests.support.streams import StreamSource, pack, start_clock_and_reset

SIZE = 1 << 16
RECORD = COUNTER_WORDS * WORD_BITS // 8
MACHINES = {
    "tiny": preset("tiny"),
    "one burst": preset("tiny").replace(axi_burst_beats=1),
    "default": preset("default").replace(output_bytes=8192),
    "large": preset("large").replace(output_bytes=4096),
}


class StorePath(Component):
    """STORE engine and write master as they are in the machine."""

    def __init__(self, cfg):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(STORE)),
            "done": Out(stream.Signature(ENGINES, always_ready=True)),
            "busy": Out(1),
            "idle": Out(1),
            "stop": In(1),
            "window_base": In(cfg.axi_address_width),
            "window_limit": In(cfg.axi_address_width),
            "error": Out(FaultSignature),
            "refused": Out(1),
            "read_enable": Out(1),
            "read_address": Out(32),
            "read_data": In(cfg.axi_data_width),
            "counters": In(COUNTER_WORDS * WORD_BITS),
            "axi": Out(AXI4WriteSignature(cfg.axi_address_width, cfg.axi_data_width)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = StoreEngine(self.cfg)
        m.submodules.master = master = WriteMaster(self.cfg)
        for name in ("i", "done", "error"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(engine, name))
        wiring.connect(m, engine.request, master.request)
        wiring.connect(m, engine.data, master.data)
        wiring.connect(m, master.done, engine.written)
        wiring.connect(m, wiring.flipped(self.axi), master.axi)
        m.d.comb += [
            self.busy.eq(engine.busy), self.idle.eq(master.idle),
            engine.stop.eq(self.stop), master.stop.eq(self.stop),
            master.window_base.eq(self.window_base), master.window_limit.eq(self.window_limit),
            self.refused.eq(master.error.valid), engine.counters.eq(self.counters),
            self.read_enable.eq(engine.read_enable), self.read_address.eq(engine.read_address),
            engine.read_data.eq(self.read_data),
        ]  # fmt: skip
        return m


def instruction(cfg, **fields):
    """Return a STORE of one beat, changed by ``fields``."""
    base = {"source": 0, "local": 0, "address": 0, "length": cfg.beat_bytes, "segments": 1}
    return dict.fromkeys(STORE.members, 0) | base | fields


def random_instruction(cfg, chooser):
    """Return a legal STORE inside the memory."""
    beat = cfg.beat_bytes
    counters = chooser.random() < 0.1
    while True:
        size = RECORD if counters else cfg.output_bytes
        local = 0 if counters else chooser.randrange(size)
        length = chooser.choice((1, beat, chooser.randint(1, 3 * beat), chooser.randint(1, 600)))
        length = RECORD if counters else length
        segments = chooser.choice((1, 1, 2, chooser.randint(1, 12)))
        pitch = chooser.randint(-500, 900)
        local_pitch = pitch + beat * chooser.randint(-20, 20)
        if counters:
            pitch, local_pitch = pitch // beat * beat, 0
        address = chooser.randrange(SIZE) // beat * beat + local % beat
        ends = (address, address + (segments - 1) * pitch)
        local_ends = (local, local + (segments - 1) * local_pitch)
        inside = min(ends) // beat * beat >= 0 and max(ends) + length + beat <= SIZE
        if inside and min(local_ends) >= 0 and max(local_ends) + length <= size:
            return instruction(
                cfg, source=StoreSource.COUNTERS if counters else StoreSource.OUTPUT,
                local=local, address=address, length=length, segments=segments, pitch=pitch,
                local_pitch=local_pitch, signal=chooser.randrange(16), wait=chooser.randrange(16),
                opcode=4,
            )  # fmt: skip


def apply(memory, output, counters, store):
    """Do to ``memory`` what a STORE does."""
    source = counters if store["source"] == StoreSource.COUNTERS else output
    for k in range(store["segments"]):
        address = store["address"] + k * store["pitch"]
        local = store["local"] + k * store["local_pitch"]
        memory[address : address + store["length"]] = source[local : local + store["length"]]


class Bench:
    """The unit after reset, with its output buffer, what it finished and complained about."""

    def __init__(self, dut, cfg, output, *, drive=True):
        self.dut = dut
        self.cfg = cfg
        self.output = output
        self.referee = Referee(dut, beat_bytes=cfg.beat_bytes, burst_beats=cfg.axi_burst_beats)
        self.source = StreamSource(dut, "i", STORE) if drive else None
        self.done = []
        self.faults = []
        self.refused = 0
        cocotb.start_soon(self._read())
        cocotb.start_soon(self._watch())

    async def _read(self):
        dut, beat = self.dut, self.cfg.beat_bytes
        noise = random.Random(1)
        stages = [None] * READ_LATENCY
        while True:
            await RisingEdge(dut.clk)
            place = int(dut.read_address.value) if dut.read_enable.value else None
            stages = [place, *stages[:-1]]
            # Presented before this edge: back before the second edge from here.
            if stages[-1] is None:
                dut.read_data.value = noise.getrandbits(8 * beat)
            else:
                word = self.output[stages[-1] : stages[-1] + beat]
                assert len(word) == beat
                assert stages[-1] % beat == 0
                dut.read_data.value = int.from_bytes(word, "little")

    async def _watch(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            self.refused += int(dut.refused.value)
            if dut.done__valid.value:
                self.done.append(int(dut.done__payload.value))
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


async def start(dut, cfg, output=b"", **options):
    await start_clock_and_reset(dut)
    dut.window_limit.value = SIZE
    return Bench(dut, cfg, output, **options)


@cocotb.test(timeout_time=500, timeout_unit="us")
async def moves_segments(dut):
    params = bench_params()
    cfg, seed, pause = MACHINES[params["machine"]], params["seed"], params["pause"]
    chooser = random.Random(seed)
    output, counters = chooser.randbytes(cfg.output_bytes), chooser.randbytes(RECORD)
    memory = bytearray(chooser.randbytes(SIZE))
    bench = await start(dut, cfg, output)
    dut.counters.value = int.from_bytes(counters, "little")
    ram = AxiRamWrite(AxiWriteBus.from_prefix(dut, PREFIX), dut.clk, size=SIZE)
    ram.write(0, bytes(memory))
    if pause:
        for channel in (ram.aw_channel, ram.w_channel, ram.b_channel):
            channel.set_pause_generator(pauses(pause, f"{seed} {type(channel)}"))
    stores = [random_instruction(cfg, chooser) for _ in range(10 if pause > 0.5 else 30)]
    bench.source.put(stores)
    await bench.finish(len(stores))
    for store in stores:
        apply(memory, output, counters, store)
    # All of memory: no byte beside a run may have changed.
    assert ram.read(0, SIZE) == bytes(memory)
    assert bench.done == [store["signal"] for store in stores]


@cocotb.test(timeout_time=100, timeout_unit="us")
async def keeps_the_bus_busy(dut):
    params = bench_params()
    cfg = MACHINES[params["machine"]]
    output = random.Random(1).randbytes(cfg.output_bytes)
    memory, expected = bytearray(SIZE), bytearray(SIZE)
    bench = await start(dut, cfg, output)
    WriteSubordinate(dut, memory, beat_bytes=cfg.beat_bytes, latency=20)
    stores = [instruction(cfg, signal=k % 16, **params["fields"]) for k in range(params["count"])]
    bench.source.put(stores)
    await bench.finish(len(stores))
    for store in stores:
        apply(expected, output, b"", store)
    assert memory == expected
    beats = bench.referee.write_beats
    assert beats[-1] - beats[0] + 1 == params["cycles"], len(beats)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def answers_after_the_last_response(dut):
    cfg = MACHINES["tiny"]
    bench = await start(dut, cfg, bytes(cfg.output_bytes))
    WriteSubordinate(dut, bytearray(SIZE), beat_bytes=8, latency=30)
    bench.source.put([instruction(cfg, signal=5, length=100, segments=2, pitch=0x1000)])
    responses = 0
    while not bench.done:
        await RisingEdge(dut.clk)
        if not bench.done:
            responses += int(dut.axi__bvalid.value) and int(dut.axi__bready.value)
    assert responses == len(bench.referee.writes) == 2


@cocotb.test(timeout_time=200, timeout_unit="us")
async def refuses_what_is_illegal(dut):
    cfg = MACHINES["tiny"]
    bench = await start(dut, cfg, bytes(cfg.output_bytes), drive=False)
    WriteSubordinate(dut, bytearray(SIZE), beat_bytes=8)
    fields, ranges = ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE
    output = cfg.output_bytes
    two = {"segments": 2, "length": 8, "pitch": 64}
    record = {"source": 1, "length": RECORD}
    cases = [
        (fields, {"source": 2}), (fields, {"source": 15}), (fields, {"format": 1}),
        (fields, {"reserved0": 1}), (fields, {"reserved1": 0x8000}), (fields, {"length": 0}),
        (fields, {"segments": 0}), (fields, {"local": 1}), (fields, {"address": 4}),
        (fields, {**two, "pitch": 8, "local_pitch": 12}), (fields, {**two, "pitch": -1}),
        (fields, {**record, "length": RECORD - 1}), (fields, {**record, "length": RECORD * 2}),
        (ranges, {**record, "local": 8}), (ranges, {"local": output}),
        (ranges, {"local": output - 8, "length": 9}), (ranges, {"local": 0xFFFF_FFF8}),
        (ranges, {"length": 0xFFFF_FFFF}), (ranges, {**two, "local_pitch": -8}),
        (ranges, {**two, "local": output - 8, "local_pitch": 8}),
    ]  # fmt: skip
    for code, case in cases:
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
        for log in (bench.faults, bench.done, bench.referee.writes):
            log.clear()
        dut.i__payload.value = pack(STORE, instruction(cfg, **case))
        dut.i__valid.value = 1
        await ClockCycles(dut.clk, 2)
        # What follows would be legal; it is not executed any more.
        dut.i__payload.value = pack(STORE, instruction(cfg))
        await ClockCycles(dut.clk, 40)
        assert bench.faults == [(code, Engine.STORE)], case
        # The first of two segments is legal in these cases.
        assert len(bench.referee.writes) <= int(code == ranges and "segments" in case), case
        assert not bench.done, case
        assert not dut.i__ready.value
        assert dut.idle.value
        dut.i__valid.value = 0


@cocotb.test(timeout_time=50, timeout_unit="us")
async def writes_only_granted_memory(dut):
    cfg = MACHINES["tiny"]
    output = random.Random(2).randbytes(cfg.output_bytes)
    bench = await start(dut, cfg, output)
    dut.window_base.value = 0xE00
    dut.window_limit.value = 0x1000
    memory = bytearray(SIZE)
    WriteSubordinate(dut, memory, beat_bytes=8, latency=5)
    bench.source.put([instruction(cfg, address=0xF00, length=64, segments=8, pitch=128)])
    await ClockCycles(dut.clk, 150)
    assert bench.refused == 1
    assert not bench.done
    assert dut.idle.value
    assert all(0xE00 <= a and a + 8 * n <= 0x1000 for _, a, n in bench.referee.writes)
    assert not any(memory[:0xE00])
    assert not any(memory[0x1000:])


@pytest.mark.parametrize(
    ("machine", "pause"),
    [("tiny", 0), ("tiny", 0.5), ("tiny", 0.9), ("one burst", 0), ("default", 0.5),
     ("large", 0.5)],
)  # fmt: skip
def test_moves_segments(machine, pause):
    params = {"machine": machine, "pause": pause, "seed": 51}
    run_cocotb(StorePath(MACHINES[machine]), __name__, params=params, testcase="moves_segments")


@pytest.mark.parametrize(
    ("machine", "count", "fields", "cycles"),
    [
        # One run: a beat a cycle.
        ("default", 1, {"address": 0x1000, "length": 8192}, 512),
        # The same at an address that is in the middle of a beat and of a burst.
        ("default", 1, {"address": 0x1087, "local": 7, "length": 8000}, 501),
        # Runs of four beats: no gap between segments nor between instructions.
        ("tiny", 4, {"address": 0x100, "length": 32, "segments": 32, "pitch": 256}, 512),
        # Runs of two beats: two cycles a segment are enough, 16 responses outstanding too.
        ("tiny", 1, {"address": 0x100, "length": 16, "segments": 32, "pitch": 256}, 64),
    ],
)
def test_keeps_the_bus_busy(machine, count, fields, cycles):
    params = {"machine": machine, "count": count, "fields": fields, "cycles": cycles}
    run_cocotb(StorePath(MACHINES[machine]), __name__, params=params, testcase="keeps_the_bus_busy")


@pytest.mark.parametrize(
    "case",
    ["answers_after_the_last_response", "refuses_what_is_illegal", "writes_only_granted_memory"],
)
def test_rules(case):
    run_cocotb(StorePath(MACHINES["tiny"]), __name__, testcase=case)
