# SPDX-License-Identifier: Apache-2.0
"""Scale and zero point that follow from a range, as DynamicQuantizeLinear has them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib.wiring import Component, In, Out

from hw.vector.divide import DivideRound
from hw.vector.float_sum import FloatSum, significand

__all__ = ["Settle"]

_STEPS = 34
"""Quotient bits: 26 or 27 that count."""
_LOADED = FloatSum.latency + 1
_PACKED = _LOADED + _STEPS + 1
_DONE = _PACKED + 1 + DivideRound.latency
_ONE = 0x3F800000


class Settle(Component):
    """``scale = f(f(high + low) / 255)``, ``zero = min(rint(f(low / scale)), 255)``.

    A range of nothing has scale 1 and zero point 0. The scale has to be a normal number. Latency:
    ``latency`` cycles from ``start`` to ``done``.

    Members
    -------
    start : In(1); high, low : In(31)
        Magnitudes of the greatest and of the least value, at least 0; stable until ``done``.
    done : Out(1); scale : Out(32); zero : Out(8)
        Valid in the cycle of ``done``.
    """

    latency = _DONE + 1

    start: In(1)
    high: In(31)
    low: In(31)
    done: Out(1)
    scale: Out(unsigned(32))
    zero: Out(unsigned(8))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sum = total = FloatSum()
        m.submodules.divide = divide = DivideRound()
        timer, running = Signal(range(_DONE + 1)), Signal()
        m.d.sync += self.done.eq(running & (timer == _DONE))
        with m.If(self.start):
            m.d.sync += [running.eq(1), timer.eq(0)]
        with m.Elif(running):
            m.d.sync += [timer.eq(timer + 1), running.eq(timer != _DONE)]

        # The sum's 24 bits and ten zeros by 255, a quotient bit a cycle.
        dividend, quotient = Signal(_STEPS), Signal(27)
        rest, wide = Signal(8), Signal(9)
        m.d.comb += wide.eq(Cat(dividend[-1], rest))
        m.d.sync += [
            dividend.eq(dividend << 1),
            rest.eq(Mux(wide >= 255, wide - 255, wide)),
            quotient.eq(Cat(wide >= 255, quotient)),
        ]
        with m.If(timer == _LOADED):
            m.d.sync += [dividend.eq(Cat(Const(0, 10), significand(total.o))), rest.eq(0)]

        long = quotient[26]
        kept = Mux(long, quotient[3:], quotient[2:26])
        half = Mux(long, quotient[2], quotient[1])
        sticky = rest.any() | quotient[0] | (long & quotient[1])
        power = (total.o[23:31] - Mux(long, 7, 8))[:8]
        number = Cat(kept[:23], power) + (half & (sticky | kept[0]))
        nothing = ~total.o[:31].any()
        with m.If(timer == _PACKED):
            m.d.sync += self.scale.eq(Mux(nothing, _ONE, number[:31]))
        m.d.comb += [
            total.a.eq(self.high),
            total.b.eq(self.low),
            divide.a.eq(self.low),
            divide.b.eq(self.scale),
        ]
        m.d.sync += self.zero.eq(Mux(divide.o[8], 255, divide.o[:8]))
        return m
