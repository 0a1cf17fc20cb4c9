# SPDX-License-Identifier: Apache-2.0
"""A window on a stream of bits: beats go in, pieces of a few sizes are taken from its start."""

from collections.abc import Sequence
from math import gcd

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.sparse.contract import beat_layout

__all__ = ["BitWindow"]


class BitWindow(Component):
    """Shows the next bits of a stream, its first bit at bit 0.

    Latency: a beat is in view the cycle after its transfer. Throughput: a beat a cycle as long as
    that fits, which ``slack`` is for: without it pieces of up to half a beat come without a pause,
    larger ones every second cycle at worst; with a beat of it, pieces that take a beat a cycle on
    average lose about one cycle in a hundred.

    Parameters
    ----------
    beat_bytes : bytes of a beat.
    sizes : bits that each choice of ``take`` takes away, the first one 0.
    slack : bits held beyond a beat and the largest piece.

    Members
    -------
    i : In(stream.Signature(beat_layout(beat_bytes)))
        ``i.ready`` sees no input of the cycle. After the last beat it stays low until ``restart``.
    take : In(range(len(sizes)))
        What to take at the end of the cycle; no more than ``level``.
    view : Out(max(sizes))
        The next bits; zeros beyond ``level``.
    level : Out
        Number of bits held.
    has : Out(len(sizes))
        Bit k: there are ``sizes[k]`` bits.
    ended, blank, surplus : Out(1)
        The last beat is in; all bits held are 0; a whole beat or more is held.
    offset : Out(32)
        Byte of the stream that the view begins in.
    restart : In(1)
        Forget everything; wins over ``take``. ``ended`` or nothing may be on the way in.
    """

    def __init__(self, beat_bytes: int, sizes: Sequence[int], slack: int = 0) -> None:
        beat = 8 * beat_bytes
        if len(sizes) < 2 or sizes[0] != 0:
            raise ValueError(f"sizes are {list(sizes)}; legal: 0 and at least one more")
        self.sizes = tuple(sizes)
        self.unit = gcd(beat, *sizes)
        self.beat = beat
        longest = max(sizes)
        # A beat always fits in when less than a beat is held, or than the largest piece.
        self.capacity = beat + max(beat, longest + slack)
        super().__init__({
            "i": In(stream.Signature(beat_layout(beat_bytes))),
            "take": In(range(len(sizes))),
            "view": Out(longest),
            "level": Out(range(self.capacity + 1)),
            "has": Out(len(sizes)),
            "ended": Out(1),
            "blank": Out(1),
            "surplus": Out(1),
            "offset": Out(32),
            "restart": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit = self.unit
        held = Signal(self.capacity)
        # Counted in units: the narrower, the fewer places a beat can go to.
        count = Signal(range(self.capacity // unit + 1))
        after = Signal.like(count)
        filled = Signal.like(held)
        put = Signal()
        # The beat goes to its place while the unit that takes decides how much, and moves on with
        # the rest. A beat is a power of two, so a unit is one too.
        placed = (self.i.payload.data << Cat(Const(0, exact_log2(unit)), count))[: self.capacity]
        m.d.comb += filled.eq(held | Mux(put, placed, 0))
        consumed = Signal(unsigned(36))
        with m.Switch(self.take):
            for choice, size in enumerate(self.sizes):
                with m.Case(choice):
                    m.d.comb += after.eq(count - size // unit)
                    m.d.sync += [held.eq(filled >> size), consumed.eq(consumed + size)]
        m.d.comb += [
            self.i.ready.eq((count <= (self.capacity - self.beat) // unit) & ~self.ended),
            put.eq(self.i.valid & self.i.ready),
            self.view.eq(held),
            self.level.eq(count * unit),
            self.has.eq(Cat(count >= size // unit for size in self.sizes)),
            self.blank.eq(held == 0),
            self.surplus.eq(count >= self.beat // unit),
            self.offset.eq(consumed >> 3),
        ]
        m.d.sync += count.eq(after)
        with m.If(put):
            m.d.sync += [
                count.eq(after + self.beat // unit), self.ended.eq(self.i.payload.last)
            ]
        with m.If(self.restart):
            m.d.sync += [held.eq(0), count.eq(0), self.ended.eq(0), consumed.eq(0)]
        return m
