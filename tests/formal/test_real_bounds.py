# SPDX-License-Identifier: Apache-2.0
"""Whatever binary32 bounds are written, a finite value is held within them and no other changes."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from kiwicha.hw.parts.float_units import Widen
from kiwicha.hw.vector.real_bounds import RealBounds
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import BOUNDS_PLACE, LoadTarget

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

CONFIG = AcceleratorConfig(
    columns=1, requantize_lanes=1, axi_data_width=64, dynamic=True,
    real={"bytes": 512, "functions": True},
)
DEPTH = 10


class Broken(RealBounds):
    """Broken on purpose."""

    def __init__(self, fault):
        self.fault = fault
        super().__init__(CONFIG)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inside = inside = RealBounds(CONFIG)
        m.d.comb += [
            inside.write.valid.eq(self.write.valid), inside.write.payload.eq(self.write.payload),
            inside.v.eq(self.v), inside.bounded.eq(self.bounded), self.o.eq(inside.o),
        ]
        if self.fault == "always":
            m.d.comb += inside.bounded.eq(1)
        if self.fault == "any place":
            m.d.comb += inside.write.payload.address.eq(BOUNDS_PLACE)
        if self.fault == "the other sign":
            m.d.comb += inside.v[0].eq(self.v[0] ^ (1 << 32))
        return m


class BoundsSpec(wiring.Component):
    """Bounds and a value that stay, writes to other places, and the numbers as binary32."""

    low: In(32)
    high: In(32)
    value: In(32)
    bounded: In(1)
    elsewhere: In(1)
    target: In(4)
    place: In(7)
    other: In(64)

    def __init__(self, dut):
        self.dut = dut
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        m.submodules.given, m.submodules.wanted = given, wanted = Widen(), Widen()
        age, kept = Signal(range(DEPTH + 2)), Signal(97)
        now = Cat(self.low, self.high, self.value, self.bounded)
        mine = (self.target == LoadTarget.DYNAMIC) & (self.place[3:] == BOUNDS_PLACE >> 3)
        with m.If(first.started):
            m.d.sync += [age.eq(age + 1), kept.eq(now)]
            m.d.comb += [
                Assume((age == 0) | (kept == now)),
                Assume(~self.low[23:31].all() & ~self.high[23:31].all()),
                Assume(~(self.elsewhere & mine)),
            ]
        wrote = first.started & (age == 0)
        write = dut.write.payload
        m.d.comb += [
            dut.write.valid.eq(wrote | (first.started & self.elsewhere)),
            write.target.eq(Mux(wrote, LoadTarget.DYNAMIC, self.target)),
            write.address.eq(Mux(wrote, BOUNDS_PLACE, self.place & 0x78)),
            write.data.eq(Mux(wrote, Cat(self.low, self.high), self.other)),
            dut.bounded.eq(self.bounded),
        ]
        low, high, value = (_key(each) for each in (self.low, self.high, self.value))
        raised = Mux(value < low, self.low, self.value)
        held = Mux(high < _key(raised), self.high, raised)
        finite = ~self.value[23:31].all()
        expected = Mux(self.bounded & finite, held, self.value)
        m.d.comb += [
            given.i.eq(self.value[:31]), wanted.i.eq(expected[:31]),
            dut.v[0].eq(Cat(given.o, self.value[31])),
        ]
        done = first.started & (age >= 8)
        same = (dut.o[0][:32] == wanted.o) & (
            (dut.o[0][32] == expected[31]) | ~wanted.o.any()
        )
        with m.If(done):
            m.d.comb += [
                Assert(same),
                Cover(self.bounded & (held == self.low) & (value < low) & self.low[31]),
                Cover(self.bounded & (held == self.high) & (high < value) & ~self.high[31]),
                Cover(self.bounded & (high < low) & self.elsewhere),
                Cover(self.bounded & ~finite),
                Cover(~self.bounded & (value < low)),
            ]
        return m


def _key(number):
    """Return a number that orders binary32 numbers; both zeros are 0."""
    return Mux(number[31], -number[:31], number[:31]).as_signed()


def test_proved():
    assert_proved(BoundsSpec(RealBounds(CONFIG)), depth=DEPTH)


def test_covered():
    assert_covered(BoundsSpec(RealBounds(CONFIG)), depth=DEPTH)


@pytest.mark.parametrize("fault", ["always", "any place", "the other sign"])
def test_broken_ones_are_refuted(fault):
    assert_refuted(BoundsSpec(Broken(fault)), depth=DEPTH)
