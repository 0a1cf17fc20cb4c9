# SPDX-License-Identifier: Apache-2.0
"""A value, a fixed number of cycles later, in as few registers as that takes."""

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.ram import block_ram

__all__ = ["Delay"]

_FROM_MEMORY = 4


class Delay(Component):
    """Gives ``i`` back ``cycles`` cycles later, in every cycle.

    Short delays are registers, longer ones a memory around which an address runs; neither has a
    reset, so what comes out in the first ``cycles`` cycles means nothing.

    Parameters
    ----------
    shape : of the value.
    cycles : at least 0.

    Members
    -------
    i : In(shape); o : Out(shape).

    Raises
    ------
    ValueError
        For negative ``cycles``.
    """

    def __init__(self, shape: ShapeLike, cycles: int) -> None:
        if cycles < 0:
            raise ValueError(f"cycles is {cycles}; legal: at least 0")
        self.shape = shape
        self.cycles = cycles
        super().__init__({"i": In(shape), "o": Out(shape)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.cycles < _FROM_MEMORY:
            value = self.i
            for cycle in range(self.cycles):
                later = Signal(self.shape, name=f"d{cycle + 1}", reset_less=True)
                m.d.sync += later.eq(value)
                value = later
            m.d.comb += self.o.eq(value)
            return m

        # Read a place one cycle before it is written again: never both in one cycle.
        m.submodules.memory = memory = block_ram(self.shape, self.cycles)
        write, read = memory.write_port(), memory.read_port()
        place, following = Signal(range(self.cycles)), Signal(range(self.cycles), init=1)
        m.d.sync += [place.eq(following), following.eq(following + 1)]
        with m.If(following == self.cycles - 1):
            m.d.sync += following.eq(0)
        m.d.comb += [
            write.en.eq(1),
            write.addr.eq(place),
            write.data.eq(self.i),
            read.addr.eq(following),
            self.o.eq(read.data),
        ]
        return m
