# SPDX-License-Identifier: Apache-2.0
"""An exact multiple and a binary32 number added, rounded to binary32, then to an integer."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.float_sum import effective_exponent, shift_jam, significand
from kiwicha.hw.parts.requantize_common import Window, delay, register, shift_window

__all__ = ["OPERANDS", "AddRound"]

OPERANDS = data.StructLayout(
    {"a": unsigned(32), "negative": 1, "shift": signed(8), "b": unsigned(32)}
)

_LEADING = range(25, 36)  # places of a sum's first 1 with which it may have more than 24 bits


class AddRound(Component):
    """``o = rint(f(±a * 2^shift + b))`` within -1024 and 1023, f the rounding to binary32.

    Both roundings go to nearest even. Exact for every binary32 number ``b``, denormals too, and
    every ``a`` that is 0 or has one of its 9 high bits: the product of a byte and a significand of
    24 bits. Where the sum is 2^31 or more, or ``b`` is infinite or NaN, the result is -1024: x86's
    conversion to integers gives its least one there. One sum a cycle, ``latency`` cycles later.

    Members
    -------
    i : In(always-ready stream {a: 32, negative: 1, shift: signed(8), b: 32})
        ``negative`` is a's sign, ``b`` a bit pattern.
    o : Out(always-ready stream of signed(11)).
    """

    latency = 8

    i: In(stream.Signature(OPERANDS, always_ready=True))
    o: Out(stream.Signature(signed(11), always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = self.i.payload.a, self.i.payload.b
        valid = Signal(self.latency)
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        m.d.comb += self.o.valid.eq(valid[-1])

        # Cycle 1: which of them stays where it is, by the exponents of their places 31, biased as
        # in binary32. What stays has its first 1 there (b) or up to 8 places below (a).
        exponent_a = (self.i.payload.shift + (127 + 31)).as_unsigned()[:9]
        exponent_b = effective_exponent(b)
        forward, backward = exponent_a - exponent_b, exponent_b - exponent_a
        less = forward[-1] | ~a[23:].any()
        scaled = Cat(Const(0, 8), significand(b))
        large = register(m, Mux(less, scaled, a), "s1_large")
        small = register(m, Mux(less, a, scaled), "s1_small")
        exponent = register(m, Mux(less, exponent_b, exponent_a), "s1_exponent")
        distance = register(m, Mux(less, backward, forward)[:9], "s1_distance")
        negative = delay(m, Mux(less, b[31], self.i.payload.negative), 3, "negative")
        subtract = delay(m, self.i.payload.negative ^ b[31], 2, "subtract")
        undefined = delay(m, b[23:31].all(), 7, "undefined")

        # Cycle 2: align; two more bits below, and one for all that is less. How far the sum will
        # have to move right to leave a half behind the point: never left, for beyond 2^43 all but
        # zero saturates. And at which of its places 2^31 stands.
        small = register(m, shift_jam(Cat(Const(0, 2), small), distance), "s2_small")
        large = register(m, large, "s2_large")
        places = (127 + 43 - exponent).as_signed()
        limit = _within_6_bits((127 + 65 - exponent).as_signed())
        huge = delay(m, places[-1], 4, "huge")
        places = delay(m, places[:6] | places[6:-1].any().replicate(6), 4, "places")
        limit = delay(m, limit, 4, "limit")

        # Cycle 3: add or subtract. The sum is odd only if it stands for the numbers around it; it
        # is at least 2^25 then.
        wide = Cat(1, Const(0, 3), large, Const(0, 1)).as_signed()
        inverted = Cat(small, Const(0, 1)) ^ subtract.replicate(36)
        total = (wide + Cat(subtract, inverted).as_signed())[1:38]
        total = register(m, total, "s3_total")

        # Cycle 4: where the first 1 is, of the negative's complement, and for each place of it
        # whether rounding to 24 bits goes up.
        sign = total[36]
        ones = total[:36] ^ sign.replicate(36)
        begun = Cat(ones[place:].any() for place in _LEADING)
        ups = Cat(
            total[place - 24] & (total[: place - 24].any() | total[place - 23])
            for place in _LEADING
        )
        begun, ups = register(m, begun, "s4_begun"), register(m, ups, "s4_ups")
        total = register(m, total, "s4_total")
        negative = delay(m, negative ^ sign, 4, "magnitude_negative")

        # Cycle 5: round to 24 bits, and take the magnitude. What is below them becomes all ones and
        # a carry, or all zeros and none. -(v + 1) is ~v, and -v is ~v + 1.
        first = begun & ~(begun >> 1)
        up = (first & ups).any()
        below = Cat(begun[max(0, bit - 1)] for bit in range(12))
        low = (total[:12] & ~below) | (up.replicate(12) & below)
        rounded = Cat(low, total[12:])
        flip = total[36]
        number = ((rounded ^ flip.replicate(37)) + (up ^ flip))[:37]
        number = register(m, number, "s5_number")

        # Cycles 6 and 7: move right, and see whether anything is left at 2^31 and above.
        window = Window(
            bits=Cat(Const(0, 10), number, Const(0, 1)).as_signed(),
            rest_zero=Const(1, 1),
            rest_ones=Const(0, 1),
            sign=Const(0, 1),
            overflow=huge & number.any(),
        )
        found, kept = Const(0, 1), number
        for bit in (5, 4, 3):
            window = shift_window(window, places[bit], 1 << bit, (1 << bit) - 1)
            found, kept = _narrow(found, kept, limit[bit], 1 << bit)
        window = window.register(m, "s6")
        found, kept = register(m, found, "s6_found"), register(m, kept, "s6_kept")
        places, limit = register(m, places[:3], "s6_places"), register(m, limit[:3], "s6_limit")
        for bit in (2, 1, 0):
            window = shift_window(window, places[bit], 1 << bit, (1 << bit) - 1)
            found, kept = _narrow(found, kept, limit[bit], 1 << bit)
        window = window.register(m, "s7")
        beyond_integers = register(m, found | kept, "s7_beyond_integers")

        # Cycle 8: round, negate and saturate.
        increment = window.increment(Const(0, 1), tie_up=window.bits[1])
        flip = negative.replicate(11)
        rounded = (window.bits[1:] ^ flip).as_signed() + (increment ^ negative)
        lowest = undefined | beyond_integers
        beyond = lowest | window.saturated() | (rounded[11] ^ rounded[10])
        below = lowest | negative
        value = Mux(beyond, Cat(~below.replicate(10), below), rounded[:11])
        m.d.comb += self.o.payload.eq(register(m, value, "s8_value").as_signed())
        return m


def _within_6_bits(value: Value) -> Value:
    """Return a signed number, limited to 0 to 63."""
    return (value[:6] | value[6:-1].any().replicate(6)) & ~value[-1].replicate(6)


def _narrow(found: Value, bits: Value, upper: Value, half: int) -> tuple[Value, Value]:
    """Look for a 1 at or above a place of ``bits``: take a step of bisection to that place.

    Returns whether there is one above the ``half`` bits in which the place is, and those bits.
    """
    low, high = bits[:half], bits[half:]
    return found | (~upper & high.any()), Mux(upper, high, low)
