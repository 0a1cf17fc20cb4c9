# SPDX-License-Identifier: Apache-2.0
"""Holds an instruction back until the tokens that it waits for are there."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.machine.isa import ENGINES

__all__ = ["Issue"]


class Issue(Component):
    """Passes each instruction on after acquiring the tokens in its ``wait`` field.

    Tokens are acquired as soon as they are there, also while the engine is still at work, so that
    a ready engine never waits for the acquisition. Latency one cycle; at best one instruction in
    three cycles, which the words of an instruction take longer than to arrive.

    Parameters
    ----------
    layout : instruction layout with a ``wait`` field of one bit per engine.

    Members
    -------
    i, o : In, Out(stream.Signature(layout))
        The payload passes through unchanged.
    acquire : Out(stream.Signature(ENGINES))
        To this engine's port of ``Tokens``.
    stalled : Out(1)
        High in each cycle in which an instruction waits for a token that is not there.
    """

    def __init__(self, layout: data.StructLayout) -> None:
        self.layout = layout
        super().__init__({
            "i": In(stream.Signature(layout)),
            "o": Out(stream.Signature(layout)),
            "acquire": Out(stream.Signature(ENGINES)),
            "stalled": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        acquired, taken = Signal(), Signal()
        m.d.comb += [
            self.acquire.valid.eq(self.i.valid & ~acquired & ~taken),
            self.acquire.payload.eq(self.i.payload.wait),
            self.stalled.eq(self.acquire.valid & ~self.acquire.ready),
            self.o.valid.eq(acquired),
            self.o.payload.eq(self.i.payload),
            # A cycle late: so an engine's readiness does not reach the queues in the same cycle.
            self.i.ready.eq(taken),
        ]
        m.d.sync += taken.eq(self.o.valid & self.o.ready)
        with m.If(self.acquire.valid & self.acquire.ready):
            m.d.sync += acquired.eq(1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += acquired.eq(0)
        return m
