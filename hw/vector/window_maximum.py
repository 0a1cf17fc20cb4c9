# SPDX-License-Identifier: Apache-2.0
"""The maximum of a window of accumulators, before they are requantized."""

from amaranth.hdl import Module, signed
from amaranth.lib.wiring import Component, In, Out

__all__ = ["WindowMaximum"]


class WindowMaximum(Component):
    """Keeps the greatest int32 since a window was opened.

    It takes the place of a register that a lane has anyway: a comparator enables it, so that no
    result comes later for it. One value a cycle. Latency: 1.

    Members
    -------
    i : In(signed(32))
        In every cycle; one that belongs to no window must be followed by one that opens.
    opens : In(1)
        It is the first of its window.
    o : Out(signed(32))
        The maximum of the window up to it, in the next cycle.
    """

    i: In(signed(32))
    opens: In(1)
    o: Out(signed(32))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.opens | (self.i > self.o)):
            m.d.sync += self.o.eq(self.i)
        return m
