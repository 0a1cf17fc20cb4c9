# SPDX-License-Identifier: Apache-2.0
"""Layer normalization, first half: what one row is shifted and scaled by."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.requantize_common import register
from kiwicha.hw.special.inverse_root import INVERSE_ROOT, InverseRoot

__all__ = ["MEASURE", "NormalizeMeasure"]

MEASURE = data.StructLayout({"x": signed(9), "first": 1, "last": 1})
"""An element of a row, -128 to 127 (uncentred: -255 to 255), and whether the row begins or ends
with it."""

# Bits of the row's length and of the magnitude of its sum, with which products are made.
_TURNS = 20


class NormalizeMeasure(Component):
    """Sums up a row, then finds the reciprocal of its standard deviation or root mean square.

    S, W, s and f of ``golden.normalize``. W = n Q - S^2 comes from shifting and adding, a bit of n
    and of S a cycle; then the root and the quotient. Uncentred, S is 0.

    An element a cycle. ``measured`` rises 73 + s cycles after the row's last element (74 to 97),
    with two digits a cycle 50 + s / 2, rounded down (50 to 62). The next row must not begin before.

    Parameters
    ----------
    digits : as `InverseRoot`.

    Members
    -------
    length : In(16), 1 to 4096; epsilon : In(32); uncentred : In(1)
        Constant from a row's first element until ``measured``.
    i : In(stream.Signature(MEASURE, always_ready=True))
        Every element of a row.
    measured : Out(1)
        No row is being measured; low from the cycle after a row's first element on.
    total : Out(signed(20)); inverse : Out(INVERSE_ROOT)
        S, f and s of the last row; they change in the cycle in which ``measured`` rises.
    """

    length: In(unsigned(16))
    epsilon: In(unsigned(32))
    uncentred: In(1)
    i: In(stream.Signature(MEASURE, always_ready=True))
    measured: Out(1)
    total: Out(signed(20))
    inverse: Out(INVERSE_ROOT)

    def __init__(self, digits: int = 1) -> None:
        self.digits = digits
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.root = root = InverseRoot(self.digits)

        # Cycle 1: the square. Cycle 2: the sums.
        x = self.i.payload.x
        square = register(m, (x * x)[:16], "s1_square")
        x = register(m, x, "s1_x")
        first = register(m, self.i.payload.first, "s1_first")
        valid, last, summed = Signal(), Signal(), Signal()
        total, squares = Signal(signed(20)), Signal(28)
        m.d.sync += [
            valid.eq(self.i.valid),
            last.eq(self.i.valid & self.i.payload.last),
            summed.eq(last),
        ]
        with m.If(valid):
            m.d.sync += [
                total.eq(Mux(first, 0, total) + x),
                squares.eq(Mux(first, 0, squares) + square),
            ]

        # W has 38 bits, uncentred 40, whatever the sums before it had.
        spread, magnitude = Signal(40), Signal(_TURNS)
        length_bits, total_bits = Signal(_TURNS), Signal(_TURNS)
        left = Signal(range(_TURNS))
        sized = Mux(total[-1], -total, total)[:_TURNS]
        whole = Mux(length_bits[-1], squares, 0)
        part = Mux(total_bits[-1], magnitude, 0)
        epsilon, factor = self.epsilon, root.o.payload.factor
        coarse = (spread + Mux(self.uncentred, epsilon[6:], epsilon[8:]))[:40]
        m.d.comb += root.i.payload.value.eq(
            Mux(self.uncentred, Cat(epsilon[:6], coarse), Cat(epsilon[:8], coarse[:38]))
        )
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    spread.eq(0),
                    magnitude.eq(sized),
                    total_bits.eq(Mux(self.uncentred, 0, sized)),
                    length_bits.eq(self.length[:13]),
                    left.eq(_TURNS - 1),
                ]
                with m.If(summed):
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [
                    spread.eq((spread << 1) + whole - part),
                    length_bits.eq(length_bits << 1),
                    total_bits.eq(total_bits << 1),
                    left.eq(left - 1),
                ]
                with m.If(left == 0):
                    m.next = "ROOT"
            with m.State("ROOT"):
                m.d.comb += root.i.valid.eq(1)
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += root.o.ready.eq(1)
                with m.If(root.o.valid):
                    m.d.sync += [
                        self.total.eq(Mux(self.uncentred, 0, total)),
                        self.inverse.places.eq(root.o.payload.places),
                        # Of factors with the top bit only 2^24 there is.
                        self.inverse.factor.eq(Mux(self.uncentred & factor[-1], ~factor, factor)),
                    ]
                    m.next = "IDLE"

        busy = Signal()
        with m.If(self.i.valid):
            m.d.sync += busy.eq(1)
        with m.Elif(root.o.valid):
            m.d.sync += busy.eq(0)
        m.d.comb += self.measured.eq(~busy)
        return m
