# SPDX-License-Identifier: Apache-2.0
"""For proofs of what moves words: one word is followed, of a number that the solver chooses.

If that word comes out once, unchanged and at its turn, whichever it is, all words do.
"""

from amaranth.hdl import Assume, Module, Signal
from amaranth.lib.stream import Interface
from amaranth.lib.wiring import Component, In, Out

from .formal import FirstCycle

__all__ = ["FollowedWord"]

_MOST = 15


class FollowedWord(Component):
    """Counts the words that go in and come out, and keeps the chosen one.

    Parameters
    ----------
    width : bits of a word.

    Members
    -------
    chosen : In(4)
        Left to the solver, who chooses once.
    put, got : In(1); word : In(width)
        A word goes in, or comes out, in this cycle; the one that goes in.
    puts, gots : Out(4)
        Words that went in and came out; never more than 15 go in.
    due : Out(1); kept : Out(width)
        The chosen word is the next to come out; its content, once it is in.
    """

    def __init__(self, width: int) -> None:
        super().__init__({
            "chosen": In(4), "put": In(1), "got": In(1), "word": In(width),
            "puts": Out(4), "gots": Out(4), "due": Out(1), "kept": Out(width),
        })

    def between(self, m: Module, i: Interface, o: Interface) -> None:
        """Follow what goes from the stream ``i`` to the stream ``o``."""
        m.d.comb += [
            self.put.eq(i.valid & i.ready),
            self.got.eq(o.valid & o.ready),
            self.word.eq(i.payload),
        ]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.first = first = FirstCycle()
        before = Signal(4, reset_less=True)
        m.d.comb += self.due.eq(self.gots == self.chosen)
        m.d.sync += [
            before.eq(self.chosen),
            self.puts.eq(self.puts + self.put),
            self.gots.eq(self.gots + self.got),
        ]
        with m.If(first.started):
            m.d.comb += [Assume(self.chosen == before), Assume(self.puts < _MOST)]
        with m.If(self.put & (self.puts == self.chosen)):
            m.d.sync += self.kept.eq(self.word)
        return m
