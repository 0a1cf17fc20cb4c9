# SPDX-License-Identifier: Apache-2.0
"""The reciprocal of a square root, digit by digit: an integer root, then a division."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

__all__ = ["INVERSE_ROOT", "InverseRoot"]

INVERSE_ROOT = data.StructLayout({"factor": 25, "places": 5})
"""``factor * 2^places / 2^47`` is the reciprocal of the root."""

_VALUE = data.StructLayout({"value": 46})

# Quotients have a bit more than roots: 2^47 / 2^23.
_ROOT_BITS = 24


class InverseRoot(Component):
    """``factor = floor(2^47 / floor(sqrt(value * 4^places)))``, one at a time.

    ``places``, 1 to 24, is the largest with ``value * 4^places`` below 2^48, so that the root has
    24 bits. Both are found by restoring subtraction, a bit a cycle: ``o`` is valid 49 +
    ``places`` cycles after the transfer on ``i``, and stays until it is taken. Value 0 has
    ``places`` 24 and a factor that means nothing.

    Members
    -------
    i : In(stream {value: 46}); o : Out(stream of INVERSE_ROOT).
    """

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(_VALUE)),
            "o": Out(stream.Signature(INVERSE_ROOT)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value, leading = Signal(46), Signal()
        root, rest = Signal(_ROOT_BITS), Signal(_ROOT_BITS + 1)
        factor, places = Signal(_ROOT_BITS + 1), Signal(5)
        left = Signal(range(_ROOT_BITS + 1))
        m.d.comb += [self.o.payload.factor.eq(factor), self.o.payload.places.eq(places)]

        # rest = value - root^2 of the digits so far, at most 2 root; a further digit 1 makes the
        # square 4 root + 1 larger, two places on, so differences are within 4 root + 2. Of a
        # quotient, rest is the remainder, below the root.
        pair = value[-2:]
        square = Signal(_ROOT_BITS + 2)
        quotient = Signal(_ROOT_BITS + 1)
        m.d.comb += [
            square.eq(Cat(pair, rest) - Cat(Const(1, 2), root)),
            quotient.eq(Cat(Const(0, 1), rest) - root),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    value.eq(self.i.payload.value),
                    places.eq(1),
                    leading.eq(1),
                    root.eq(0),
                    rest.eq(0),
                    left.eq(_ROOT_BITS - 1),
                ]
                with m.If(self.i.valid):
                    m.next = "ROOT"
            with m.State("ROOT"):
                m.d.sync += value.eq(value << 2)
                with m.If(leading & (pair == 0) & (places != _ROOT_BITS)):
                    m.d.sync += places.eq(places + 1)
                with m.Else():
                    m.d.sync += [
                        leading.eq(0),
                        root.eq(Cat(~square[-1], root)),
                        rest.eq(Mux(square[-1], Cat(pair, rest), square)),
                        left.eq(left - 1),
                    ]
                    with m.If(left == 0):
                        # No root is as small as 2^22: the quotient's bits above 25 are 0.
                        m.d.sync += [rest.eq(1 << (_ROOT_BITS - 2)), left.eq(_ROOT_BITS)]
                        m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.sync += [
                    factor.eq(Cat(~quotient[-1], factor)),
                    rest.eq(Mux(quotient[-1], Cat(Const(0, 1), rest), quotient)),
                    left.eq(left - 1),
                ]
                with m.If(left == 0):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
