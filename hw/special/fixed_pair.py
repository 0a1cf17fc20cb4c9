# SPDX-License-Identifier: Apache-2.0
"""A sum of two numbers or a product of two bytes, requantized in TFLite's fixed point."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.requantize_common import register
from kiwicha.hw.parts.requantize_fixed import FixedRequantize
from kiwicha.machine.modes import CellFamily, RequantizeMode

__all__ = ["TERMS", "FixedPair"]

TERMS = data.StructLayout({"a": signed(32), "b": signed(32), "product": 1})

# One width for all devices: what the DSP blocks of an ECP5 take, and less than those of others.
_MULTIPLIER_WIDTH = 18


class FixedPair(Component):
    """``o = m(a + b)``, or ``m(a * b)`` of the low 9 bits of both, signed, with -256 and 255 in
    place of what is beyond.

    m is gemmlowp's multiplication by ``multiplier * 2^(shift - 31)`` with its two roundings, half
    up and half away from zero. Exact for sums that fit int32, multipliers from 2^30 to 2^31 - 1 or
    0, shifts -31 to 30. One result a cycle, ``latency`` cycles later.

    Members
    -------
    multiplier : In(31); shift : In(signed(8))
        Constant while anything is on its way.
    i : In(stream.Signature(TERMS, always_ready=True))
    o : Out(stream.Signature(signed(9), always_ready=True))
    """

    multiplier: In(31)
    shift: In(signed(8))
    i: In(stream.Signature(TERMS, always_ready=True))
    o: Out(stream.Signature(signed(9), always_ready=True))

    def __init__(self) -> None:
        self._core = FixedRequantize(
            RequantizeMode.TFLITE, _MULTIPLIER_WIDTH, CellFamily.GENERIC, registered=True
        )
        self.latency = self._core.latency + 1
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = self._core
        given = self.i.payload
        valid = Signal(self.latency)
        m.d.sync += valid.eq(Cat(self.i.valid, valid))

        # Cycle 1: the product of the bytes; beside it, the core adds nothing.
        product = given.a[:9].as_signed() * given.b[:9].as_signed()
        m.d.comb += [
            core.i.acc.eq(register(m, Mux(given.product, product, given.a), "s1_first")),
            core.i.bias.eq(register(m, Mux(given.product, 0, given.b), "s1_second")),
            core.i.multiplier.eq(self.multiplier),
            core.i.shift.eq(self.shift),
            core.i.zero_point.eq(0),
            core.i.low.eq(-256),
            core.i.high.eq(255),
            self.o.valid.eq(valid[-1]),
            self.o.payload.eq(core.o.value),
        ]
        return m
