# SPDX-License-Identifier: Apache-2.0
"""Two fixed-point numbers added, rounded as a binary32 sum is, and clamped."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.lanes import register
from kiwicha.machine.sum_tables import FRACTION

__all__ = ["SumRound"]

_LEAST = 24 - FRACTION  # exponent from which on binary32 has fewer fractional bits than a sum
_WIDEST = 7 - _LEAST  # last bits that it does not have where results end


class SumRound(Component):
    """``o = clamp(round(a + b))`` of numbers with `FRACTION` fractional bits.

    `machine.sum_tables.round_sums` has the rounding: to nearest, but for sums so near to the middle
    of two integers that a binary32 number is the middle itself; the even one is taken then. Exact
    for all a and b. One sum a cycle, ``latency`` cycles later; no back-pressure.

    Parameters
    ----------
    counted : there is ``over``.

    Members
    -------
    a, b : In(signed(32))
    low, high : In(signed(9))
        Bounds, constant while anything is on its way.
    o : Out(signed(9)); over : Out(1)
        The sum, and whether it was beyond the bounds.
    """

    latency = 4

    def __init__(self, *, counted: bool = False) -> None:
        self.counted = counted
        super().__init__({
            "a": In(signed(32)), "b": In(signed(32)), "low": In(signed(9)), "high": In(signed(9)),
            "o": Out(signed(9)), **({"over": Out(1)} if counted else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle 1: add.
        total = register(m, self.a + self.b, "s1_total")

        # Cycle 2: which way to round. What binary32 has not of the fraction counts as 0 above the
        # middle, as 1 below it.
        fraction, whole = total[:FRACTION], total[FRACTION:]
        half, kept = fraction[-1], fraction[_WIDEST:-1]
        magnitude = (whole ^ whole[-1].replicate(len(whole)))[:-1]
        large = [magnitude[_LEAST + bit :].any() for bit in range(_WIDEST + 1)]
        zeros = ~kept.any() & Cat(large[bit + 1] | ~fraction[bit] for bit in range(_WIDEST)).all()
        ones = kept.all() & Cat(large[bit + 1] | fraction[bit] for bit in range(_WIDEST)).all()
        near = Mux(half, zeros, ones & large[0])
        up = register(m, Mux(near, whole[0], half), "s2_up")
        whole = register(m, whole.as_signed(), "s2_whole")

        # Cycle 3: round. Cycle 4: clamp; the sign of a difference is a carry chain alone.
        value = Signal(signed(len(whole) + 1), reset_less=True)
        m.d.sync += value.eq(whole + up)
        below, above = (value - self.low)[-1], (self.high - value)[-1]
        m.d.sync += self.o.eq(Mux(below, self.low, Mux(above, self.high, value)))
        if self.counted:
            m.d.sync += self.over.eq(below | above)
        return m
