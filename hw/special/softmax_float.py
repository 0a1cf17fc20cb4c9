# SPDX-License-Identifier: Apache-2.0
"""Softmax in binary32, as ONNX Runtime's QLinearSoftmax: a division for every element."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import Component

from kiwicha.hw.parts.divide import DivideRound
from kiwicha.hw.parts.float_sum import FloatSum
from kiwicha.hw.parts.ram import block_ram
from kiwicha.hw.parts.requantize_common import delay, register
from kiwicha.hw.special.softmax_common import SLOTS, SOFTMAX_CORE

__all__ = ["FloatSoftmax"]


class FloatSoftmax(Component):
    """Mode ``onnx``; ports and rules as for ``hw.special.softmax.softmax_core``.

    ``o = min(rint(f(value / f(... f(v0 + v1) + ...))), 511)``, all binary32 and to nearest even.
    Terms are not negative and finite, and so are their sums; ``divide.value`` is +0 or positive
    and normal, the sum divided by is normal. A close only waits for the last addition.
    """

    spacing = FloatSum.latency + 2
    latency = DivideRound.latency + 1

    def __init__(self) -> None:
        super().__init__(SOFTMAX_CORE)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sums = sums = block_ram(32, SLOTS)
        m.submodules.sum = adder = FloatSum()
        m.submodules.divide = divider = DivideRound()
        write, old, divisor = sums.write_port(), sums.read_port(), sums.read_port()

        # Additions: read, add, write back.
        m.d.comb += old.addr.eq(self.add.payload.slot)
        first = register(m, self.add.payload.first, "s1_first")
        m.d.comb += [
            adder.a.eq(old.data & ~first.replicate(32)),
            adder.b.eq(register(m, self.add.payload.value, "s1_value")),
            write.data.eq(adder.o),
            write.addr.eq(delay(m, self.add.payload.slot, self.spacing - 1, "slot")),
        ]
        adding = Signal(self.spacing - 1)
        m.d.sync += adding.eq(Cat(self.add.valid, adding))
        m.d.comb += write.en.eq(adding[-1])

        # Closes: as long as an addition of the same cycle takes.
        closing = Signal(range(self.spacing))
        m.d.comb += [self.close.ready.eq(1), self.idle.eq(closing == 0)]
        with m.If(self.close.valid):
            m.d.sync += closing.eq(self.spacing - 1)
        with m.Elif(closing != 0):
            m.d.sync += closing.eq(closing - 1)

        # Divisions: read, divide.
        m.d.comb += [
            divisor.addr.eq(self.divide.payload.slot),
            divider.a.eq(register(m, self.divide.payload.value, "s1_dividend")),
            divider.b.eq(divisor.data),
            self.o.payload.eq(divider.o),
        ]
        dividing = Signal(self.latency)
        m.d.sync += dividing.eq(Cat(self.divide.valid, dividing))
        m.d.comb += self.o.valid.eq(dividing[-1])
        return m
