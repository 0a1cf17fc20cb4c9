# SPDX-License-Identifier: Apache-2.0
"""LOAD engine, arbiter and read master on a bus, and what they did to the memories on chip."""

import cocotb
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiRamRead, AxiReadBus

from kiwicha.hw.load.format_path import byte_write_source
from kiwicha.hw.load.load import LoadEngine
from kiwicha.hw.parts.axi import REQUEST, AXI4ReadSignature, read_beat
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.read_arbiter import ReadArbiter
from kiwicha.hw.parts.read_master import ReadMaster
from kiwicha.hw.parts.writes import (
    WriteKind,
    bank_write,
    forward_port,
    scratchpad_write,
    weight_write,
)
from kiwicha.machine.isa import ENGINES, LOAD, LoadTarget

from ..parts.bus import PREFIX, Referee, pauses
from ..support.streams import StreamSource, start_clock_and_reset, unpack

__all__ = ["GUARD", "SIZE", "Bench", "LoadPath", "instruction", "serve", "start", "writes"]

SIZE = 1 << 16
GUARD = 0x5A
"""What the weight scratchpad holds before anything is loaded."""


class LoadPath(Component):
    """The units as they are in the machine; ``fetch`` is the other client's side."""

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
            "weight_write": Out(stream.Signature(weight_write(cfg), always_ready=True)),
            **byte_write_source(cfg),
            **forward_port(cfg, In),
            "fetch_request": In(stream.Signature(REQUEST)),
            "fetch": Out(stream.Signature(read_beat(cfg))),
            "axi": Out(AXI4ReadSignature(cfg.axi_address_width, cfg.axi_data_width)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = LoadEngine(self.cfg)
        m.submodules.arbiter = arbiter = ReadArbiter(self.cfg)
        m.submodules.master = master = ReadMaster(self.cfg)
        given = (*byte_write_source(self.cfg), *forward_port(self.cfg, In))
        for name in ("i", "done", "error", "write", "weight_write", *given):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(engine, name))
        wiring.connect(m, wiring.flipped(self.fetch_request), arbiter.request[0])
        wiring.connect(m, arbiter.data[0], wiring.flipped(self.fetch))
        wiring.connect(m, engine.request, arbiter.request[1])
        wiring.connect(m, arbiter.data[1], engine.data)
        wiring.connect(m, arbiter.master_request, master.request)
        wiring.connect(m, master.data, arbiter.master_data)
        wiring.connect(m, wiring.flipped(self.axi), master.axi)
        m.d.comb += [
            self.busy.eq(engine.busy), self.idle.eq(master.idle),
            engine.stop.eq(self.stop), master.stop.eq(self.stop),
            master.window_limit.eq(self.window_limit), self.refused.eq(master.error.valid),
        ]
        return m


def instruction(cfg, **fields):
    """Return a LOAD of one beat, changed by ``fields``."""
    base = {"target": 0, "local": 0, "address": 0, "length": cfg.beat_bytes, "segments": 1}
    return dict.fromkeys(LOAD.members, 0) | base | fields


class Bench:
    """The unit after reset, with what it wrote, finished and complained about.

    Members
    -------
    writes : (target, byte address, word) of every beat.
    places : ((row, column), ...) of every other write.
    image : what the weight scratchpad holds.
    activations : what interleaved rows left in the activation scratchpad.
    cycles : the cycle of each write.
    done : each signal mask, with the number of ``writes`` and of ``places`` before it.
    faults : (code, address) of each fault.
    """

    def __init__(self, dut, cfg, *, drive=True):
        self.dut = dut
        self.cfg = cfg
        self.referee = Referee(dut, beat_bytes=cfg.beat_bytes, burst_beats=cfg.axi_burst_beats)
        self.source = StreamSource(dut, "i", LOAD) if drive else None
        self.clear()
        cocotb.start_soon(self._watch())

    def clear(self):
        self.writes, self.places, self.cycles, self.done, self.faults = [], [], [], [], []
        self.image = bytearray([GUARD]) * self.cfg.weight_bytes
        self.activations = bytearray([GUARD]) * self.cfg.activation_bytes

    async def reset(self):
        self.dut.stop.value = 0
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 2)
        self.dut.rst.value = 0
        self.clear()

    async def _watch(self):
        dut = self.dut
        shape, weights = scratchpad_write(self.cfg), weight_write(self.cfg)
        while True:
            await RisingEdge(dut.clk)
            if dut.done__valid.value:
                self.done.append((int(dut.done__payload.value), len(self.writes), len(self.places)))
            beat, bytes_ = dut.write__valid.value, dut.weight_write__valid.value
            apart = self.cfg.interleave and dut.byte_write__valid.value
            # A beat of STORE's goes on while others write weights.
            assert bool(beat and not self.cfg.forwarding) + bool(bytes_) + bool(apart) <= 1
            assert not (beat and apart)
            if apart:
                self._write_apart(unpack(bank_write(self.cfg), int(dut.byte_write__payload.value)))
            if beat or bytes_ or apart:
                self.cycles.append(self.referee.cycle)
            if beat:
                write = unpack(shape, int(dut.write__payload.value))
                assert write["target"] != LoadTarget.WEIGHT
                self.writes.append((write["target"], write["address"], write["data"]))
            if bytes_:
                self._write_weights(unpack(weights, int(dut.weight_write__payload.value)))
            if dut.error__valid.value:
                fault = int(dut.error__payload.value)
                self.faults.append((fault & 0xFF, fault >> 8))

    def _write_apart(self, write):
        banks = self.cfg.activation_banks
        for bank, byte in enumerate(write):
            if byte["live"]:
                self.activations[byte["word"] * banks + bank] = byte["octet"]

    def _write_weights(self, write):
        pitch, beat = self.cfg.weight_pitch, self.cfg.beat_bytes
        row, column, live = write["row"], write["column"], write["live"]
        if write["kind"] == WriteKind.BEAT:
            address = row * pitch + column
            assert address % beat == 0
            octets = bytes(write["data"][:beat])
            self.image[address : address + beat] = octets
            word = int.from_bytes(octets, "little")
            self.writes.append((LoadTarget.WEIGHT, address, word))
            return
        if write["kind"] == WriteKind.ROW:
            assert column + live < pitch
            assert column == 0 or self.cfg.transposer
            places = tuple((row, column + index) for index in range(live + 1))
        else:
            assert self.cfg.transposer
            assert live < beat
            assert (row + live) * pitch < self.cfg.weight_bytes
            places = tuple((row + index, column) for index in range(live + 1))
        for (y, x), octet in zip(places, write["data"], strict=False):
            self.image[y * pitch + x] = octet
        self.places.append(places)

    async def finish(self, count):
        while len(self.done) < count:
            assert self.dut.busy.value or not self.source.sent
            assert not self.faults
            await RisingEdge(self.dut.clk)
        await ClockCycles(self.dut.clk, 2)
        assert not self.dut.busy.value
        assert self.dut.idle.value
        assert not self.faults


def serve(dut, memory, pause, seed):
    """Answer reads from ``memory``, each channel pausing with probability ``pause``."""
    ram = AxiRamRead(AxiReadBus.from_prefix(dut, PREFIX), dut.clk, size=SIZE)
    ram.write(0, memory)
    if pause:
        ram.ar_channel.set_pause_generator(pauses(pause, f"{seed} ar"))
        ram.r_channel.set_pause_generator(pauses(pause, f"{seed} r"))
    return ram


async def start(dut, cfg, *, drive=True):
    """Reset the unit and return its bench, with all of memory granted."""
    await start_clock_and_reset(dut)
    dut.window_limit.value = SIZE
    dut.fetch__ready.value = 1
    return Bench(dut, cfg, drive=drive)


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
