# SPDX-License-Identifier: Apache-2.0
"""The maximum of each row, a beat a cycle."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from kiwicha.hw.parts.ram import block_ram

__all__ = ["RowMaximum"]


class RowMaximum(Component):
    """Keeps the largest byte of each row in the row's slot. Throughput: a beat a cycle.

    Parameters
    ----------
    beat_bytes : bytes of a beat.
    slots : rows held.
    latency : cycles from a row's last beat on ``i`` to the first read that gives its maximum.

    Members
    -------
    i : In(stream.Signature(..., always_ready=True))
        ``beat``: unsigned bytes, of which ``low`` to ``high`` are looked at; ``first`` and
        ``last`` beat of the row in ``slot``.
    slot : In(ArrayLayout(range(slots), 2)); maximum : Out(ArrayLayout(8, 2))
        Two reads a cycle; the maximum one cycle later.
    """

    def __init__(self, beat_bytes: int, slots: int) -> None:
        self.beat_bytes = beat_bytes
        self.slots = slots
        self.latency = 3 + ceil_log2(beat_bytes)
        super().__init__({
            "i": In(
                stream.Signature(
                    data.StructLayout({
                        "beat": data.ArrayLayout(8, beat_bytes),
                        "low": range(beat_bytes),
                        "high": range(beat_bytes),
                        "slot": range(slots),
                        "first": 1,
                        "last": 1,
                    }),
                    always_ready=True,
                )
            ),
            "slot": In(data.ArrayLayout(range(slots), 2)),
            "maximum": Out(data.ArrayLayout(8, 2)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asked = self.i.payload
        # What is outside the row is 0, which is never more than what is inside.
        values: list[Value] = []
        for index in range(self.beat_bytes):
            value = Signal(8, name=f"masked_{index}", reset_less=True)
            inside = (index >= asked.low) & (index <= asked.high)
            m.d.sync += value.eq(Mux(inside, asked.beat[index], 0))
            values.append(value)
        beside = data.StructLayout({"slot": range(self.slots), "first": 1, "last": 1})
        tag, valid = Signal(beside, name="tag_0", reset_less=True), Signal(name="valid_0")
        m.d.sync += [
            valid.eq(self.i.valid),
            *(tag[name].eq(asked[name]) for name, _ in beside),
        ]
        level = 0
        while len(values) > 1:
            level += 1
            above: list[Value] = []
            for index in range(0, len(values), 2):
                a, b = values[index], values[index + 1]
                value = Signal(8, name=f"larger_{level}_{index}", reset_less=True)
                m.d.sync += value.eq(Mux(a > b, a, b))
                above.append(value)
            later, later_valid = (
                Signal(beside, name=f"tag_{level}", reset_less=True),
                Signal(name=f"valid_{level}"),
            )
            m.d.sync += [later.eq(tag), later_valid.eq(valid)]
            values, tag, valid = above, later, later_valid

        # The beats of a row follow each other.
        largest, slot, complete = Signal(8), Signal(range(self.slots)), Signal()
        m.d.sync += [complete.eq(valid & tag.last), slot.eq(tag.slot)]
        with m.If(valid & (tag.first | (values[0] > largest))):
            m.d.sync += largest.eq(values[0])
        m.submodules.maxima = maxima = block_ram(8, self.slots)
        write = maxima.write_port()
        m.d.comb += [write.en.eq(complete), write.addr.eq(slot), write.data.eq(largest)]
        for reader in range(2):
            read = maxima.read_port()
            m.d.comb += [read.addr.eq(self.slot[reader]), self.maximum[reader].eq(read.data)]
        return m
