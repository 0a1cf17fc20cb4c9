# SPDX-License-Identifier: Apache-2.0
"""Scale and zero point that follow from a range, as DynamicQuantizeLinear has them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.divide import DivideRound
from kiwicha.hw.parts.float_sum import FloatSum, effective_exponent, significand
from kiwicha.hw.parts.float_units import INFINITE, Narrow, Widen

__all__ = ["Settle"]

_STEPS = 34
"""Quotient bits: 26 or 27 that count."""
_LOADED = Narrow.latency + FloatSum.latency + 1
_PACKED = _LOADED + _STEPS + 1
_DONE = _PACKED + 1 + Widen.latency + DivideRound.latency
_ONE = 0x3F800000
_LOWEST = 8
"""Greatest exponent of a range whose scale may be denormal."""


class Settle(Component):
    """``scale = f(f(high + low) / 255)``, ``zero = min(rint(f(low / scale)), 255)``.

    A range of nothing has scale 1 and zero point 0; one whose scale rounds to 0 has zero point 255.
    Latency: ``latency`` cycles from ``start`` to ``done`` or ``failed``.

    Members
    -------
    start : In(1); high, low : In(32)
        Magnitudes of the greatest and of the least value, wide numbers (`hw.parts.float_units`);
        stable until the answer. No start before that.
    done : Out(1); scale : Out(32); zero : Out(8)
        Valid in the cycle of ``done``.
    failed : Out(1)
        Instead of ``done``: the range is not finite.
    """

    latency = _DONE + 2  # the first one sets the timer, the last one the answer

    start: In(1)
    high: In(32)
    low: In(32)
    done: Out(1)
    scale: Out(unsigned(32))
    zero: Out(unsigned(8))
    failed: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sum = total = FloatSum()
        m.submodules.divide = divide = DivideRound(wide=True)
        m.submodules.high = high = Narrow()
        m.submodules.low = low = Narrow()
        m.submodules.widen = widen = Widen()
        timer, running = Signal(range(_DONE + 1)), Signal()
        ended, infinite = running & (timer == _DONE), Signal()
        m.d.sync += [self.done.eq(ended & ~infinite), self.failed.eq(ended & infinite)]
        with m.If(self.start):
            m.d.sync += [running.eq(1), timer.eq(0)]
        with m.Elif(running):
            m.d.sync += [timer.eq(timer + 1), running.eq(timer != _DONE)]

        # The sum's 24 bits and ten zeros by 255, a quotient bit a cycle. Of a denormal scale there
        # are fewer: the division ends when it has them and three more.
        dividend, quotient = Signal(_STEPS), Signal(27)
        rest, wide = Signal(8), Signal(9)
        denormal = total.o[23:31] <= _LOWEST
        last = Mux(denormal, _PACKED - _LOWEST + effective_exponent(total.o)[:4], _PACKED)
        m.d.comb += wide.eq(Cat(dividend[-1], rest))
        with m.If(timer < last):
            m.d.sync += [
                dividend.eq(dividend << 1),
                rest.eq(Mux(wide >= 255, wide - 255, wide)),
                quotient.eq(Cat(wide >= 255, quotient)),
            ]
        with m.If(timer == _LOADED):
            m.d.sync += [dividend.eq(Cat(Const(0, 10), significand(total.o))), rest.eq(0)]

        long = quotient[26] | denormal
        kept = Mux(long, quotient[3:], quotient[2:26])
        half = Mux(long, quotient[2], quotient[1])
        sticky = rest.any() | quotient[0] | (long & quotient[1])
        power = Mux(denormal, quotient[26], (total.o[23:31] - Mux(long, 7, 8))[:8])
        number = Cat(kept[:23], power) + (half & (sticky | kept[0]))
        nothing = ~total.o[:31].any()
        with m.If(timer == _PACKED):
            m.d.sync += self.scale.eq(Mux(nothing, _ONE, number[:31]))
        m.d.comb += [
            high.i.eq(self.high),
            low.i.eq(self.low),
            total.a.eq(high.o),
            total.b.eq(low.o),
            widen.i.eq(self.scale[:31]),
            divide.a.eq(self.low),
            divide.b.eq(widen.o),
        ]
        beyond = Cat(side[23:] >= INFINITE for side in (self.high, self.low)).any()
        m.d.comb += infinite.eq(beyond | total.o[23:31].all())
        m.d.sync += self.zero.eq(Mux(divide.o[8], 255, divide.o[:8]))
        return m
