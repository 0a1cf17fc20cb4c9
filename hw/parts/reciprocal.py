# SPDX-License-Identifier: Apache-2.0
"""What a block is multiplied by: a power of two at once, or a reciprocal after a division."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

__all__ = [
    "FRACTION", "SHIFT_FRACTION", "Reciprocal", "division_cycles", "scale_layout",
]

#: Bits behind the point of every factor.
FRACTION = 40

#: Bits behind the point that the greatest shift needs.
SHIFT_FRACTION = 25

_WIDTH = FRACTION + 7


def scale_layout(free: bool) -> data.StructLayout:
    """Return the payload of a block's greatest ``magnitude``, its ``shift`` and its ``factor``.

    A power of two has no factor, a ``free`` scale shift 0.
    """
    factor = {"factor": unsigned(_WIDTH)} if free else {}
    return data.StructLayout({"magnitude": unsigned(32), "shift": 5, **factor})


def division_cycles(digit: int) -> int:
    """Return the cycles from one division to the next with ``digit`` quotient bits a cycle."""
    return 2 + -(-_WIDTH // digit)


class Reciprocal(Component):
    """``factor = floor(127 * 2^40 / magnitude)`` if ``free``, else ``shift``: a power of two.

    ``shift`` is ``max(0, bit length of magnitude - 7)``. A free magnitude of 0 gives factor 0. A
    power of two takes one cycle, one request a cycle. A division takes 2 + ceil(47 / ``digit``)
    cycles; it goes on while the scale before it waits to be taken.

    Parameters
    ----------
    digit : quotient bits a cycle, 1 to 4.
    free : whether it divides.

    Members
    -------
    i : In(stream.Signature(32)); a block's greatest magnitude.
    o : Out(stream.Signature(scale_layout(free))).
    """

    def __init__(self, digit: int, free: bool) -> None:
        if not 1 <= digit <= 4:
            raise ValueError(f"digit is {digit}; legal: 1 to 4")
        self.digit = digit
        self.free = free
        self.steps = division_cycles(digit) - 2 if free else 0
        super().__init__({
            "i": In(stream.Signature(32)),
            "o": Out(stream.Signature(scale_layout(free))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        free_o, put = Signal(), Signal()
        m.d.comb += free_o.eq(~self.o.valid | self.o.ready)
        (self._divide if self.free else self._shift)(m, free_o, put)
        with m.If(put):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m

    def _shift(self, m: Module, free_o: Signal, put: Signal) -> None:
        """Answer with the power of two, in the next cycle."""
        size, shift = self.i.payload, Signal(5)
        for k in range(7, 32):
            with m.If(size[k]):
                m.d.comb += shift.eq(k - 6)
        m.d.comb += [self.i.ready.eq(free_o), put.eq(self.i.valid & free_o)]
        with m.If(put):
            m.d.sync += [self.o.payload.magnitude.eq(size), self.o.payload.shift.eq(shift)]

    def _divide(self, m: Module, free_o: Signal, put: Signal) -> None:
        """Restoring division: quotient bits push the dividend out of one register."""
        magnitude, size = Signal(32), self.i.payload
        left, busy, divides = Signal(range(self.steps + 1)), Signal(), Signal()
        m.d.comb += [
            divides.eq(size.any()),
            self.i.ready.eq(~busy & (free_o | divides)),
        ]
        remainder, shifted = Signal(32), Signal(_WIDTH + -_WIDTH % self.digit)
        rest: Value = remainder
        bits: list[Value] = []
        for k in range(self.digit):
            wide = Signal(33, name=f"wide{k}")
            difference = Signal(34, name=f"difference{k}")
            m.d.comb += [
                wide.eq(Cat(shifted[-1 - k], rest)),
                difference.eq(wide - magnitude),
            ]
            bits.insert(0, ~difference[-1])
            rest = Mux(difference[-1], wide[:32], difference[:32])
        with m.If(left.any()):
            m.d.sync += [
                remainder.eq(rest),
                shifted.eq(Cat(bits, shifted)),
                left.eq(left - 1),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += magnitude.eq(size)
            with m.If(divides):
                m.d.sync += [
                    busy.eq(1),
                    left.eq(self.steps),
                    remainder.eq(0),
                    shifted.eq(Const(127 << FRACTION, _WIDTH)),
                ]
            with m.Else():
                m.d.comb += put.eq(1)
                m.d.sync += [self.o.payload.magnitude.eq(0), self.o.payload.factor.eq(0)]
        with m.Elif(busy & ~left.any() & free_o):
            m.d.comb += put.eq(1)
            m.d.sync += [
                busy.eq(0),
                self.o.payload.magnitude.eq(magnitude),
                self.o.payload.factor.eq(shifted),
            ]
