# SPDX-License-Identifier: Apache-2.0
"""Reciprocals of a row's sum, one at a time: gemmlowp's by Newton, I-BERT's by division."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

__all__ = ["IntegerReciprocal", "NewtonReciprocal"]

_SUM = data.StructLayout({"total": 32})

# 48/17 and -32/17 with 29 fraction bits.
_START = 1515870810
_SLOPE = -1010580540


class NewtonReciprocal(Component):
    """``2^50 / total = factor * 2^(11 - shift)`` of sums 2^19 to 2^31 - 1, as gemmlowp has it.

    With h = total / 2^32, its top bit moved to bit 31 by ``12 - shift`` places, as a fraction of 31
    bits: x = 48/17 - 32/17 h, and three times x <- x + 4 x (1 - h x) with 29 and 27 fraction
    bits; ``factor`` is x of 30, saturated. Each product is ``(a * b + 2^30) >> 31`` in four cycles,
    by one multiplier of 32 x 16 bits. At most 42 cycles. A sum below 2^19 gives a meaningless
    factor, but ends as well.

    Members
    -------
    i : In(stream {total: 32}); o : Out(stream {factor: 31, shift: 4}).
    """

    factor = data.StructLayout({"factor": 31, "shift": 4})

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(_SUM)),
            "o": Out(stream.Signature(self.factor)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        number, shift, x = Signal(32), Signal(4), Signal(signed(32))
        a, b, turn = Signal(signed(32)), Signal(31), Signal(range(7))
        product, total, high = Signal(signed(48)), Signal(signed(64)), Signal(signed(32))
        half = number[1:]
        limb = Signal(signed(48))
        m.d.comb += [limb.eq(a * b[:16]), high.eq(total[31:63].as_signed())]

        # h and x of the next turn: the error 1 - h x after an odd turn, a better x after an even.
        error, better = Signal(signed(32)), Signal(signed(32))
        m.d.comb += [
            error.eq(Const(1 << 29) - high),
            better.eq(x + Mux(turn == 0, high, (high << 2)[:32].as_signed())),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    number.eq(self.i.payload.total),
                    shift.eq(12),
                    x.eq(_START),
                    turn.eq(0),
                ]
                with m.If(self.i.valid):
                    m.next = "NORMALIZE"
            with m.State("NORMALIZE"):
                with m.If(number[-1] | (shift == 0)):
                    m.d.sync += [a.eq(_SLOPE), b.eq(half)]
                    m.next = "LOW"
                with m.Else():
                    m.d.sync += [number.eq(number << 1), shift.eq(shift - 1)]
            with m.State("LOW"):
                m.d.sync += [product.eq(limb), b.eq(b >> 16)]
                m.next = "HIGH"
            with m.State("HIGH"):
                m.d.sync += [product.eq(limb), total.eq(product + (1 << 30))]
                m.next = "SUM"
            with m.State("SUM"):
                m.d.sync += total.eq(Cat(total[:16], total[16:].as_signed() + product))
                m.next = "TURN"
            with m.State("TURN"):
                m.d.sync += turn.eq(turn + 1)
                with m.If(turn[0]):
                    m.d.sync += [a.eq(error), b.eq(x)]
                with m.Else():
                    m.d.sync += [x.eq(better), a.eq(better), b.eq(half)]
                m.next = "LOW"
                with m.If(turn == 6):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        # x is positive, so bit 30 alone tells that 2 x saturates.
        m.d.comb += [
            self.o.payload.factor.eq(Cat(Const(0, 1), x[:30]) | x[30].replicate(31)),
            self.o.payload.shift.eq(shift),
        ]
        return m


class IntegerReciprocal(Component):
    """``factor = floor(2^32 / total)`` of sums 2^15 - 1 to 2^32 - 1, by restoring division.

    A quotient bit a cycle, 19 cycles. A smaller sum gives a meaningless factor.

    Members
    -------
    i : In(stream {total: 32}); o : Out(stream {factor: 18}).
    """

    factor = data.StructLayout({"factor": 18})

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(_SUM)),
            "o": Out(stream.Signature(self.factor)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor, rest, quotient = Signal(32), Signal(32), Signal(18)
        left = Signal(range(19))
        difference = Signal(34)
        m.d.comb += [
            difference.eq(Cat(Const(0, 1), rest) - divisor),
            self.o.payload.factor.eq(quotient),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                # No sum is as small as 2^14: the first 14 quotient bits are 0.
                m.d.sync += [divisor.eq(self.i.payload.total), rest.eq(1 << 14), left.eq(18)]
                with m.If(self.i.valid):
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.sync += [
                    rest.eq(Mux(difference[-1], rest << 1, difference)[:32]),
                    quotient.eq(Cat(~difference[-1], quotient)),
                    left.eq(left - 1),
                ]
                with m.If(left == 1):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
