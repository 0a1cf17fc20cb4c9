# SPDX-License-Identifier: Apache-2.0
"""A product of two bytes and a binary32 number, rounded to binary32."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.requantize_common import delay, register
from kiwicha.hw.parts.requantize_multiply import PipelinedMultiply
from kiwicha.hw.special.add_round import OPERANDS

__all__ = ["FACTORS", "MultiplyRound"]

FACTORS = data.StructLayout({
    "a": unsigned(8),
    "a_negative": 1,
    "b": unsigned(8),
    "b_negative": 1,
    "fraction": unsigned(23),
    "offset": unsigned(16),
})

# One width for all devices: what the DSP blocks of an ECP5 take, and less than those of others.
_MULTIPLIER_WIDTH = 18
_FIRST = range(24, 33)  # places of a product's first 1, a half below place 0


class MultiplyRound(Component):
    """``±f(a * b * (2^23 + fraction)) * 2^shift`` and an offset, as ``AddRound`` takes them.

    f rounds to 24 bits, to nearest even, as a binary32 multiplication of the exact a * b does. One
    product a cycle, ``latency`` cycles later.

    Members
    -------
    shift : In(signed(8))
        At most 119; constant while anything is on its way.
    i : In(stream.Signature(FACTORS, always_ready=True))
        ``offset`` is the upper half of a binary32 number.
    o : Out(stream.Signature(OPERANDS, always_ready=True))
        ``a * 2^shift`` is the product, ``b`` the offset.
    """

    shift: In(signed(8))
    i: In(stream.Signature(FACTORS, always_ready=True))
    o: Out(stream.Signature(OPERANDS, always_ready=True))

    def __init__(self) -> None:
        self._multiply = PipelinedMultiply(17, 24, _MULTIPLIER_WIDTH)
        self.latency = self._multiply.latency + 4
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiply = multiply = self._multiply
        given, made = self.i.payload, self.o.payload
        valid = Signal(self.latency)
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        negative = delay(m, given.a_negative ^ given.b_negative, self.latency, "negative")
        offset = delay(m, given.offset, self.latency, "offset")

        # Cycle 1: the product of the bytes. Then that with the significand.
        factor = register(m, given.a * given.b, "s1_factor")
        fraction = register(m, given.fraction, "s1_fraction")
        m.d.comb += [
            multiply.a.eq(Cat(factor, Const(0, 1)).as_signed()),
            multiply.b.eq(Cat(fraction, Const(1, 1))),
        ]

        # The first 1 of what is not 0 is at one of 17 places; 8 places down where it is above 30,
        # it is at one of nine. A half and whether anything is below it stay.
        product = multiply.o[:40]
        high = product[31:].any()
        kept = register(m, Mux(high, product[7:], Cat(Const(0, 1), product[:32])), "kept")
        rest = register(m, high & product[:7].any(), "rest")
        high = delay(m, high, 3, "high")

        # For each place of the first 1 whether rounding to 24 bits goes up.
        begun = Cat(kept[place:].any() for place in _FIRST)
        ups = Cat(
            kept[bit] & (kept[bit + 1] | kept[:bit].any() | rest) for bit in range(len(_FIRST))
        )
        begun, ups = register(m, begun, "begun"), register(m, ups, "ups")
        kept = register(m, kept, "late_kept")

        # What is below the 24 bits becomes all ones and a carry, or all zeros and none.
        first = begun & ~(begun >> 1)
        up = (first & ups).any()
        below = Cat(Const(1, 1), begun[1:])
        low = (kept[:9] & ~below) | (up.replicate(9) & below)
        number = (Cat(low[1:], kept[9:]) + up)[:32]
        m.d.comb += [
            self.o.valid.eq(valid[-1]),
            made.a.eq(register(m, number, "number")),
            made.negative.eq(negative),
            made.shift.eq(self.shift + Cat(Const(0, 3), high)),
            made.b.eq(Cat(Const(0, 16), offset)),
        ]
        return m
