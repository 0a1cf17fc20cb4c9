# SPDX-License-Identifier: Apache-2.0
"""A register slice: two entries that cut the path from a stream's ``ready`` to its source."""

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

__all__ = ["RegisterSlice"]


class RegisterSlice(Component):
    """Holds an entry at the output, and one that came while that one waited.

    Throughput one entry a cycle; latency one cycle.

    Parameters
    ----------
    shape
        Payload of both streams.

    Members
    -------
    i, o : In, Out(stream.Signature(shape))
        ``i.ready`` is a register output; it does not see ``o.ready`` of the same cycle.
    hold : In(1)
        Offer no new entry; one that is offered stays.
    """

    def __init__(self, shape: ShapeLike) -> None:
        self.shape = shape
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "hold": In(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spare, free = Signal(self.shape), Signal(init=1)
        move = Signal()
        m.d.comb += [
            move.eq((~self.o.valid | self.o.ready) & ~self.hold),
            self.i.ready.eq(free),
        ]
        with m.If(free):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(move):
            m.d.sync += [
                self.o.valid.eq(~free | self.i.valid),
                self.o.payload.eq(Mux(free, self.i.payload, spare)),
                free.eq(1),
            ]
        with m.Else():
            with m.If(self.o.ready):
                m.d.sync += self.o.valid.eq(0)
            with m.If(free):
                m.d.sync += free.eq(~self.i.valid)
        return m
