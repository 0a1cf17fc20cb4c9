# SPDX-License-Identifier: Apache-2.0
"""Weights on chip: written a beat at a time, read a row of the array at a time."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from hw.config import AcceleratorConfig
from hw.memory.ram import block_ram

__all__ = ["WeightScratchpad"]


class WeightScratchpad(Component):
    """One memory as wide as a beat or a row, whichever is wider.

    One read and one write a cycle, not of the same row. Latency ``read_latency`` cycles; neither
    back-pressure nor reset.

    Parameters
    ----------
    cfg : the machine.

    Members
    -------
    write : In(stream.Signature({address, data}, always_ready=True))
        A beat to a byte address, whose bits below the beat are ignored.
    row : In(range(weight_bytes // weight_pitch))
        Row to read.
    lanes : Out(ArrayLayout(8, columns))
        Its bytes, ``read_latency`` cycles later.
    """

    read_latency = 2

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        write = data.StructLayout({
            "address": range(cfg.weight_bytes),
            "data": unsigned(cfg.axi_data_width),
        })  # fmt: skip
        super().__init__({
            "write": In(stream.Signature(write, always_ready=True)),
            "row": In(range(cfg.weight_bytes // cfg.weight_pitch)),
            "lanes": Out(data.ArrayLayout(8, cfg.columns)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat, pitch = self.cfg.beat_bytes, self.cfg.weight_pitch
        wide = max(beat, pitch)
        beats, rows = (wide // beat - 1).bit_length(), (wide // pitch - 1).bit_length()
        m.submodules.memory = memory = block_ram(unsigned(8 * wide), self.cfg.weight_bytes // wide)

        write = self.write.payload
        write_port = memory.write_port(granularity=8 * beat if beats else None)
        address = write.address[(beat - 1).bit_length() :]
        m.d.comb += [
            write_port.addr.eq(address >> beats),
            write_port.data.eq(write.data.replicate(1 << beats)),
            write_port.en.eq(self.write.valid << address[:beats]),
        ]

        # Cycle 1: the word; cycle 2: the row in it.
        read_port = memory.read_port()
        part = Signal(rows)
        m.d.comb += [read_port.addr.eq(self.row >> rows), read_port.en.eq(1)]
        m.d.sync += part.eq(self.row[:rows])
        with m.Switch(part):
            for index in range(1 << rows):
                with m.Case(index):
                    row = read_port.data.word_select(index, 8 * pitch)
                    m.d.sync += self.lanes.as_value().eq(row)
        return m
