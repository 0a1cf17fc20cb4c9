# SPDX-License-Identifier: Apache-2.0
"""Binary32 arithmetic, to nearest even, denormal numbers too: from int32, product and sum.

One result a cycle, ``latency`` cycles later; neither handshake nor clock enable. Infinity and NaN
are one: operands and results of exponent 255, whatever their other bits.

A sum comes as a wide number: 33 bits, sign, an exponent of nine bits biased by 159, and 23 bits of
the fraction. So every number but 0, which is all zeros, has its leading bit: what is denormal in
binary32 has exponents 10 to 32. Infinite numbers and NaN have exponents from 287 on. Wide
numbers without their signs compare as integers, as binary32 numbers do.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Value, signed, unsigned
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.float_sum import effective_exponent, shift_jam, significand
from kiwicha.hw.parts.lanes import magnitude
from kiwicha.hw.parts.requantize_common import delay, register
from kiwicha.hw.parts.requantize_multiply import PipelinedMultiply

__all__ = ["INFINITE", "FloatAdd", "FloatProduct", "IntegerFloat", "Narrow", "Widen"]

INFINITE = 287
"""Least exponent of wide numbers that are not finite."""
_REBIAS = 32
"""From binary32's exponent to a wide number's."""


def _normalise(
    m: Module, bits: Value, cycles: tuple[tuple[int, ...], ...], name: str
) -> tuple[Value, Value]:
    """Return ``bits`` shifted left until the top bit is set, and by how much, a cycle a tuple."""
    count: Value = Const(0, 0)
    for cycle, steps in enumerate(cycles):
        for step in steps:
            small = ~bits[-step:].any()
            bits = Mux(small, Cat(Const(0, step), bits[:-step]), bits)[: len(bits)]
            count = Cat(small, count)
        bits = register(m, bits, f"{name}{cycle}_bits")
        count = register(m, count, f"{name}{cycle}_count")
    return bits, count


class IntegerFloat(Component):
    """``o``: the binary32 number nearest to the int32 ``i``."""

    latency = 5

    i: In(signed(32))
    o: Out(unsigned(32))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = register(m, magnitude(self.i), "s1_size")
        bits, count = _normalise(m, size, ((16,), (8, 4), (2, 1)), "normal")
        kept, half, rest = bits[8:], bits[7], bits[:7].any()
        increment = half & (rest | kept[0])
        number = Cat(kept[:23], (158 - count)[:8]) + increment
        sign = delay(m, self.i[31], 4, "sign")
        # The smallest numbers leave no leading bit: only 0 does.
        number = number[:31] & kept[23].replicate(31)
        m.d.comb += self.o.eq(register(m, Cat(number, sign), "s5_number"))
        return m


class FloatProduct(Component):
    """``o = a * b``.

    Parameters
    ----------
    multiplier_width : as for ``PipelinedMultiply``.

    Members
    -------
    a, b : In(32); o : Out(32), bit patterns.
    """

    a: In(unsigned(32))
    b: In(unsigned(32))
    o: Out(unsigned(32))

    def __init__(self, multiplier_width: int = 0) -> None:
        self._multiply = PipelinedMultiply(25, 24, multiplier_width)
        self.latency = 6 + self._multiply.latency
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiply = multiply = self._multiply
        waits = multiply.latency

        # Cycle 1: the second factor is the denormal one; where both are, the product vanishes.
        swap = ~self.a[23:31].any()
        first, second = Mux(swap, self.b, self.a), Mux(swap, self.a, self.b)
        power = effective_exponent(self.a) + effective_exponent(self.b) - 127
        power = register(m, power.as_signed(), "s1_power")
        infinite = self.a[23:31].all() | self.b[23:31].all()
        infinite = delay(m, infinite, waits + 5, "infinite")
        sign = delay(m, self.a[31] ^ self.b[31], waits + 6, "sign")
        first = register(m, significand(first), "s1_first")
        second = register(m, significand(second), "s1_second")

        # Cycles 2 and 3: its leading bit.
        second, count = _normalise(m, second, ((16, 8), (4, 2, 1)), "normal")
        first = delay(m, first, 2, "first")
        zero = delay(m, ~(first[23] & second[23]), waits + 2, "zero")
        m.d.comb += [
            multiply.a.eq(Cat(first, Const(0, 1)).as_signed()),
            multiply.b.eq(second),
        ]
        power = delay(m, power, 2, "power")
        # Places from the least exponent, 1, down to this one.
        down = register(m, (1 + count - power).as_signed(), "s4_down")
        power = register(m, (power - count).as_signed(), "s4_power")
        down = delay(m, down, waits - 1, "late_down")
        power = delay(m, power, waits - 1, "late_power")

        # Normalise.
        product = multiply.o[:48]
        wide = product[47]
        kept = register(m, Mux(wide, product[23:], product[22:47]), "kept")
        rest = register(m, product[:22].any() | (wide & product[22]), "rest")
        power = register(m, (power + wide).as_signed(), "high_power")
        down = (down - wide).as_signed()
        down = register(m, Mux(down[-1], 0, down[:8]), "down")

        # Shift a denormal product to where it lies.
        moved = register(m, shift_jam(kept, down), "moved")
        rest = register(m, rest, "moved_rest")
        power = register(m, Mux(power > 0, power, 0)[:9], "moved_power")

        # Round.
        kept, half, rest = moved[2:], moved[1], rest | moved[0]
        # A denormal number that is rounded up to 24 bits becomes the least normal one by itself.
        number = Cat(kept[:23], power) + (half & (rest | kept[0]))
        over = number[31:].any() | number[23:31].all() | infinite
        value = (number[:31] & ~zero.replicate(31)) | over.replicate(31)
        m.d.comb += self.o.eq(Cat(register(m, value, "value"), sign))
        return m


class FloatAdd(Component):
    """``o = a + b``, a wide number.

    Members
    -------
    a, b : In(32), bit patterns; o : Out(33).
    """

    latency = 6

    a: In(unsigned(32))
    b: In(unsigned(32))
    o: Out(unsigned(33))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle 1: order. Patterns without their signs compare as integers.
        less = self.a[:31] < self.b[:31]
        large, small = Mux(less, self.b, self.a), Mux(less, self.a, self.b)
        exponent = register(m, effective_exponent(large), "s1_exponent")
        distance = effective_exponent(large) - effective_exponent(small)
        distance = register(m, distance[:8], "s1_distance")
        sign = delay(m, large[31], 6, "sign")
        subtract = delay(m, self.a[31] ^ self.b[31], 2, "subtract")
        large = register(m, significand(large), "s1_large")
        small = register(m, significand(small), "s1_small")

        # Cycle 2: align; two more bits below, and one for all that is less.
        small = register(m, shift_jam(Cat(Const(0, 2), small), distance), "s2_small")
        large = register(m, large, "s2_large")

        # Cycle 3: add or subtract; never negative.
        wide = Cat(Const(0, 3), large)
        total = register(m, Mux(subtract, wide - small, wide + small)[:28], "s3_total")

        # Cycles 4 and 5: normalise. A difference that moves by two or more is exact.
        total, count = _normalise(m, total, ((16, 8), (4, 2, 1)), "normal")
        exponent = delay(m, exponent, 4, "exponent")
        power = (exponent + (_REBIAS + 1) - count)[:9]

        # Cycle 6: round. Numbers that are denormal in binary32 are exact already.
        number = Cat(total[4:27], power) + (total[3] & (total[:3].any() | total[4]))
        value = (number[:32] & ~(~total[27]).replicate(32)) | exponent.all().replicate(32)
        m.d.comb += self.o.eq(Cat(register(m, value, "s6_value"), sign))
        return m


class Widen(Component):
    """``o``: the binary32 number ``i`` as a wide one; both without sign."""

    latency = 2

    i: In(unsigned(31))
    o: Out(unsigned(32))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, count = _normalise(m, significand(self.i), ((16, 8), (4, 2, 1)), "normal")
        exponent = delay(m, effective_exponent(self.i), 2, "exponent") + _REBIAS - count
        m.d.comb += self.o.eq(Cat(bits[:23], exponent[:9]) & bits[23].replicate(32))
        return m


class Narrow(Component):
    """``o``: the wide number ``i``, finite and none between two binary32 numbers, as binary32;
    both without sign."""

    latency = 2

    i: In(unsigned(32))
    o: Out(unsigned(31))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        exponent = self.i[23:]
        down = register(m, (_REBIAS + 1 - exponent)[:5], "down")
        normal = register(m, exponent > _REBIAS, "normal")
        high = register(m, Cat(self.i[:23], (exponent - _REBIAS)[:8]), "high")
        low = register(m, Cat(self.i[:23], exponent.any()), "low")
        m.d.comb += self.o.eq(register(m, Mux(normal, high, low >> down)[:31], "number"))
        return m
