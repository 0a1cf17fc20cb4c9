# SPDX-License-Identifier: Apache-2.0
"""Where a step's first result lies in its tensor, which is what its random words depend on."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.delay import Delay
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VECTOR

__all__ = ["FlatIndex"]


class FlatIndex(Component):
    """Counts through the channels and pixels of VECTOR instructions of mode BLOCK.

    ``low`` and ``high`` are the halves of the index of an instruction's first result,
    ``zero_point`` the elements from one pixel to the next, as unsigned numbers. Indices are taken
    modulo 2^32. A step a cycle.

    Parameters
    ----------
    cfg : ``requantize_lanes``.
    latency : cycles from a step to its index, at least 0.

    Members
    -------
    take : In(1); instruction : In(VECTOR)
        An instruction is taken. Its first step comes two cycles later at the earliest; the last one
        of the instruction before at most one cycle later.
    step, final : In(1)
        A step is made; it is the last one of its pixel.
    o : Out(32)
        The index of the first result of the step that was made ``latency`` cycles ago.
    """

    def __init__(self, cfg: AcceleratorConfig, latency: int) -> None:
        self.lanes = cfg.requantize_lanes
        self._delay = Delay(32, latency)
        super().__init__({
            "take": In(1),
            "instruction": In(VECTOR),
            "step": In(1),
            "final": In(1),
            "o": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.delay = delay = self._delay
        asked, taken = self.instruction, Signal()
        first, pitch = Signal(32), Signal(16)
        pixel, index, following = Signal(32), Signal(32), Signal(32)
        m.d.comb += [
            following.eq(Mux(self.final, pixel, index) + Mux(self.final, pitch, self.lanes)),
            delay.i.eq(index),
            self.o.eq(delay.o),
        ]
        m.d.sync += taken.eq(self.take)
        with m.If(self.take):
            m.d.sync += [first.eq(Cat(asked.low, asked.high)), pitch.eq(asked.zero_point)]
        with m.If(self.step):
            m.d.sync += index.eq(following)
            with m.If(self.final):
                m.d.sync += pixel.eq(following)
        # The last step of the instruction before is over by then.
        with m.If(taken):
            m.d.sync += [pixel.eq(first), index.eq(first)]
        return m
