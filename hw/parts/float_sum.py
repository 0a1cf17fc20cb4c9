# SPDX-License-Identifier: Apache-2.0
"""A binary32 addition of numbers that are not negative, for running sums."""

from amaranth.hdl import Cat, Const, Module, Mux, Value, unsigned
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import bits_for

from kiwicha.hw.parts.requantize_common import register

__all__ = ["FloatSum", "effective_exponent", "shift_jam", "significand"]


def effective_exponent(bits: Value) -> Value:
    """Return the biased exponent of a binary32 number, 1 for zero and denormals."""
    exponent = bits[23:31]
    return Cat(exponent[0] | ~exponent.any(), exponent[1:])


def significand(bits: Value) -> Value:
    """Return the 24 bits of a binary32 number's significand, top bit 0 for zero and denormals."""
    return Cat(bits[:23], bits[23:31].any())


def shift_jam(bits: Value, amount: Value) -> Value:
    """Return ``bits`` shifted right by ``amount``, and one bit below them.

    That lowest bit of the result tells whether any bit was lost. ``amount`` has at least as many
    bits as the number of places.
    """
    steps = bits_for(len(bits) - 1)
    lost: Value = Const(0, 1)
    for k in reversed(range(steps)):
        step = 1 << k
        lost = lost | (amount[k] & bits[:step].any())
        bits = Mux(amount[k], Cat(bits[step:], Const(0, step)), bits)
    far = amount[steps:].any()
    return Cat(lost | (far & bits.any()), bits & ~far.replicate(len(bits)))


class FloatSum(Component):
    """``o = a + b`` in binary32, to nearest even; one sum a cycle, ``latency`` cycles later.

    Exact over all finite numbers that are not negative, denormals too; sign bits are ignored and
    the result's is 0. A sum beyond the largest number is any pattern of exponent 255, and so above
    all finite ones. Infinity and NaN as operands mean nothing. Neither handshake nor clock enable.

    Members
    -------
    a, b : In(32); o : Out(32), bit patterns.
    """

    latency = 4

    a: In(unsigned(32))
    b: In(unsigned(32))
    o: Out(unsigned(32))

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Cycle 1: order. Patterns of the same sign compare as integers.
        exponent_a, exponent_b = effective_exponent(self.a), effective_exponent(self.b)
        less = self.a[:31] < self.b[:31]
        large, small = Mux(less, self.b, self.a), Mux(less, self.a, self.b)
        distance = Mux(less, exponent_b - exponent_a, exponent_a - exponent_b)[:8]
        # One less where there is a leading 1: that is added to the exponent in cycle 4.
        below = (large[23:31] - large[23:31].any())[:8]
        large = register(m, significand(large), "s1_large")
        small = register(m, significand(small), "s1_small")
        distance = register(m, distance, "s1_distance")
        below = register(m, below, "s1_below")

        # Cycle 2: align; one more bit for the half, and one for all that is less.
        small = register(m, shift_jam(Cat(Const(0, 1), small), distance), "s2_small")
        large = register(m, large, "s2_large")
        below = register(m, below, "s2_below")

        # Cycle 3: add. Never a cancellation, so at most one place to the left.
        total = register(m, (Cat(Const(0, 1), large) + small[1:])[:26], "s3_total")
        sticky = register(m, small[0], "s3_sticky")
        below = register(m, below, "s3_below")

        # Cycle 4: normalise and round; a carry out of the fraction is what the exponent needs.
        carry = total[25]
        kept = Mux(carry, total[2:], total[1:25])
        half = Mux(carry, total[1], total[0])
        rest = sticky | (carry & total[0])
        increment = half & (rest | kept[0])
        number = Cat(kept[:23], kept[23] & ~carry, carry)
        rounded = (Cat(1, Const(0, 23), below) + Cat(increment, number))[1:32]
        m.d.comb += self.o.eq(register(m, rounded, "s4_number"))
        return m
