# SPDX-License-Identifier: Apache-2.0
"""Counters of nested loops, one step a cycle whatever wraps."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

__all__ = ["LoopNest"]


class LoopNest(Component):
    """Nested loops, level 0 innermost; every wrap of any number of levels takes one cycle.

    Each level counts down to -1, whose sign says "this is my last iteration", so that nothing but
    a chain of such flags lies between two steps.

    Parameters
    ----------
    levels : number of loops, at least 1.
    width : bits of a count.
    tails : number of inner levels whose last iterations can be told from the others.
    tail_width : bits of how many those are.

    Members
    -------
    counts : In(ArrayLayout(width, levels))
        Iterations of each loop, at least 1; constant from ``start`` to the last step.
    start : In(1)
        Put every loop at its first iteration; never together with ``advance``.
    advance : In(1)
        Step; after the last step the nest is at its first one again.
    carry : Out(levels + 1)
        Combinational; bit l: the loops below l are all in their last iteration, so that a step
        advances loop l unless bit l + 1 is set too. Bit 0 is 1; the top bit marks the last step.
    tail : In(ArrayLayout(tail_width, tails))
        So many last iterations of a loop, less than its count; constant as ``counts``.
    beyond : Out(tails)
        Bit l: loop l is in one of those; from a register.
    """

    def __init__(self, levels: int, width: int, tails: int = 0, tail_width: int = 1) -> None:
        if levels < 1:
            raise ValueError(f"levels is {levels}; legal: at least 1")
        if width < 2:
            raise ValueError(f"width is {width}; legal: at least 2")
        if not 0 <= tails <= levels:
            raise ValueError(f"tails is {tails}; legal: 0 to {levels}")
        self.levels = levels
        self.width = width
        self.tails = tails
        self.tail_width = tail_width
        ends = {"tail": In(data.ArrayLayout(tail_width, tails)), "beyond": Out(tails)}
        super().__init__({
            "counts": In(data.ArrayLayout(width, levels)),
            "start": In(1),
            "advance": In(1),
            "carry": Out(levels + 1),
            **(ends if tails else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.carry[0].eq(1)
        for level in range(self.levels):
            # Iterations that follow this one, less one.
            left = Signal(self.width + 1, name=f"left{level}")
            last = left[-1]
            reload = Signal(name=f"reload{level}")
            m.d.comb += [
                self.carry[level + 1].eq(self.carry[level] & last),
                reload.eq(self.start | last),
            ]
            with m.If(self.start | (self.advance & self.carry[level])):
                # One adder: less 2 from the count, or less 1.
                minus = Cat(~reload, Const(-1, self.width))
                m.d.sync += left.eq(Mux(reload, self.counts[level], left) + minus)
                if level < self.tails:
                    # What follows the next iteration.
                    low, high = left[: self.tail_width], left[self.tail_width : self.width]
                    ends = ~reload & ~high.any() & (low < self.tail[level])
                    m.d.sync += self.beyond[level].eq(ends)
        return m
