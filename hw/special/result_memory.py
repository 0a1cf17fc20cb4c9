# SPDX-License-Identifier: Apache-2.0
"""A lane's results: written by the byte, read by the beat."""

from amaranth.hdl import Module
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.ram import block_ram
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["ResultMemory", "result_write"]


def result_write(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a write of one byte."""
    return data.StructLayout({"place": range(cfg.special.bytes), "value": 8})


class ResultMemory(Component):
    """``special.bytes`` bytes with a write and a read in every cycle.

    A read sees every write of the cycles before; it means nothing while its beat is written.

    Parameters
    ----------
    cfg : ``special.bytes``, ``axi_data_width``.

    Members
    -------
    write : In(stream.Signature(result_write(cfg), always_ready=True))
    read_enable : In(1); read_place : In(range(special.bytes))
        Read of the beat around this byte.
    beat : Out(axi_data_width)
        That beat, one cycle later, from the memory.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "write": In(stream.Signature(result_write(cfg), always_ready=True)),
            "read_enable": In(1),
            "read_place": In(range(cfg.special.bytes)),
            "beat": Out(cfg.axi_data_width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, asked = self.cfg, self.write.payload
        beat_bits = exact_log2(cfg.beat_bytes)
        m.submodules.memory = memory = block_ram(
            cfg.axi_data_width, cfg.special.bytes // cfg.beat_bytes
        )
        write, read = memory.write_port(granularity=8), memory.read_port()
        m.d.comb += [
            write.en.eq(self.write.valid << asked.place[:beat_bits]),
            write.addr.eq(asked.place[beat_bits:]),
            write.data.eq(asked.value.replicate(cfg.beat_bytes)),
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_place[beat_bits:]),
            self.beat.eq(read.data),
        ]
        return m
