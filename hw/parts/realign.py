# SPDX-License-Identifier: Apache-2.0
"""Bytes of beats that are wanted in part, closed up, and taken a few at a time."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.ram import block_ram

__all__ = ["ROWS", "Realigner", "part_layout"]

ROWS = 8
"""Bytes that each lane of the buffer holds."""


def part_layout(beat_bytes: int) -> data.StructLayout:
    """Return a beat of which bytes ``head`` to ``tail`` count; ``last`` ends the stream."""
    return data.StructLayout({
        "data": 8 * beat_bytes,
        "head": range(beat_bytes),
        "tail": range(beat_bytes),
        "last": 1,
    })


def _turned(value: Value, amount: Value) -> Value:
    """Return ``value`` with its byte 0 moved up to byte ``amount``, around the end."""
    for bit in range(len(amount)):
        value = Mux(amount[bit], value.rotate_left(8 << bit), value)
    return value


class Realigner(Component):
    """A queue of bytes: parts of beats go in, runs of up to a beat come out, both a beat a cycle.

    Byte number p of the stream is kept in lane p mod ``beat_bytes``, so a beat is turned around
    once on its way in, and once on its way out. Latency: a part can be taken three cycles after its
    transfer; what is taken is on ``o`` two cycles later.

    Parameters
    ----------
    beat_bytes : bytes of a beat, a power of two.

    Members
    -------
    i : In(stream.Signature(part_layout(beat_bytes)))
        ``i.ready`` sees no input of the cycle. Nothing may follow ``last`` until ``restart``.
    level : Out
        Bytes that can be taken.
    ended : Out(1)
        ``level`` counts the last byte.
    take : In(1), count : In(range(beat_bytes + 1))
        Take that many bytes, no more than ``level``, at the end of the cycle.
    o : Out(ArrayLayout(8, beat_bytes))
        The bytes taken two cycles ago, then others.
    restart : In(1)
        Forget the end; ``level`` must be 0.
    """

    def __init__(self, beat_bytes: int) -> None:
        self.beat_bytes = beat_bytes
        super().__init__({
            "i": In(stream.Signature(part_layout(beat_bytes))),
            "level": Out(range(ROWS * beat_bytes + 1)),
            "ended": Out(1),
            "take": In(1),
            "count": In(range(beat_bytes + 1)),
            "o": Out(data.ArrayLayout(8, beat_bytes)),
            "restart": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = self.beat_bytes
        bits = exact_log2(beat)
        place = data.StructLayout({"lane": bits, "row": exact_log2(ROWS)})

        # Room is set aside when a part comes in and is free again when its bytes are taken.
        part = self.i.payload
        taken = Signal(range(beat + 1))
        held = Signal(range(ROWS * beat + 1))
        put = Signal()
        size = Signal(range(beat + 1))
        m.d.comb += [
            taken.eq(Mux(self.take, self.count, 0)),
            self.i.ready.eq(held <= (ROWS - 1) * beat),
            put.eq(self.i.valid & self.i.ready),
            size.eq(part.tail - part.head + 1),
        ]
        m.d.sync += held.eq(held + Mux(put, size, 0) - taken)

        # Cycle 1: where to. Cycle 2: turn. Cycle 3: store.
        stage = data.StructLayout({
            "valid": 1, "data": 8 * beat, "to": place, "size": range(beat + 1), "last": 1,
        })
        end = Signal(place)
        s1, s2 = Signal(stage), Signal(stage)
        turn = Signal(bits)
        m.d.sync += [
            s1.valid.eq(put),
            s1.data.eq(part.data),
            s1.to.eq(end),
            s1.size.eq(size),
            s1.last.eq(part.last),
            turn.eq(end.lane - part.head),
            s2.eq(s1),
            s2.data.eq(_turned(s1.data, turn)),
        ]
        with m.If(put):
            m.d.sync += end.as_value().eq(end.as_value() + size)
        arrived = Signal.like(size)
        m.d.comb += arrived.eq(Mux(s2.valid, s2.size, 0))
        m.d.sync += self.level.eq(self.level + arrived - taken)
        with m.If(self.restart):
            m.d.sync += self.ended.eq(0)
        with m.Elif(s2.valid & s2.last):
            m.d.sync += self.ended.eq(1)

        # A lane before the first one holds bytes of the next row.
        start = Signal(place)
        m.d.sync += start.as_value().eq(start.as_value() + taken)
        read: list[Value] = []
        for lane in range(beat):
            m.submodules[f"lane{lane}"] = memory = block_ram(8, ROWS)
            write_port, read_port = memory.write_port(), memory.read_port()
            number = (lane - s2.to.lane)[:bits]
            m.d.comb += [
                write_port.addr.eq(s2.to.row + (s2.to.lane > lane)),
                write_port.data.eq(s2.data.word_select(lane, 8)),
                write_port.en.eq(s2.valid & (number < s2.size)),
                read_port.addr.eq(start.row + (start.lane > lane)),
            ]
            read.append(read_port.data)
        back = Signal(bits)
        m.d.sync += [
            back.eq(-start.lane),
            self.o.as_value().eq(_turned(Cat(read), back)),
        ]
        return m
