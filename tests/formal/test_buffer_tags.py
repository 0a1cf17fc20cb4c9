# SPDX-License-Identifier: Apache-2.0
"""The scratchpad with tags: any one byte, through any writes, in every run that has it."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.load.buffer_tags import TAG, BufferTags, line_write
from kiwicha.machine.line_tags import TagFormat

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

LINE, LINES = 2, 4
#: Without and with parts of lines; the last covers are reached after 6 and 9 cycles.
DEPTHS = 7, 10

#: What is known of a run that has been asked for.
RUN = data.StructLayout({
    "covers": 1, "lane": 1, "border": 2, "known": 1, "code": signed(8), "tag": TAG,
})


class BrokenTags(BufferTags):
    """Broken on purpose."""

    def __init__(self, fault):
        self.fault = fault
        super().__init__(LINE, LINES, requantize=fault != "stale neighbour")

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.fault == "no wait":
            m.d.comb += self.write.ready.eq(1)
        if self.fault == "read beside a fetch":
            m.d.comb += self.read.ready.eq(1)
        if self.fault == "stale neighbour":
            m.d.comb += m.submodules.codes_0.read_address.eq(self.read.payload[2:])
        return m


def rounded(code, shift):
    """code / 2^shift, half to even, for shifts of 0 to 8."""
    wide = Signal(signed(19))
    half = (1 << shift) >> 1
    odd = (code >> shift)[0]
    return wide, wide.eq((code + half - Mux(shift == 0, 0, 1) + (odd & (shift != 0))) >> shift)


class TagsSpec(wiring.Component):
    """A byte at any place, the tag of its line, and what runs that were asked for should show."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({
            "write": In(stream.Signature(line_write(LINE, LINES, dut.requantize))),
            "read": In(stream.Signature(3)),
            "ready": In(1),
            "watched": In(3),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        m.d.comb += [
            dut.write.valid.eq(self.write.valid & first.started),
            dut.write.payload.eq(self.write.payload),
            dut.read.valid.eq(self.read.valid & first.started),
            dut.read.payload.eq(self.read.payload),
            dut.o.ready.eq(self.ready),
        ]
        place = Signal(3, reset_less=True)
        m.d.sync += place.eq(Mux(first.first, self.watched, place))
        recent = self._watch(m, place)
        self._runs(m, place, recent, first)
        return m

    def _watch(self, m, place):
        """The byte and its tag as they should be; return the writes to its line in the cycles in
        which a read must not see them."""
        dut, new = self.dut, self.write.payload
        self.code, self.known = Signal(signed(8)), Signal()
        self.tag, self.tagged = Signal(TAG), Signal()
        here = Signal()
        m.d.comb += here.eq(dut.write.valid & dut.write.ready & (new.line == place[1:]))
        if not dut.requantize:
            with m.If(here):
                m.d.sync += [self.code.eq(new.data[place[0]]), self.known.eq(1),
                             self.tag.eq(new.tag), self.tagged.eq(1)]
            return here
        part, covered, refused = Signal(), Signal(), Signal()
        apart = Signal(signed(9))
        shift = Signal(range(9))
        far = Mux(apart < 0, -apart, apart)
        moved = Signal(signed(8))
        m.d.comb += [
            part.eq(~new.fresh & ~((new.head == 0) & (new.tail == 1))),
            covered.eq((new.head <= place[0]) & (new.tail >= place[0])),
            apart.eq(new.tag.exponent - self.tag.exponent),
            shift.eq(Mux(part, Mux(far > 8, 8, far), 0)),
            refused.eq(
                part & ((new.tag.width != self.tag.width) | (new.tag.format != self.tag.format)
                        | ((apart != 0) & (new.tag.format != TagFormat.POWER)))
            ),
            # The first write to a line is whole or fresh, and there is no other kind of part.
            Assume(~here | ~part | self.tagged),
            Assume(new.head <= new.tail),
        ]
        held, of_held = rounded(self.code, shift)
        brought, of_brought = rounded(moved, shift)
        m.d.comb += [moved.eq(new.data[place[0]]), of_held, of_brought]
        with m.If(here & ~refused):
            m.d.sync += self.tagged.eq(1)
            with m.If(~part | (apart > 0)):
                m.d.sync += self.tag.eq(new.tag)
            with m.If(covered):
                m.d.sync += [self.code.eq(Mux(apart < 0, brought, moved)), self.known.eq(1)]
                with m.If(~part):
                    m.d.sync += self.code.eq(moved)
            with m.Elif(part & (apart > 0)):
                m.d.sync += self.code.eq(held)
        s1_here, s2_here, s1_refused, s2_refused = (Signal() for _ in range(4))
        m.d.sync += [s1_here.eq(here), s2_here.eq(s1_here), s1_refused.eq(refused),
                     s2_refused.eq(s1_refused)]
        halved, waited = Signal(), Signal()
        with m.If(here & ~refused & part & ~covered & (apart > 0) & (apart < 8) & self.known):
            m.d.sync += halved.eq(1)
        with m.If(dut.write.valid & ~dut.write.ready):
            m.d.sync += waited.eq(1)
        self.covers = [s2_here & dut.mixed, halved & waited]
        with m.If(s2_here):
            m.d.comb += Assert(dut.mixed == s2_refused)
        return Cat(here, s1_here, s2_here).any()

    def _runs(self, m, place, recent, first):
        """Runs come out in order, each with the byte as it was when the run was asked for."""
        dut = self.dut
        asked, shown = Signal(), Signal()
        count = Signal(range(4))
        queue = Signal(data.ArrayLayout(RUN, 3))
        entry = Signal(RUN)
        ahead = Signal(3)
        m.d.comb += [
            asked.eq(dut.read.valid & dut.read.ready),
            shown.eq(dut.o.valid & dut.o.ready),
            ahead.eq(place - self.read.payload),
            entry.covers.eq(ahead < LINE),
            entry.lane.eq(ahead[0]),
            entry.border.eq(LINE - self.read.payload[0]),
            entry.known.eq(self.known),
            entry.code.eq(self.code),
            entry.tag.eq(self.tag),
            # A read means nothing while its line is written.
            Assume(~asked | ~entry.covers | (self.tagged & ~recent)),
        ]
        m.d.sync += count.eq(count + asked - shown)
        with m.If(shown):
            m.d.sync += [queue[0].eq(queue[1]), queue[1].eq(queue[2])]
        with m.Switch(count - shown):
            for free in range(3):
                with m.Case(free):
                    with m.If(asked):
                        m.d.sync += queue[free].eq(entry)
        run, due = dut.o.payload, queue[0]
        waiting = Signal()
        was = Signal.like(run.as_value())
        m.d.sync += [waiting.eq(dut.o.valid & ~dut.o.ready), was.eq(run)]
        with m.If(first.started):
            m.d.comb += Assert(count <= 2)
            with m.If(dut.o.valid):
                m.d.comb += [Assert(count != 0), Assert(run.border == due.border)]
                with m.If(due.covers):
                    m.d.comb += Assert(
                        Mux(due.lane < due.border, run.lower.as_value(), run.upper.as_value())
                        == due.tag.as_value()
                    )
                    with m.If(due.known):
                        m.d.comb += Assert(run.lanes[due.lane] == due.code)
            with m.If(waiting):
                m.d.comb += [Assert(dut.o.valid), Assert(run.as_value() == was)]
            known = dut.o.valid & due.covers & due.known
            m.d.comb += [
                Cover(known & (due.lane == 1) & (due.border == 1) & (place == 0)),
                Cover(known & waiting & (count == 2)),
                Cover(shown & asked & (count == 2) & known),
                *(Cover(known & seen) for seen in getattr(self, "covers", [])[1:]),
                *(Cover(seen) for seen in getattr(self, "covers", [])[:1]),
            ]


def make(requantize):
    return TagsSpec(BufferTags(LINE, LINES, requantize=requantize))


@pytest.mark.parametrize("requantize", [False, True])
def test_proved(requantize):
    assert_proved(make(requantize), depth=DEPTHS[requantize])


@pytest.mark.parametrize("requantize", [False, True])
def test_covered(requantize):
    assert_covered(make(requantize), depth=DEPTHS[requantize])


@pytest.mark.parametrize("fault", ["no wait", "read beside a fetch", "stale neighbour"])
def test_broken_is_refuted(fault):
    assert_refuted(TagsSpec(BrokenTags(fault)), depth=DEPTHS[1])
