# SPDX-License-Identifier: Apache-2.0
"""Any lane of any run is what its own line's exponent makes of it, whatever was written before."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.compute.line_align import LineAlign

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

ROWS, BEAT, LINES, AFTER = 3, 2, 8, 4
DEPTH = 9


class BrokenAlign(LineAlign):
    """Broken on purpose."""

    def __init__(self, fault):
        self.fault = fault
        super().__init__(ROWS, BEAT, LINES, AFTER)

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.fault == "same word":
            for bank in range(self.banks):
                memory = getattr(m.submodules, f"bank{bank}")
                m.d.comb += memory.read_address.eq(self.address[3:])
        if self.fault == "one unit":
            m.d.comb += m.submodules.bank0.write_data.eq(self.write.payload.exponents[1])
        return m


def rounded(code, apart):
    """sat8(code / 2^apart), half to even, apart from -8 to 8, by sums instead of bits."""
    wide = Signal(signed(25))
    scaled, twice = Signal(signed(25)), Signal(signed(26))
    right = Mux(apart > 0, apart, 0)[:4]
    left = Mux(apart < 0, -apart, 0)[:4]
    rest = Signal(signed(25))
    up = Signal()
    statements = [
        scaled.eq(code << left),
        wide.eq(scaled >> right),
        rest.eq(scaled - (wide << right)),
        twice.eq(rest << 1),
        up.eq((twice > (1 << right)) | ((twice == (1 << right)) & (right != 0) & wide[0])),
    ]
    near = Signal(signed(25))
    statements.append(near.eq(wide + up))
    return Mux(near > 127, 127, Mux(near < -128, -128, near))[:8], statements


class AlignSpec(wiring.Component):
    """The exponent of one line, and what a lane that lies in it should be."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({
            "write": In(stream.Signature(dut.write.payload.shape())),
            "address": In(4), "begin": In(1), "on": In(1), "unit": In(signed(8)),
            "bytes": In(8 * ROWS), "line": In(3), "lane": In(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        write = self.write
        line, lane = (Signal(n, reset_less=True) for n in (3, 2))
        m.d.sync += [line.eq(Mux(first.first, self.line, line)),
                     lane.eq(Mux(first.first, self.lane, lane))]
        m.d.comb += [
            dut.write.valid.eq(write.valid & first.started), dut.write.payload.eq(write.payload),
            dut.address.eq(self.address), dut.begin.eq(self.begin), dut.on.eq(self.on),
            dut.unit.eq(self.unit), dut.bytes.eq(self.bytes),
            Assume(~write.payload.line[0]), Assume(lane < ROWS),
        ]
        # The exponent, and what counts for this address.
        exponent, known = Signal(signed(8)), Signal()
        here = dut.write.valid & (write.payload.line[1:] == line[1:])
        on, unit = Signal(), Signal(signed(8))
        with m.If(here):
            m.d.sync += [exponent.eq(write.payload.exponents[line[0]]), known.eq(1)]
        with m.If(self.begin):
            m.d.sync += [on.eq(self.on), unit.eq(self.unit)]
        # A run whose lane lies in the line; the exponent as it is when the banks are read.
        place = (self.address + lane)[:4]
        asked = Signal()
        m.d.comb += asked.eq(first.started & (place[1:] == line))
        s1_asked, s1_known = Signal(), Signal()
        m.d.sync += [s1_asked.eq(asked), s1_known.eq(known & ~here)]
        s2_live, s2_exponent = Signal(), Signal(signed(8))
        m.d.sync += [s2_live.eq(s1_asked & s1_known & known & ~here), s2_exponent.eq(exponent)]
        apart = Signal(signed(5))
        difference = Signal(signed(9))
        m.d.comb += difference.eq(unit - s2_exponent)
        live = s2_live
        m.d.sync += apart.eq(Mux(
            on, Mux(difference > 8, 8, Mux(difference < -8, -8, difference)), 0
        ))
        s3_live, s3_off = Signal(), Signal()
        m.d.sync += [s3_live.eq(live), s3_off.eq(~on)]
        s4 = Signal(signed(5))
        s4_live, s4_plain, s5_plain = (Signal() for _ in range(3))
        m.d.sync += [s4.eq(apart), s4_live.eq(s3_live), s4_plain.eq(s3_off), s5_plain.eq(s4_plain)]
        # The bytes are there, and a cycle later the lane's is kept.
        code, s5, s5_live = Signal(signed(8)), Signal(signed(5)), Signal()
        m.d.sync += [code.eq(self.bytes.word_select(lane, 8)), s5.eq(s4), s5_live.eq(s4_live)]
        value, statements = rounded(code, s5)
        m.d.comb += statements
        expected, s6_live, s6_moved = Signal(8), Signal(), Signal(2)
        m.d.sync += [expected.eq(value), s6_live.eq(s5_live & first.started),
                     s6_moved.eq(Cat(s5 > 0, s5 < 0))]
        lanes = dut.lanes.as_value()
        with m.If(s6_live):
            m.d.comb += Assert(lanes.word_select(lane, 8) == expected)
        m.d.comb += [
            Cover(s6_live & s6_moved[0] & (expected == 3)),
            Cover(s6_live & s6_moved[1] & (expected == 0x80)),
            Cover(s6_live & (lane == 2) & (line == 0)),
        ]
        return m


def test_proof():
    assert_proved(AlignSpec(LineAlign(ROWS, BEAT, LINES, AFTER)), depth=DEPTH)


def test_covers():
    assert_covered(AlignSpec(LineAlign(ROWS, BEAT, LINES, AFTER)), depth=DEPTH)


@pytest.mark.parametrize("fault", ["same word", "one unit"])
def test_broken(fault):
    assert_refuted(AlignSpec(BrokenAlign(fault)), depth=DEPTH)
