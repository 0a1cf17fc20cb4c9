# SPDX-License-Identifier: Apache-2.0
"""The slots: scale and zero point, or shift, of tensors whose range is found as they are made."""

from amaranth.hdl import Module
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SLOT_BYTES, SLOTS, LoadTarget
from kiwicha.machine.records import SLOT_LAYOUT

__all__ = ["RECORD_BITS", "SETTLED", "Slots"]

RECORD_BITS = 8 * SLOTS * SLOT_BYTES
SETTLED = data.StructLayout({"slot": range(SLOTS), "content": SLOT_LAYOUT})
"""A slot and what follows for it from a range."""


class Slots(Component):
    """Keeps the slots; LOAD writes beats of their record, a mode that has settled writes one slot.

    Latency: a write shows a cycle later. Both at once must not name one slot: the program sees to
    that, by its tokens.

    Parameters
    ----------
    cfg : the bus.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for other targets, or behind the slots, are ignored.
    settled : In(stream.Signature(SETTLED, always_ready=True))
    slots : Out(ArrayLayout(SLOT_LAYOUT, SLOTS)); record : Out(8 * SLOTS * SLOT_BYTES)
        All slots, and as STORE writes them.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "settled": In(stream.Signature(SETTLED, always_ready=True)),
            "slots": Out(data.ArrayLayout(SLOT_LAYOUT, SLOTS)),
            "record": Out(RECORD_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat, written, settled = self.cfg.beat_bytes, self.write.payload, self.settled.payload
        address = written.address[exact_log2(beat) : exact_log2(SLOTS * SLOT_BYTES)]
        size = SLOT_LAYOUT.size
        ours = written.target == LoadTarget.DYNAMIC
        if self.cfg.real.functions:  # bounds follow
            ours &= ~written.address[exact_log2(SLOTS * SLOT_BYTES)]
        for slot in range(SLOTS):
            start, content = slot * SLOT_BYTES, self.slots[slot].as_value()
            m.d.comb += self.record[8 * start :][:size].eq(content)
            with m.If(self.settled.valid & (settled.slot == slot)):
                m.d.sync += content.eq(settled.content)
            with m.If(
                self.write.valid
                & ours
                & (address == start // beat)
            ):
                m.d.sync += content.eq(written.data[8 * (start % beat) :][:size])
        return m
