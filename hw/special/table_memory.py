# SPDX-License-Identifier: Apache-2.0
"""A lane's tables: written by the beat, read an entry of each a cycle."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.ram import block_ram
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LoadTarget

__all__ = ["TableMemory"]

_ENTRY_BYTES = 4


class TableMemory(Component):
    """Tables A and B of ``special.entries`` 32-bit entries; for LOAD, B follows A.

    A read means nothing while its beat is written.

    Parameters
    ----------
    cfg : ``special.entries``, ``axi_data_width``.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for other targets are ignored.
    index : In(ArrayLayout(range(special.entries), 2))
        Which entry of A and which of B to read, in every cycle.
    entry : Out(ArrayLayout(32, 2))
        These entries, two cycles later, from registers.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "index": In(data.ArrayLayout(range(cfg.special.entries), 2)),
            "entry": Out(data.ArrayLayout(32, 2)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, asked = self.cfg, self.write.payload
        beat_bits = exact_log2(cfg.beat_bytes)
        table_bits = exact_log2(_ENTRY_BYTES * cfg.special.entries)
        in_beat = exact_log2(cfg.beat_bytes // _ENTRY_BYTES)
        for number, name in enumerate("ab"):
            memory = block_ram(
                cfg.axi_data_width, _ENTRY_BYTES * cfg.special.entries // cfg.beat_bytes
            )
            m.submodules[f"table_{name}"] = memory
            write, read = memory.write_port(), memory.read_port()
            index = self.index[number]
            position = Signal(in_beat, name=f"position_{name}", reset_less=True)
            m.d.comb += [
                write.en.eq(
                    self.write.valid
                    & (asked.target == LoadTarget.TABLE)
                    & (asked.address[table_bits] == number)
                ),
                write.addr.eq(asked.address[beat_bits:table_bits]),
                write.data.eq(asked.data),
                read.addr.eq(index[in_beat:]),
            ]
            m.d.sync += [
                position.eq(index[:in_beat]),
                self.entry[number].eq(read.data.word_select(position, 32)),
            ]
        return m
