# SPDX-License-Identifier: Apache-2.0
"""A register slice: cuts the paths of a stream, forwards or in both directions."""

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

__all__ = ["RegisterSlice"]


class RegisterSlice(Component):
    """Holds an entry at the output; a full slice, too, what came while that one waited.

    Throughput one entry a cycle; latency one cycle. Full and forward are AMBA's names.

    Parameters
    ----------
    shape : payload of both streams.
    full : whether ``i.ready`` comes from a register too, or sees ``o.ready`` of the same cycle.

    Members
    -------
    i, o : In, Out(stream.Signature(shape))
    hold : In(1)
        Offer no new entry; one that is offered stays.
    """

    def __init__(self, shape: ShapeLike, full: bool = True) -> None:
        self.shape = shape
        self.full = full
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "hold": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        move = Signal()
        m.d.comb += move.eq((~self.o.valid | self.o.ready) & ~self.hold)
        if not self.full:
            m.d.comb += self.i.ready.eq(move)
            with m.If(move):
                m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
            with m.Elif(self.o.ready):
                m.d.sync += self.o.valid.eq(0)
            return m
        spare, free = Signal(self.shape), Signal(init=1)
        m.d.comb += self.i.ready.eq(free)
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
