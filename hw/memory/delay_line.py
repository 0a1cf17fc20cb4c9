# SPDX-License-Identifier: Apache-2.0
"""A long delay for wide words, kept in a memory instead of registers."""

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from hw.memory.ram import block_ram

__all__ = ["DelayLine"]


class DelayLine(Component):
    """Delays words by a fixed number of cycles; only the valid flags are registers.

    Parameters
    ----------
    shape : of a word.
    cycles : at least 3.

    Members
    -------
    i, o : In, Out(stream.Signature(shape, always_ready=True))
        What enters in cycle t leaves in cycle t + ``cycles``; the payload means nothing while
        ``valid`` is low.
    """

    def __init__(self, shape: ShapeLike, cycles: int) -> None:
        if cycles < 3:
            raise ValueError(f"cycles is {cycles}; legal: at least 3")
        self.shape = shape
        self.cycles = cycles
        words = stream.Signature(shape, always_ready=True)
        super().__init__({"i": In(words), "o": Out(words)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A ring as long as the delay: the place read now is the one written next.
        m.submodules.memory = memory = block_ram(self.shape, self.cycles)
        write_port, read_port = memory.write_port(), memory.read_port()
        place, following = Signal(range(self.cycles)), Signal(range(self.cycles), init=1)
        m.d.sync += place.eq(following)
        with m.If(following == self.cycles - 1):
            m.d.sync += following.eq(0)
        with m.Else():
            m.d.sync += following.eq(following + 1)
        m.d.comb += [
            write_port.addr.eq(place),
            write_port.data.eq(self.i.payload),
            write_port.en.eq(1),
            read_port.addr.eq(following),
            read_port.en.eq(1),
            self.o.payload.eq(read_port.data),
        ]
        valid = Signal(self.cycles)
        m.d.sync += valid.eq((valid << 1) | self.i.valid)
        m.d.comb += self.o.valid.eq(valid[-1])
        return m
