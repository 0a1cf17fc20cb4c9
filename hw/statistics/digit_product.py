# SPDX-License-Identifier: Apache-2.0
"""A product of wide numbers, eight bits of one factor a cycle."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.lanes import register

__all__ = ["DigitProduct", "product_cycles"]

_DIGIT = 8
_PIECE = 16


def product_cycles(b_bits: int) -> int:
    """Return the cycles from ``start`` to ``done`` for a factor of ``b_bits``."""
    return -(-b_bits // _DIGIT) + 3


class DigitProduct(Component):
    """``o = a * b``, ``cycles`` cycles after ``start``, whatever the numbers; one at a time.

    Parameters
    ----------
    a_bits, b_bits : widths of the factors, at least 1.

    Members
    -------
    start : In(1); not before ``done`` of the product before.
    a : In(a_bits); b : In(b_bits); both are looked at with ``start``.
    done : Out(1); ``o`` is there since this cycle.
    o : Out(a_bits + b_bits rounded up to digits); holds until three cycles after ``start``.
    """

    def __init__(self, a_bits: int, b_bits: int) -> None:
        self.digits = -(-b_bits // _DIGIT)
        super().__init__(
            {
                "start": In(1),
                "a": In(a_bits),
                "b": In(b_bits),
                "done": Out(1),
                "o": Out(a_bits + _DIGIT * self.digits),
            }
        )

    @property
    def cycles(self) -> int:
        """``product_cycles``."""
        return product_cycles(len(self.b))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a_bits, b_bits = len(self.a), _DIGIT * self.digits
        factor, rest = Signal(a_bits), Signal(b_bits)
        left, flags = Signal(range(self.digits + 1)), Signal(2)
        with m.If(self.start):
            m.d.sync += [factor.eq(self.a), rest.eq(self.b), left.eq(self.digits)]
        with m.Elif(left.any()):
            m.d.sync += [rest.eq(rest >> _DIGIT), left.eq(left - 1)]
        ending = Signal(2)
        m.d.sync += [
            flags.eq(Cat(left.any(), flags)),
            ending.eq(Cat(left == 1, ending)),
            self.done.eq(ending[1]),
        ]

        # Products of a digit and a piece are 24 bits: every second one fits beside the next.
        sums: list[Value] = []
        for odd in range(2):
            products = [Const(0, _PIECE * odd)]
            for start in range(_PIECE * odd, a_bits, 2 * _PIECE):
                product = (factor[start : start + _PIECE] * rest[:_DIGIT])[: _PIECE + _DIGIT]
                products.append(product | Const(0, 2 * _PIECE))
            sums.append(register(m, Cat(products)[: a_bits + _DIGIT], f"sum{odd}"))
        part = register(m, (sums[0] + sums[1])[: a_bits + _DIGIT], "part")

        high, low, total = Signal(a_bits), Signal(b_bits), Signal(a_bits + _DIGIT)
        m.d.comb += [total.eq(part + high), self.o.eq(Cat(low, high))]
        with m.If(flags[1]):
            m.d.sync += [
                high.eq(total[_DIGIT:]),
                low.eq(Cat(low, total[:_DIGIT])[_DIGIT:]),
            ]
        with m.If(self.start):
            m.d.sync += high.eq(0)
        return m
