# SPDX-License-Identifier: Apache-2.0
"""A range that is to settle a slot is answered once, in time, and refused only if it is not finite.
"""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from kiwicha.hw.parts.float_units import INFINITE
from kiwicha.hw.vector.settle import Settle

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

#: One start and its answer, and what may come behind it.
DEPTH = Settle.latency + 5


class SettleSpec(wiring.Component):
    """Any ranges. Wrong: ``slow`` expects the answer a cycle later, ``strict`` refuses the largest
    finite numbers too."""

    start: In(1)
    high: In(32)
    low: In(32)

    def __init__(self, *, slow: bool = False, strict: bool = False) -> None:
        self.slow, self.strict = slow, strict
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = Settle()
        m.submodules.first = first = FirstCycle()
        waits, age = Signal(), Signal(range(Settle.latency + 3))
        high, low = Signal(32), Signal(32)
        answered = dut.done | dut.failed
        m.d.comb += [
            dut.start.eq(self.start & ~waits),
            dut.high.eq(high),
            dut.low.eq(low),
        ]
        with m.If(dut.start):
            m.d.sync += [waits.eq(1), age.eq(1), high.eq(self.high), low.eq(self.low)]
        with m.Elif(waits):
            m.d.sync += age.eq(age + 1)
        with m.If(answered):
            m.d.sync += waits.eq(0)
        with m.If(self.start & first.started):
            # What the walker gives: numbers of binary32, or none that is finite.
            for side in (self.high, self.low):
                m.d.comb += Assume((side == 0) | (side[23:] >= 10))
        limit = INFINITE - self.strict
        infinite = (high[23:] >= limit) | (low[23:] >= limit)
        # No sum of two numbers overflows if both are below half the largest one.
        finite = (high[23:] < INFINITE - 1) & (low[23:] < INFINITE - 1)
        with m.If(first.started):
            m.d.comb += [
                Assert(~(dut.done & dut.failed)),
                Assert(~answered | waits),
                Assert(answered == (waits & (age == Settle.latency + self.slow))),
                Assert(~(dut.done & infinite)),
                Assert(~(dut.failed & finite)),
                Assert(~(dut.done & (high == 0) & (low == 0)) | (dut.scale == 0x3F800000)),
                Cover(dut.failed & ~infinite),
                Cover(dut.done & (dut.scale == 0) & (dut.zero == 255)),
                Cover(dut.done & (high[23:] == 33) & (low == 0)),
            ]
        return m


def test_proved():
    assert_proved(SettleSpec(), depth=DEPTH)


def test_covered():
    assert_covered(SettleSpec(), depth=DEPTH)


@pytest.mark.parametrize("wrong", ["slow", "strict"])
def test_wrong_is_refuted(wrong):
    assert_refuted(SettleSpec(**{wrong: True}), depth=DEPTH)
