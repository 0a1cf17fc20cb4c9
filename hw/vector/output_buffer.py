# SPDX-License-Identifier: Apache-2.0
"""The output buffer: results in at any byte, beats out."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.ram import ram_class
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["OutputBuffer", "output_write"]


def output_write(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a write: ``data[0]`` to ``data[live]`` into the bytes from ``address`` on."""
    return data.StructLayout({
        "address": range(cfg.output_bytes),
        "live": range(cfg.requantize_lanes),
        "data": data.ArrayLayout(8, cfg.requantize_lanes),
    })


class OutputBuffer(Component):
    """``output_banks`` byte-wide memories side by side; byte a lies in bank a mod ``output_banks``.

    A write and a read every cycle. A read sees a write that was taken two or more cycles earlier.
    Without registers behind block RAM there is one where the beat is picked: the same latency.

    Parameters
    ----------
    cfg : ``output_bytes``, ``output_banks``, ``axi_data_width`` and ``requantize_lanes``.
    write_latency : 2, the cycles from ``write`` to the first read that sees it.
    read_latency : 2, the cycles from ``read_address`` to ``read_data``.

    Members
    -------
    write : In(stream.Signature(output_write(cfg), always_ready=True))
        Bytes to write; must not run past the end.
    read_enable : In(1); read_address : In(32)
        Read of the beat at this byte address, a multiple of a beat; high bits are ignored.
    read_data : Out(axi_data_width)
        That beat, ``read_latency`` cycles later.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._registered = "memory" in cfg.pipeline
        self.write_latency = 2
        self.read_latency = 2
        super().__init__({
            "write": In(stream.Signature(output_write(cfg), always_ready=True)),
            "read_enable": In(1),
            "read_address": In(32),
            "read_data": Out(cfg.axi_data_width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        banks, lanes = cfg.output_banks, cfg.requantize_lanes
        bank_bits, size_bits = exact_log2(banks), exact_log2(cfg.output_bytes)
        positions = cfg.parameter_lanes  # lanes, rounded up to a power of two

        # Cycle 1: a bank takes its byte from the lanes turned around by the address, and where
        # the bytes run over the end of a row, the first banks write to the next one.
        asked = self.write.payload
        start = asked.address[:bank_bits]
        row, next_row = Signal(size_bits - bank_bits), Signal(size_bits - bank_bits)
        enable, wrapped = Signal(banks), Signal(positions - 1)
        turned = Signal(data.ArrayLayout(8, positions))
        spread = Signal(banks + positions - 1)
        live = Cat(asked.live >= lane for lane in range(lanes))
        m.d.comb += spread.eq(live << start)
        m.d.sync += [
            row.eq(asked.address[bank_bits:]),
            next_row.eq(asked.address[bank_bits:] + 1),
            turned.eq(self._turn(asked, positions)),
            wrapped.eq(spread[banks:]),
            enable.eq((spread[:banks] | spread[banks:]) & self.write.valid.replicate(banks)),
        ]

        # Cycle 2: write. Read beside it.
        taken = Signal()
        m.d.sync += taken.eq(self.read_enable)
        rows: list[Value] = []
        for bank in range(banks):
            memory = ram_class(cfg.cells)(
                8, cfg.output_bytes // banks, registered=self._registered
            )
            m.submodules[f"bank_{bank}"] = memory
            write_row = Mux(wrapped[bank], next_row, row) if bank < positions - 1 else row
            m.d.comb += [
                memory.write.eq(enable[bank]),
                memory.write_address.eq(write_row),
                memory.write_data.eq(turned[bank % positions]),
                memory.read.eq(self.read_enable | taken),
                memory.read_address.eq(self.read_address[bank_bits:size_bits]),
                memory.take.eq(taken),
            ]
            rows.append(memory.read_data)
        # The beat in the row.
        asked_beat = self.read_address[exact_log2(cfg.beat_bytes) : bank_bits]
        beat, s2_beat = Signal.like(asked_beat), Signal.like(asked_beat)
        m.d.sync += beat.eq(asked_beat)
        if self._registered:
            with m.If(taken):
                m.d.sync += s2_beat.eq(beat)
            m.d.comb += self.read_data.eq(Cat(rows).word_select(s2_beat, cfg.axi_data_width))
        else:
            with m.If(taken):
                m.d.sync += self.read_data.eq(Cat(rows).word_select(beat, cfg.axi_data_width))
        return m

    @staticmethod
    def _turn(asked: data.View, positions: int) -> Value:
        """Return the lanes' bytes, lane k at position (address + k) mod ``positions``."""
        turned: Value = Cat(
            asked.data.as_value(), Const(0, 8 * positions - len(asked.data.as_value()))
        )
        for bit in range(exact_log2(positions)):
            turned = Mux(asked.address[bit], turned.rotate_left(8 << bit), turned)
        return turned
