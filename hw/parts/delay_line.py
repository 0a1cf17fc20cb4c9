# SPDX-License-Identifier: Apache-2.0
"""A delay for words of which only some mean something."""

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.delay import Delay

__all__ = ["DelayLine"]


class DelayLine(Component):
    """Delays words by a fixed number of cycles; only the valid flags are registers.

    Parameters
    ----------
    shape : of a word.
    cycles : at least 1.

    Members
    -------
    i, o : In, Out(stream.Signature(shape, always_ready=True))
        What enters in cycle t leaves in cycle t + ``cycles``; the payload means nothing while
        ``valid`` is low.
    """

    def __init__(self, shape: ShapeLike, cycles: int) -> None:
        if cycles < 1:
            raise ValueError(f"cycles is {cycles}; legal: at least 1")
        self.shape = shape
        self.cycles = cycles
        words = stream.Signature(shape, always_ready=True)
        super().__init__({"i": In(words), "o": Out(words)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Delay(self.shape, self.cycles)
        m.d.comb += [words.i.eq(self.i.payload), self.o.payload.eq(words.o)]
        valid = Signal(self.cycles)
        m.d.sync += valid.eq((valid << 1) | self.i.valid)
        m.d.comb += self.o.valid.eq(valid[-1])
        return m
