# SPDX-License-Identifier: Apache-2.0
"""A binary32 division whose quotient is rounded to an integer."""

from amaranth.hdl import Cat, Const, Module, Mux, Value, unsigned
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.float_sum import significand
from kiwicha.hw.parts.requantize_common import delay, register

__all__ = ["DivideRound"]


class DivideRound(Component):
    """``o = min(rint(a / b), 511)``, the quotient first rounded to binary32, all to nearest even.

    One quotient a cycle, ``latency`` cycles later. ``a`` is +0 or positive and normal (a denormal
    counts as 0), ``b`` positive and normal; sign bits are ignored, exponents 0 of ``b`` and 255 of
    both mean nothing. Neither handshake nor clock enable.

    A short restoring division: the quotient down to its halves, at most ten bits. The remainder
    then decides. The first rounding matters only where it ends on a half: where the quotient is
    nearer to one than half an ulp. It is never exactly that far away, for then the quotient would
    be an odd number of 25 bits, and times ``b`` have more bits than ``a``.

    Of wide numbers (`hw.parts.float_units`), finite and without their signs, ``b`` may be 0: the
    result is 511 then, of 0 / 0 too.

    Parameters
    ----------
    wide : whether ``a`` and ``b`` are wide numbers.

    Members
    -------
    a, b : In(32), bit patterns; o : Out(9).
    """

    latency = 9

    a: In(unsigned(32))
    b: In(unsigned(32))
    o: Out(unsigned(9))

    def __init__(self, *, wide: bool = False) -> None:
        self._wide = wide
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Cycle 1: ``power``, of the quotient's leading bit, halves counting 1. No power from 0 to
        # 9: no quotient from 1/2 below 512.
        less = self.a[:23] < self.b[:23]
        end = 32 if self._wide else 31
        power = (self.a[23:end] - self.b[23:end] + 1 - less).as_signed()
        zero = power[-1] | ~self.a[23:end].any()
        above = ~power[-1] & (power[3] & (power[1] | power[2]) | power[4:-1].any())
        if self._wide:
            infinite = ~self.b[23:end].any()
            zero, above = zero & ~infinite, above | infinite
        rest = register(m, self._significand(self.a), "s1_dividend")
        rest = Mux(register(m, less, "s1_less"), rest << 1, rest)[:25]
        divisor = register(m, self._significand(self.b), "s1_divisor")
        power = register(m, power[:4], "s1_power")

        # Cycles 2 to 6: the leading bit and up to nine more, two a cycle.
        rest = (rest - divisor)[:24]
        quotient: Value = Const(1, 1)
        for step in range(9):
            left = 8 - step
            active = power > left
            wide = Cat(Const(0, 1), rest)
            difference = wide - divisor
            bit = ~difference[-1]
            rest = Mux(active, Mux(bit, difference, wide), rest)[:24]
            quotient = Mux(active, Cat(bit, quotient), Cat(quotient, Const(0, 1)))
            if step % 2 == 0:
                cycle = 2 + step // 2
                rest = register(m, rest, f"s{cycle}_rest")
                divisor = register(m, divisor, f"s{cycle}_divisor")
                power = register(m, power, f"s{cycle}_power")
                quotient = register(m, quotient, f"s{cycle}_quotient")

        # Cycle 7: distance from the half that is nearest, and half an ulp, both in units of the
        # remainder. From below a half the ulp is that of the half too, but for 1/2 itself, where
        # both directions go to 0.
        half = quotient[0]
        near = register(m, Mux(half, rest, divisor - rest)[:24], "s7_near")
        ulp = register(m, divisor[14:] >> (10 - power)[:4], "s7_ulp")
        quotient = register(m, quotient, "s7_quotient")

        # Cycle 8: does the first rounding end on the half?
        tie = register(m, ~near[10:].any() & (near[:10] <= ulp), "s8_tie")
        quotient = register(m, quotient, "s8_quotient")

        # Cycle 9: round and saturate.
        zero, above = delay(m, zero, 8, "zero"), delay(m, above, 8, "above")
        rounded = quotient[1:] + Mux(tie, quotient[1], quotient[0])
        above = above | rounded[9]
        value = (rounded[:9] | above.replicate(9)) & ~zero.replicate(9)
        m.d.comb += self.o.eq(register(m, value, "s9_value"))
        return m

    def _significand(self, number: Value) -> Value:
        # A wide 0 is found by its exponent; its leading bit does not matter.
        return Cat(number[:23], 1) if self._wide else significand(number)
