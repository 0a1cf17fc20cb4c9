# SPDX-License-Identifier: Apache-2.0
"""The reciprocal of a square root, digit by digit: an integer root, then a division."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
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
    ``places`` cycles after the transfer on ``i``, and stays until it is taken; or two bits a cycle:
    26 + ``places`` / 2, rounded down, cycles. Value 0 has ``places`` 24 and a factor that means
    nothing.

    Parameters
    ----------
    digits : bits a cycle, 1 or 2.

    Members
    -------
    i : In(stream {value: 46}); o : Out(stream of INVERSE_ROOT).
    """

    def __init__(self, digits: int = 1) -> None:
        if digits not in (1, 2):
            raise ValueError(f"digits is {digits}; legal: 1, 2")
        self.digits = digits
        super().__init__({
            "i": In(stream.Signature(_VALUE)),
            "o": Out(stream.Signature(INVERSE_ROOT)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        digits = self.digits
        # A whole number of turns: what is too much of a quotient comes first and is 0.
        quotient_bits = -(-(_ROOT_BITS + 1) // digits) * digits
        value, leading = Signal(46), Signal()
        root, rest = Signal(_ROOT_BITS), Signal(_ROOT_BITS + 1)
        factor, places = Signal(_ROOT_BITS + 1), Signal(5)
        left = Signal(range(_ROOT_BITS))
        m.d.comb += [self.o.payload.factor.eq(factor), self.o.payload.places.eq(places)]
        pairs = [value[44 - 2 * place : 46 - 2 * place] for place in range(digits)]
        next_root, root_rest = root, rest
        next_factor, quotient_rest = factor, rest
        for place, pair in enumerate(pairs):
            next_root, root_rest = _root_digit(m, next_root, root_rest, pair, place)
            next_factor, quotient_rest = _quotient_digit(
                m, next_factor, quotient_rest, root, place
            )
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    value.eq(self.i.payload.value),
                    places.eq(1),
                    leading.eq(1),
                    root.eq(0),
                    rest.eq(0),
                    left.eq(_ROOT_BITS // digits - 1),
                ]
                with m.If(self.i.valid):
                    m.next = "ROOT"
            with m.State("ROOT"):
                m.d.sync += value.eq(value << 2 * digits)
                nothing = leading & (pairs[0] == 0) & (places != _ROOT_BITS)
                if digits == 2:
                    with m.If(nothing & (pairs[1] == 0) & (places != _ROOT_BITS - 1)):
                        m.d.sync += places.eq(places + 2)
                    with m.Elif(nothing):
                        m.d.sync += [places.eq(places + 1), value.eq(value << 2)]
                else:
                    with m.If(nothing):
                        m.d.sync += places.eq(places + 1)
                with m.If(~nothing):
                    m.d.sync += [
                        leading.eq(0),
                        root.eq(next_root),
                        rest.eq(root_rest),
                        left.eq(left - 1),
                    ]
                    with m.If(left == 0):
                        # No root is as small as 2^22: the quotient's bits above 25 are 0.
                        m.d.sync += [
                            rest.eq(1 << (2 * _ROOT_BITS - 1 - quotient_bits)),
                            left.eq(quotient_bits // digits - 1),
                        ]
                        m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.sync += [
                    factor.eq(next_factor), rest.eq(quotient_rest), left.eq(left - 1),
                ]
                with m.If(left == 0):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m


def _root_digit(
    m: Module, root: Value, rest: Value, pair: Value, place: int
) -> tuple[Value, Value]:
    """Return root and rest with one digit more.

    rest = value - root^2 of the digits so far, at most 2 root; a further digit 1 makes the square
    4 root + 1 larger, two places on, so differences are within 4 root + 2.
    """
    square = Signal(_ROOT_BITS + 2, name=f"square_{place}")
    m.d.comb += square.eq(Cat(pair, rest) - Cat(Const(1, 2), root))
    kept = Mux(square[-1], Cat(pair, rest), square)[: _ROOT_BITS + 1]
    return Cat(~square[-1], root)[:_ROOT_BITS], kept


def _quotient_digit(
    m: Module, factor: Value, rest: Value, root: Value, place: int
) -> tuple[Value, Value]:
    """Return quotient and remainder, which is below the root, with one digit more."""
    quotient = Signal(_ROOT_BITS + 1, name=f"quotient_{place}")
    m.d.comb += quotient.eq(Cat(Const(0, 1), rest) - root)
    kept = Mux(quotient[-1], Cat(Const(0, 1), rest), quotient)[: _ROOT_BITS + 1]
    return Cat(~quotient[-1], factor)[: _ROOT_BITS + 1], kept
