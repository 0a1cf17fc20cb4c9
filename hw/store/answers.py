# SPDX-License-Identifier: Apache-2.0
"""STORE's instructions are done in order, whether memory or the chip has their bytes."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.queue import Queue
from kiwicha.machine.isa import ENGINES

__all__ = ["Answers", "begun_layout"]


def begun_layout(forwarding: bool) -> data.StructLayout:
    """Return a segment that was begun: the last of its instruction, its signal mask, and with
    ``forwarding``, whether it goes to a memory on chip."""
    return data.StructLayout({
        "last": 1, "signal": ENGINES, **({"forwarded": 1} if forwarding else {})
    })


class Answers(Component):
    """Gives an instruction's signal mask when all its segments have ended.

    Ends of one kind come in the order of their segments, those of different kinds in any; those
    that are early wait. Latency: a cycle from a segment's end to ``done``, if all before it have
    ended, and one more than those. Throughput: a segment a cycle.

    Parameters
    ----------
    depth : segments that can be begun and not answered, a power of two, and one more.
    forwarding : whether there are segments that do not go to memory.

    Members
    -------
    i : In(stream.Signature(begun_layout(forwarding)))
        The segments in order, when they begin: two cycles before they end, or earlier.
    written, forwarded : In(1)
        A segment in memory, or on chip, has ended; the latter only with ``forwarding``.
    done : Out(stream.Signature(ENGINES, always_ready=True))
    """

    def __init__(self, depth: int, *, forwarding: bool) -> None:
        self.depth, self.forwarding = depth, forwarding
        super().__init__({
            "i": In(stream.Signature(begun_layout(forwarding))),
            "written": In(1),
            **({"forwarded": In(1)} if forwarding else {}),
            "done": Out(stream.Signature(ENGINES, always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pending = pending = Queue(begun_layout(self.forwarding), self.depth)
        wiring.connect(m, wiring.flipped(self.i), pending.i)
        first, ended = pending.o.payload, Signal()
        m.d.comb += [ended.eq(self.written), pending.o.ready.eq(ended)]
        if self.forwarding:
            there = [
                self._kept(m, name, pending.o.valid & (first.forwarded == kind))
                for kind, name in enumerate(("written", "forwarded"))
            ]
            m.d.comb += ended.eq(Mux(first.forwarded, there[1], there[0]))
        m.d.sync += [
            self.done.valid.eq(pending.o.valid & ended & first.last),
            self.done.payload.eq(first.signal),
        ]
        return m

    def _kept(self, m: Module, name: str, asked: Value) -> Value:
        """Return whether there is an end of one kind, which goes if it is ``asked`` for."""
        early, there = Signal(range(2 * self.depth), name=f"early_{name}"), Signal(name=name)
        m.d.comb += there.eq((early != 0) | getattr(self, name))
        m.d.sync += early.eq(early + getattr(self, name) - (there & asked))
        return there
