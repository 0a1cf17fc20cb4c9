# SPDX-License-Identifier: Apache-2.0
"""Functions of single results, looked up on their way to the output buffer."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.ram import block_ram
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.narrow import answered_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import FUNCTION_ENTRIES, LoadTarget
from kiwicha.machine.latency import function_latency

__all__ = ["FunctionTable"]


class FunctionTable(Component):
    """Replaces every byte of a write by that of a table, or passes it on, equally late.

    Every lane has the tables for itself: LOAD writes whole beats to all of them, and each lane
    reads a beat and takes its byte of it. Throughput: a write a cycle. Latency: ``latency``, 2.
    A table must not be read while a beat of it is written.

    Parameters
    ----------
    cfg : ``functions.tables``, ``axi_data_width``, ``requantize_lanes`` and ``output_bytes``.
    delay : cycles from a step's ``function`` and ``table`` to its write.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for other targets are ignored.
    function : In(1); table : In(range(functions.tables))
        Whether and where to look up the bytes of the write that comes ``delay`` cycles later.
    enable : In(1)
        Whether anything is looked up of the write that is on ``i``.
    i : In(stream.Signature(answered_write(cfg), always_ready=True))
    o : Out(stream.Signature(answered_write(cfg), always_ready=True))
    """

    def __init__(self, cfg: AcceleratorConfig, delay: int) -> None:
        self.cfg, self.delay = cfg, delay
        self.latency = 2
        require_stated("a function's latency", self.latency, function_latency(cfg))
        written = stream.Signature(answered_write(cfg), always_ready=True)
        super().__init__({
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "function": In(1),
            "table": In(range(cfg.functions.tables)),
            "enable": In(1),
            "i": In(written),
            "o": Out(written),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, asked = self.cfg, self.write.payload
        beat, size = exact_log2(cfg.beat_bytes), FUNCTION_ENTRIES * cfg.functions.tables
        size_bits = exact_log2(size)
        asked_now = Cat(self.function, self.table)
        m.submodules.asked = late = Delay(len(asked_now), self.delay)
        m.d.comb += late.i.eq(asked_now)
        table, function, valid = late.o[1:], Signal(), Signal()
        came = Signal(self.i.payload.shape(), reset_less=True)
        # Cycle 1: read a beat of the table. Cycle 2: take the byte, or the one that came.
        m.d.sync += [
            function.eq(late.o[0] & self.enable),
            valid.eq(self.i.valid),
            came.eq(self.i.payload),
            self.o.valid.eq(valid),
            self.o.payload.eq(came),
        ]
        for lane, octet in enumerate(self.i.payload.write.data):
            m.submodules[f"lane_{lane}"] = memory = block_ram(
                cfg.axi_data_width, size // cfg.beat_bytes
            )
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.write.valid & (asked.target == LoadTarget.FUNCTION)),
                write.addr.eq(asked.address[beat:size_bits]),
                write.data.eq(asked.data),
                read.addr.eq(Cat(octet[beat:], table)),
            ]
            old = came.write.data[lane]
            found = read.data.word_select(old[:beat], 8)
            m.d.sync += self.o.payload.write.data[lane].eq(Mux(function, found, old))
        return m
