# SPDX-License-Identifier: Apache-2.0
"""A lane's operands: written by the beat, read at two places a cycle, by the beat and the byte."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.ram import block_ram
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LoadTarget

__all__ = ["OperandMemory"]


class OperandMemory(Component):
    """``special.bytes`` bytes, held twice: each copy serves one reader.

    A read means nothing while its beat is written.

    Parameters
    ----------
    cfg : ``special.bytes``, ``axi_data_width``.
    lane : whose operands; a beat for byte lane * special.bytes + offset is taken.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for other targets and lanes are ignored.
    place : In(ArrayLayout(range(special.bytes), 2))
        Where to read, in every cycle.
    beat : Out(ArrayLayout(axi_data_width, 2))
        The beats around these places, one cycle later, from the memories.
    byte : Out(ArrayLayout(8, 2))
        The bytes at these places, two cycles later, from registers.
    """

    def __init__(self, cfg: AcceleratorConfig, lane: int) -> None:
        self.cfg = cfg
        self.lane = lane
        super().__init__({
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "place": In(data.ArrayLayout(range(cfg.special.bytes), 2)),
            "beat": Out(data.ArrayLayout(cfg.axi_data_width, 2)),
            "byte": Out(data.ArrayLayout(8, 2)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, asked = self.cfg, self.write.payload
        beat_bits, place_bits = exact_log2(cfg.beat_bytes), exact_log2(cfg.special.bytes)
        lane_bits = exact_log2(cfg.special.lanes)
        written = Signal()
        m.d.comb += written.eq(
            self.write.valid
            & (asked.target == LoadTarget.OPERAND)
            & (asked.address[place_bits : place_bits + lane_bits] == self.lane)
        )
        for reader in range(2):
            memory = block_ram(cfg.axi_data_width, cfg.special.bytes // cfg.beat_bytes)
            m.submodules[f"copy_{reader}"] = memory
            write, read = memory.write_port(), memory.read_port()
            place = self.place[reader]
            position = Signal(beat_bits, name=f"position_{reader}", reset_less=True)
            m.d.comb += [
                write.en.eq(written),
                write.addr.eq(asked.address[beat_bits:place_bits]),
                write.data.eq(asked.data),
                read.addr.eq(place[beat_bits:]),
                self.beat[reader].eq(read.data),
            ]
            m.d.sync += [
                position.eq(place[:beat_bits]),
                self.byte[reader].eq(read.data.word_select(position, 8)),
            ]
        return m
