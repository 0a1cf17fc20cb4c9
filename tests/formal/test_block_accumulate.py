# SPDX-License-Identifier: Apache-2.0
"""The super-accumulator: no product is lost, doubled or in another sum, however long who takes."""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.compute.block_accumulate import BlockAccumulate

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

WINDOW, BLOCKS, BITS = 3, 2, 4
DEPTH = 11


class BrokenAccumulate(BlockAccumulate):
    """Broken on purpose."""

    def __init__(self, fault):
        self.fault = fault
        super().__init__(WINDOW, BLOCKS, BITS)

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.fault == "no wait":
            m.d.comb += self.i.ready.eq(1)
        return m

    def _inside(self, m, product, right, left):
        if self.fault == "half up":
            half = (1 << right) >> 1
            down = (product + half) >> right
            return Mux(left != 0, super()._inside(m, product, right, left), down[:BITS])
        return super()._inside(m, product, right, left)


class AccumulateSpec(wiring.Component):
    """Sums as they are taken in, in order; at most four are under way."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({"i": In(stream.Signature(dut.i.payload.shape())), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        word = self.i.payload
        m.d.comb += [
            dut.i.valid.eq(self.i.valid & first.started), dut.i.payload.eq(word),
            dut.o.ready.eq(self.ready),
        ]
        taken, left = Signal(), Signal()
        m.d.comb += [taken.eq(dut.i.valid & dut.i.ready), left.eq(dut.o.valid & dut.o.ready)]
        # A sum has as many products as it may, and one window.
        count, low = Signal(range(BLOCKS + 1)), Signal(signed(9))
        m.d.comb += [
            Assume(~dut.i.valid | (word.first == (count == 0))),
            Assume(~dut.i.valid | word.last | (count + 1 < BLOCKS)),
            Assume(~dut.i.valid | word.first | (word.low == low)),
        ]
        total, outside = Signal(signed(dut.width)), Signal(2)
        value, far = self._value(m)
        added = Signal.like(total)
        m.d.comb += added.eq(Mux(word.first, 0, total) + value)
        counted = Mux(word.first, 0, outside) + far
        queue = [Signal(dut.o.payload.shape(), name=f"expected_{k}") for k in range(5)]
        filled = Signal(range(6))
        with m.If(taken):
            m.d.sync += [count.eq(Mux(word.last, 0, count + 1)), low.eq(word.low),
                         total.eq(added), outside.eq(counted)]
        ends = taken & word.last
        m.d.sync += filled.eq(filled + ends - left)
        with m.If(left):
            m.d.sync += [queue[k].eq(queue[k + 1]) for k in range(4)]
        for k, place in enumerate(queue):
            with m.If(ends & (filled - left == k)):
                m.d.sync += [place.sum.eq(added), place.outside.eq(counted)]
        with m.If(first.started):
            m.d.comb += Assert(~dut.o.valid | (filled != 0))
        with m.If(first.started & dut.o.valid):
            m.d.comb += [Assert(dut.o.payload.sum == queue[0].sum),
                         Assert(dut.o.payload.outside == queue[0].outside)]
        waited, two = Signal(), Signal()
        with m.If(dut.o.valid & ~dut.o.ready):
            m.d.sync += waited.eq(1)
        with m.If(left):
            m.d.sync += two.eq(1)
        m.d.comb += [Cover(left & waited & two & (queue[0].sum == -9)),
                     Cover(left & (queue[0].outside == 2))]
        return m

    def _value(self, m):
        """A product in the window by multiplication, and whether it lay outside."""
        word = self.i.payload
        apart = Signal(signed(10))
        right, above = Signal(range(BITS + 2)), Signal(range(BITS + 1))
        low = -apart
        high = apart - (WINDOW - 1)
        scaled, divided = Signal(signed(2 * BITS + 2)), Signal(signed(BITS + 1))
        rest = Signal(signed(BITS + 3))
        near, kept = Signal(signed(BITS + 1)), Signal(signed(BITS))
        m.d.comb += [
            apart.eq(word.exponent - word.low),
            right.eq(Mux(low < 0, 0, Mux(low > BITS + 1, BITS + 1, low))),
            above.eq(Mux(high < 0, 0, Mux(high > BITS, BITS, high))),
            divided.eq(word.product >> right),
            # Twice what is left, less the divisor: above 0 is up, 0 is a tie.
            rest.eq(((word.product - (divided << right)) << 1) - (1 << right)),
            near.eq(divided + ((rest > 0) | ((rest == 0) & divided[0]))),
            scaled.eq(word.product << above),
            kept.eq(Mux(
                above != 0, Mux(scaled > 7, 7, Mux(scaled < -8, -8, scaled)),
                Mux(right == 0, word.product, near),
            )),
        ]
        place = Mux(apart < 0, 0, Mux(high > 0, WINDOW - 1, apart))
        value = Signal(signed(self.dut.width))
        m.d.comb += value.eq(kept * (1 << place[:2]))
        return value, (apart < 0) | (high > 0)


def test_proof():
    assert_proved(AccumulateSpec(BlockAccumulate(WINDOW, BLOCKS, BITS)), depth=DEPTH)


def test_covers():
    assert_covered(AccumulateSpec(BlockAccumulate(WINDOW, BLOCKS, BITS)), depth=DEPTH)


@pytest.mark.parametrize("fault", ["no wait", "half up"])
def test_broken(fault):
    assert_refuted(AccumulateSpec(BrokenAccumulate(fault)), depth=DEPTH)
