# SPDX-License-Identifier: Apache-2.0
"""Binary32 arithmetic with binary32 results: from int32, product and sum, to nearest even.

One result a cycle, ``latency`` cycles later; neither handshake nor clock enable. Denormal results
become 0; results beyond the largest number, infinity and NaN mean nothing.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Value, signed, unsigned
from amaranth.lib.wiring import Component, In, Out

from hw.statistics.lanes import magnitude
from hw.vector.float_sum import effective_exponent, shift_jam, significand
from hw.vector.requantize_common import delay, register
from hw.vector.requantize_multiply import PipelinedMultiply

__all__ = ["FloatAdd", "FloatProduct", "IntegerFloat"]


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
    """``o = a * b``; a denormal operand counts as 0.

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
        self.latency = 3 + self._multiply.latency
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiply = multiply = self._multiply
        a, b = register(m, self.a, "s1_a"), register(m, self.b, "s1_b")
        waits = multiply.latency
        m.d.comb += [
            multiply.a.eq(Cat(significand(a), Const(0, 1)).as_signed()),
            multiply.b.eq(significand(b)),
        ]
        power = register(m, (a[23:31] + b[23:31] - 127).as_signed(), "s2_power")
        power = delay(m, power, waits - 1, "power")
        zero = delay(m, ~(a[23:31].any() & b[23:31].any()), waits + 1, "zero")
        sign = delay(m, a[31] ^ b[31], waits + 2, "sign")[0]

        product = multiply.o[:48]
        wide = product[47]
        kept = Mux(wide, product[24:], product[23:47])
        half = Mux(wide, product[23], product[22])
        rest = product[:22].any() | (wide & product[22])
        increment = register(m, half & (rest | kept[0]), "s3_increment")
        kept = register(m, kept[:23], "s3_kept")
        power = register(m, (power + wide).as_signed(), "s3_power")

        number = (Cat(kept, power).as_signed() + increment).as_signed()
        small = zero | number[-1] | ~number[23:-1].any()
        value = number[:31] & ~small.replicate(31)
        m.d.comb += self.o.eq(Cat(register(m, value, "s4_value"), sign))
        return m


class FloatAdd(Component):
    """``o = a + b``; exact over all finite operands whose sum is normal or 0.

    Members
    -------
    a, b : In(32); o : Out(32), bit patterns.
    """

    latency = 6

    a: In(unsigned(32))
    b: In(unsigned(32))
    o: Out(unsigned(32))

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
        power = (delay(m, exponent, 4, "exponent") + 1 - count).as_signed()

        # Cycle 6: round.
        increment = total[3] & (total[:3].any() | total[4])
        number = (Cat(total[4:27], power).as_signed() + increment).as_signed()
        small = ~total[27] | number[-1] | ~number[23:-1].any()
        value = register(m, number[:31] & ~small.replicate(31), "s6_value")
        m.d.comb += self.o.eq(Cat(value, sign))
        return m
