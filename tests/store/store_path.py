# SPDX-License-Identifier: Apache-2.0
"""STORE engine, records and write master on a bus: what is read, and what becomes of memory."""

import random

import cocotb
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.parts.axi import AXI4WriteSignature
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.write_master import WriteMaster
from kiwicha.hw.parts.writes import forward_port, scratchpad_write
from kiwicha.hw.store.records import KEPT, Records, record_bytes
from kiwicha.hw.store.store import READ_LATENCY, StoreEngine, store_sources
from kiwicha.machine.destination import FORWARDED, StoreDestination, destinations
from kiwicha.machine.isa import COUNTER_WORDS, ENGINES, STORE, WORD_BITS, Opcode, StoreSource

from ..parts.bus import Referee
from ..support.streams import StreamSink, StreamSource, start_clock_and_reset

__all__ = [
    "RECORD", "SIZE", "Bench", "StorePath", "apply", "instruction", "random_instruction", "start",
]

SIZE = 1 << 16
RECORD = COUNTER_WORDS * WORD_BITS // 8


class StorePath(Component):
    """STORE engine, records and write master as they are in the machine."""

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
            "result_enable": Out(1),
            "result_address": Out(32),
            "result_data": In(cfg.axi_data_width),
            **{StoreSource(kind).name.lower(): In(8 * n) for kind, n in record_bytes(cfg).items()},
            "axi": Out(AXI4WriteSignature(cfg.axi_address_width, cfg.axi_data_width)),
            **forward_port(cfg, Out),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = StoreEngine(self.cfg)
        m.submodules.master = master = WriteMaster(self.cfg)
        m.submodules.records = records = Records(self.cfg)
        named, counters = (Signal(self.cfg.axi_data_width, name=n) for n in ("named", "counters"))
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
            self.refused.eq(master.error.valid),
            records.counters.eq(counters), records.kind.eq(engine.record_kind),
            records.index.eq(engine.record_index),
            engine.record_data.eq(records.data),
            self.read_enable.eq(engine.output_enable), self.read_address.eq(engine.output_address),
            engine.output_data.eq(self.read_data),
        ]
        if self.cfg.forwarding:
            wiring.connect(m, engine.forward, wiring.flipped(self.forward))
        if self.cfg.special.lanes:
            m.d.comb += [
                self.result_enable.eq(engine.result_enable),
                self.result_address.eq(engine.result_address),
                engine.result_data.eq(self.result_data),
            ]
        width, places = self.cfg.axi_data_width, len(self.counters) // self.cfg.axi_data_width
        place = engine.record_index[: exact_log2(places)]
        m.d.sync += [named.eq(self.counters.word_select(place, width)), counters.eq(named)]
        for kind in record_bytes(self.cfg):
            if kind in KEPT:
                port = getattr(self, StoreSource(kind).name.lower())
                m.d.comb += getattr(records, KEPT[kind]).eq(port)
        return m


def instruction(cfg, **fields):
    """Return a STORE of one beat, changed by ``fields``."""
    base = {"source": 0, "local": 0, "address": 0, "length": cfg.beat_bytes, "segments": 1}
    return dict.fromkeys(STORE.members, 0) | base | fields


def random_instruction(cfg, chooser):
    """Return a legal STORE inside the memory."""
    beat = cfg.beat_bytes
    counters = chooser.random() < 0.1
    sizes = store_sources(cfg)
    del sizes[StoreSource.COUNTERS]
    source = StoreSource.COUNTERS if counters else chooser.choice(list(sizes))
    on_chip = destinations(cfg) if source in (StoreSource.OUTPUT, StoreSource.RESULT) else {}
    destination = chooser.choice([StoreDestination.MEMORY, *on_chip])
    room = on_chip.get(destination, SIZE)
    while True:
        size = RECORD if counters else sizes[source]
        local = 0 if counters else chooser.randrange(size)
        length = chooser.choice((1, beat, chooser.randint(1, 3 * beat), chooser.randint(1, 600)))
        length = RECORD if counters else length
        segments = chooser.choice((1, 1, 2, chooser.randint(1, 12)))
        pitch = chooser.randint(-500, 900)
        local_pitch = pitch + beat * chooser.randint(-20, 20)
        if counters:
            pitch, local_pitch = pitch // beat * beat, 0
        address = chooser.randrange(room) // beat * beat + local % beat
        ends = (address, address + (segments - 1) * pitch)
        local_ends = (local, local + (segments - 1) * local_pitch)
        inside = min(ends) // beat * beat >= 0 and max(ends) + length + beat <= room
        if inside and min(local_ends) >= 0 and max(local_ends) + length <= size:
            return instruction(
                cfg, source=source, local=local, address=address, length=length,
                segments=segments, pitch=pitch, local_pitch=local_pitch,
                signal=chooser.getrandbits(ENGINES), wait=chooser.getrandbits(ENGINES),
                opcode=Opcode.STORE, destination=destination,
            )


def apply(memory, contents, store, writes=None, beat=0):
    """Do to ``memory`` what a STORE does; ``contents`` are the bytes of each source. What goes to
    memories on chip is appended to ``writes``, a beat each."""
    source = contents[store["source"]]
    if store["destination"] != StoreDestination.MEMORY:
        target = FORWARDED[store["destination"]]
        for k in range(store["segments"]):
            to = (store["address"] + k * store["pitch"]) // beat * beat
            local = store["local"] + k * store["local_pitch"]
            first, stop = local // beat * beat, local + store["length"]
            for place in range(first, stop, beat):
                word = int.from_bytes(source[place : place + beat], "little")
                writes.append({"target": target, "address": to + place - first, "data": word})
        return
    for k in range(store["segments"]):
        address = store["address"] + k * store["pitch"]
        local = store["local"] + k * store["local_pitch"]
        memory[address : address + store["length"]] = source[local : local + store["length"]]


class Bench:
    """The unit after reset, with its memories, what it finished and complained about."""

    def __init__(self, dut, cfg, output, results=b"", *, drive=True, ready="always"):
        self.dut = dut
        self.cfg = cfg
        self.referee = Referee(dut, beat_bytes=cfg.beat_bytes, burst_beats=cfg.axi_burst_beats)
        self.source = StreamSource(dut, "i", STORE) if drive else None
        self.done = []
        self.faults = []
        self.refused = 0
        cocotb.start_soon(self._read("read", output))
        cocotb.start_soon(self._read("result", results))
        cocotb.start_soon(self._watch())
        self.forwarded = None
        if cfg.forwarding:
            self.forwarded = StreamSink(dut, "forward", scratchpad_write(cfg), policy=ready)

    async def _read(self, name, content):
        dut, beat = self.dut, self.cfg.beat_bytes
        enable, address, back = (
            getattr(dut, f"{name}_{port}") for port in ("enable", "address", "data")
        )
        noise = random.Random(1)
        stages = [None] * READ_LATENCY
        while True:
            await RisingEdge(dut.clk)
            place = int(address.value) if enable.value else None
            stages = [place, *stages[:-1]]
            # Presented before this edge: back before the second edge from here.
            if stages[-1] is None:
                back.value = noise.getrandbits(8 * beat)
            else:
                word = content[stages[-1] : stages[-1] + beat]
                assert len(word) == beat
                assert stages[-1] % beat == 0
                back.value = int.from_bytes(word, "little")

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


async def start(dut, cfg, output=b"", results=b"", **options):
    """Reset the unit, grant it all of memory and return its bench."""
    await start_clock_and_reset(dut)
    dut.window_limit.value = SIZE
    return Bench(dut, cfg, output, results, **options)
