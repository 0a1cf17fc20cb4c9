# SPDX-License-Identifier: Apache-2.0
"""Softmax in integers: one reciprocal a row, then a product for every element."""

from abc import abstractmethod

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import Component

from kiwicha.hw.parts.ram import block_ram
from kiwicha.hw.parts.requantize_common import delay, register
from kiwicha.hw.parts.requantize_multiply import PipelinedMultiply
from kiwicha.hw.special.softmax_common import SLOTS, SOFTMAX_CORE
from kiwicha.hw.special.softmax_reciprocal import IntegerReciprocal, NewtonReciprocal

__all__ = ["IntegerSoftmax", "TfliteSoftmax"]

# One width for all devices: what the DSP blocks of an ECP5 take, and less than those of others.
_MULTIPLIER_WIDTH = 18


class _FixedSoftmax(Component):
    """Sums of 32 bits, and the path of closes; a mode adds its reciprocal and its product."""

    spacing = 2

    #: Waits for the last addition, then makes the factor that every element is multiplied by.
    reciprocal: type[NewtonReciprocal] | type[IntegerReciprocal]

    latency: int

    def __init__(self) -> None:
        super().__init__(SOFTMAX_CORE)

    @abstractmethod
    def _multiply(self, m: Module, factor: data.View, value: Value) -> Value:
        """Return the quotient, ``latency - 1`` cycles after ``factor`` and ``value``."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sums = sums = block_ram(32, SLOTS)
        m.submodules.factors = factors = block_ram(self.reciprocal.factor, SLOTS)
        m.submodules.reciprocal = reciprocal = self.reciprocal()
        write, old, closed = sums.write_port(), sums.read_port(), sums.read_port()

        # Additions: read, then add and write back.
        first = register(m, self.add.payload.first, "s1_first")
        value = register(m, self.add.payload.value, "s1_value")
        adding = Signal()
        m.d.sync += adding.eq(self.add.valid)
        m.d.comb += [
            old.addr.eq(self.add.payload.slot),
            write.addr.eq(register(m, self.add.payload.slot, "s1_slot")),
            write.data.eq((old.data & ~first.replicate(32)) + value),
            write.en.eq(adding),
        ]

        # Closes: one after the other. An addition of the same cycle is written in the next one,
        # so the sum is read in the one after that.
        slot = Signal(range(SLOTS))
        keep = factors.write_port()
        m.d.comb += [
            closed.addr.eq(slot),
            reciprocal.i.payload.total.eq(closed.data),
            keep.addr.eq(slot),
            keep.data.eq(reciprocal.o.payload),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.close.ready.eq(1)]
                m.d.sync += slot.eq(self.close.payload.slot)
                with m.If(self.close.valid):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.next = "READ"
            with m.State("READ"):
                m.next = "START"
            with m.State("START"):
                m.d.comb += reciprocal.i.valid.eq(1)
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += [reciprocal.o.ready.eq(1), keep.en.eq(reciprocal.o.valid)]
                with m.If(reciprocal.o.valid):
                    m.next = "IDLE"

        # Divisions: read the factor, multiply.
        use = factors.read_port()
        value = register(m, self.divide.payload.value, "s1_dividend")
        m.d.comb += [
            use.addr.eq(self.divide.payload.slot),
            self.o.payload.eq(self._multiply(m, use.data, value)),
        ]
        dividing = Signal(self.latency)
        m.d.sync += dividing.eq(Cat(self.divide.valid, dividing))
        m.d.comb += self.o.valid.eq(dividing[-1])
        return m


class TfliteSoftmax(_FixedSoftmax):
    """Mode ``tflite``; ports and rules as for ``hw.special.softmax.softmax_core``.

    Terms have 19 fraction bits, their sum is 2^19 to 2^31 - 1; ``divide.value``, below 2^31, has
    31. ``o`` is 0 to 256: gemmlowp's product with the reciprocal, and its rounding shift. A close
    holds ``idle`` low for up to 45 cycles.
    """

    reciprocal = NewtonReciprocal
    latency = 7

    def _multiply(self, m: Module, factor: data.View, value: Value) -> Value:
        m.submodules.multiply = multiply = PipelinedMultiply(32, 31, _MULTIPLIER_WIDTH)
        assert multiply.latency == self.latency - 4
        m.d.comb += [multiply.a.eq(value[:31]), multiply.b.eq(factor.factor)]
        shift = delay(m, factor.shift, multiply.latency + 1, "shift")
        # The product of 31 fraction bits, rounded; then what 23 places to the right leave of it,
        # and the half.
        high = register(m, (multiply.o[30:62] + 1)[1:32], "high")
        kept = register(m, high[22:] >> shift, "kept")
        return register(m, (kept + 1)[1:], "rounded")


class IntegerSoftmax(_FixedSoftmax):
    """Mode ``integer``; ports and rules as for ``hw.special.softmax.softmax_core``.

    Terms are below 2^16, their sum is 2^15 - 1 to 2^32 - 1; ``divide.value`` is below 2^16.
    ``o = (value * floor(2^32 / sum)) >> 24``, as I-BERT has it. A close holds ``idle`` low for
    22 cycles.
    """

    reciprocal = IntegerReciprocal
    latency = 4

    def _multiply(self, m: Module, factor: data.View, value: Value) -> Value:
        m.submodules.multiply = multiply = PipelinedMultiply(17, 18, _MULTIPLIER_WIDTH)
        assert multiply.latency == self.latency - 2
        m.d.comb += [multiply.a.eq(value[:16]), multiply.b.eq(factor.factor)]
        return register(m, multiply.o[24:33], "quotient")
