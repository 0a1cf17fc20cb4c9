# SPDX-License-Identifier: Apache-2.0
"""A binary32 addition whose sum is rounded to an integer."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from hw.vector.float_sum import effective_exponent, shift_jam, significand
from hw.vector.requantize_common import Window, delay, register, shift_window

__all__ = ["AddRound"]

_OPERANDS = data.StructLayout({"a": unsigned(32), "b": unsigned(32)})


class AddRound(Component):
    """``o = rint(a + b)`` within -1024 and 1023, the sum first rounded to binary32.

    Both roundings go to nearest even. One sum a cycle, ``latency`` cycles later. Exact over all
    finite numbers, denormals too; infinity and NaN mean nothing.

    Members
    -------
    i : In(always-ready stream {a: 32, b: 32}), bit patterns.
    o : Out(always-ready stream of signed(11)).
    """

    latency = 6

    i: In(stream.Signature(_OPERANDS, always_ready=True))
    o: Out(stream.Signature(signed(11), always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        operand_a, operand_b = self.i.payload.a, self.i.payload.b
        valid = Signal(self.latency)
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        m.d.comb += self.o.valid.eq(valid[-1])

        # Cycle 1: order by exponent alone. Everything is computed for a positive ``large``:
        # rounding to nearest even knows no sign.
        exponent_a, exponent_b = effective_exponent(operand_a), effective_exponent(operand_b)
        forward, backward = exponent_a - exponent_b, exponent_b - exponent_a
        less = forward[-1]
        large = register(m, significand(Mux(less, operand_b, operand_a)), "s1_large")
        small = register(m, significand(Mux(less, operand_a, operand_b)), "s1_small")
        exponent = register(m, Mux(less, exponent_b, exponent_a), "s1_exponent")
        distance = register(m, Mux(less, backward, forward)[:8], "s1_distance")
        negative = delay(m, Mux(less, operand_b, operand_a)[31], 5, "negative")
        subtract = delay(m, operand_a[31] ^ operand_b[31], 2, "subtract")

        # Cycle 2: align; two more bits below, and one for all that is less. How far the sum will
        # have to move right to leave a half behind the point: never left, for beyond 2^33 all but
        # zero saturates.
        small = register(m, shift_jam(Cat(Const(0, 2), small), distance), "s2_small")
        large = register(m, large, "s2_large")
        places = (127 + 33 - exponent).as_signed()
        huge = register(m, places[-1], "s2_huge")
        nothing = ~places[-1] & places[6:-1].any()
        places = register(m, places[:6] | nothing.replicate(6), "s2_places")

        # Cycle 3: add or subtract. The sum is odd only if it stands for the numbers around it.
        total = Cat(Const(0, 3), large, Const(0, 1)).as_signed()
        inverted = (Cat(small, Const(0, 1)) ^ subtract.replicate(28)).as_signed()
        total = (Cat(1, total).as_signed() + Cat(subtract, inverted).as_signed())[1:30]
        total = register(m, total.as_signed(), "s3_total")
        huge = register(m, huge, "s3_huge")
        places = register(m, places, "s3_places")

        # Cycle 4: round to 24 significant bits. What is below them becomes all ones and a carry,
        # or all zeros and none, so that the rounding to an integer can take the carry along. A
        # difference that has lost two places or more is exact: its two lowest bits are 0.
        sign = total[28]
        longest = total[27] ^ sign
        long = longest | (total[26] ^ sign)
        carry = Mux(
            longest,
            total[3] & (total[:3].any() | total[4]),
            Mux(long, total[2] & (total[:2].any() | total[3]), total[1] & (total[0] | total[2])),
        )
        low = Cat(Mux(long, carry, total[2]), Mux(longest, carry, total[3]))
        number = Cat(carry.replicate(10), low, total[4:])
        window = Window(
            bits=number.as_signed(),
            rest_zero=Const(1, 1),
            rest_ones=Const(1, 1),
            sign=sign,
            overflow=huge & total.any(),
        )
        window = shift_window(window, places[5], 32, 31)
        window = shift_window(window, places[4], 16, 15)
        window = shift_window(window, places[3], 8, 7).register(m, "s4")
        carry = register(m, carry, "s4_carry")
        places = register(m, places[:3], "s4_places")

        # Cycle 5: the rest of the way.
        window = shift_window(window, places[2], 4, 3)
        window = shift_window(window, places[1], 2, 1)
        window = shift_window(window, places[0], 1, 0).register(m, "s5")
        carry = register(m, carry, "s5_carry")

        # Cycle 6: round, negate and saturate. -(v + 1) is ~v, and -v is ~v + 1.
        increment = window.increment(carry, tie_up=window.bits[1])
        flip = negative.replicate(11)
        rounded = (window.bits[1:] ^ flip).as_signed() + (increment ^ negative)
        below = window.sign ^ negative
        beyond = window.saturated() | (rounded[11] ^ rounded[10])
        limit = Cat(~below.replicate(10), below)
        value = Mux(beyond, limit, rounded[:11])
        m.d.comb += self.o.payload.eq(register(m, value, "s6_value").as_signed())
        return m
