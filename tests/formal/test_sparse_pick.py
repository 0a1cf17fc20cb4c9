# SPDX-License-Identifier: Apache-2.0
"""The picker takes the longest run of entries of the row in hand, and says what ends it.

Combinational, so one cycle is every case. The places of the entries are sums that are not kept to
the picker's widths.
"""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from kiwicha.hw.sparse.contract import StreamError
from kiwicha.hw.sparse.pick import EntryPicker

from ..support.formal import assert_covered, assert_proved, assert_refuted, join_ports

FORMS = {
    "counted": {"index_bits": 3, "relative": True, "counted": True},
    "run length": {"index_bits": 2, "relative": True, "counted": False},
    "absolute": {"index_bits": 4, "relative": False, "counted": True},
}
LANES, ENTRIES = 4, 3


def make(form, fault=None):
    picker = EntryPicker if fault is None else BrokenPicker
    unit = picker(LANES, entries=ENTRIES, codebook=False, **FORMS[form])
    unit.fault = fault
    return unit


class BrokenPicker(EntryPicker):
    """Broken on purpose."""

    fault: str | None

    def elaborate(self, platform):
        m = super().elaborate(platform)
        with m.If(self.has[1]):
            if self.fault == "takes too few":
                m.d.comb += self.taken.eq(1)
            elif self.fault == "complete too early":
                m.d.comb += self.complete.eq(1)
            elif self.fault == "wrong lane":
                m.d.comb += self.lanes_set[3].eq(0)
            elif self.fault == "forgets its place":
                m.d.comb += self.start_after.eq(self.start)
        with m.If(self.fault == "blames another"):
            m.d.comb += self.head_code.eq(StreamError.INDEX)
        return m


class PickSpec(wiring.Component):
    """Says in sums and comparisons of all entries at once what the picker does in a chain."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({
            "view": In(dut.bits * ENTRIES), "has": In(ENTRIES), "left": In(16),
            "start": In(dut.place), "row_start": In(16), "last_row": In(1),
            "lane": In(range(LANES)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        bits, relative, counted = dut.index_bits, dut.relative, dut.counted
        join_ports(m, self, dut)
        # What the decoder keeps: entries come into view in order; a place is in this row or before
        # it, by less than an index reaches; rows begin at multiples of their lanes.
        m.d.comb += [Assume(self.has[k] | ~self.has[k + 1]) for k in range(ENTRIES - 1)]
        if relative:
            m.d.comb += Assume((self.start >= -(1 << bits)) & (self.start <= LANES))
        else:
            m.d.comb += Assume(self.row_start[: exact_log2(LANES)] == 0)
            m.d.comb += Assume((self.row_start < 1 << 14) & (self.start <= 1 << bits))

        fits, beyond, spots, stored = [], [], [], []
        place = self.start
        for k in range(ENTRIES):
            raw = self.view.word_select(k, dut.bits)
            index, value = raw[:bits], raw[bits:]
            spot = Signal(signed(20), name=f"at{k}")
            m.d.comb += spot.eq(place + index if relative else index - self.row_start)
            there = self.has[k] & ((self.left > k) if counted else 1)
            if relative:
                last_element = self.last_row & (spot == LANES - 1)
                padding = index.all() if counted else index.all() | last_element
                wrong = (value == 0) & ~padding
                ordered = 1
                place = spot + 1
            else:
                wrong = value == 0
                before = self.start if k == 0 else spots[-1] + self.row_start + 1
                ordered = index >= before
            fit, far = Signal(name=f"fit{k}"), Signal(name=f"far{k}")
            m.d.comb += [
                fit.eq(there & ordered & (spot < LANES) & ~wrong),
                far.eq(there & ordered & (spot >= LANES)),
            ]
            for signals, signal in ((fits, fit), (beyond, far), (spots, spot), (stored, value)):
                signals.append(signal)
            if relative:
                # A row in hand is never past an entry that is still to come.
                m.d.comb += Assume((k > 0) | ~there | (spot >= 0))
            else:
                m.d.comb += Assume((k > 0) | ~there | ~ordered | (spot >= 0))

        # The longest run from the first entry on that fits, entry by entry.
        runs = [fits[0]]
        for fit in fits[1:]:
            runs.append(runs[-1] & fit)
        taken = sum(runs)
        m.d.comb += Assert(dut.taken == taken)
        m.d.comb += Assert(dut.left_after == (self.left - taken)[:16])
        final = Signal(signed(20))
        found = Signal(8)
        ends, stopped = Signal(), Signal(init=1)
        m.d.comb += final.eq(self.start)
        for k in range(ENTRIES):
            with m.If(dut.taken == k):
                m.d.comb += stopped.eq(beyond[k])
            with m.If(dut.taken == ENTRIES):
                m.d.comb += stopped.eq(0)
            with m.If(dut.taken > k):
                m.d.comb += final.eq((spots[k] if relative else spots[k] + self.row_start) + 1)
                m.d.comb += ends.eq(spots[k] == LANES - 1)
                with m.If(spots[k] == self.lane):
                    m.d.comb += found.eq(stored[k])
        over = (self.left - taken)[:16] == 0 if counted else ends
        m.d.comb += [
            Assert(dut.start_after == final),
            Assert(dut.lanes_set[self.lane] == found),
            Assert(dut.complete == (over | (~self.last_row & (ends | stopped)))),
        ]
        # When nothing can be done, the first entry is to blame, or has not come yet.
        there = self.has[0] & ((self.left > 0) if counted else 1)
        with m.If(~dut.complete & (dut.taken == 0)):
            m.d.comb += Assert(dut.head_there == there)
            with m.If(there):
                code = Mux(beyond[0], StreamError.INDEX, StreamError.PADDING)
                if not relative:
                    index = self.view[:bits]
                    code = Mux(index < self.start, StreamError.ORDER, code)
                m.d.comb += Assert(dut.head_code == code)
                m.d.comb += Cover(dut.head_code == StreamError.INDEX)
                m.d.comb += Cover(dut.head_code == StreamError.PADDING)
        m.d.comb += [
            Cover((dut.taken == ENTRIES) & dut.complete),
            Cover((dut.taken == 1) & ~dut.complete & self.has.all()),
            Cover((dut.taken == 2) & stopped & ~ends & (found != 0) & (self.lane == 2)),
            Cover((dut.taken == 0) & dut.complete & there),
        ]
        return m


@pytest.mark.parametrize("form", list(FORMS))
def test_proved(form):
    assert_proved(PickSpec(make(form)), depth=1)


@pytest.mark.parametrize("form", list(FORMS))
def test_covered(form):
    assert_covered(PickSpec(make(form)), depth=1)


@pytest.mark.parametrize(
    "fault",
    ["takes too few", "complete too early", "wrong lane", "forgets its place", "blames another"],
)
def test_broken_is_refuted(fault):
    assert_refuted(PickSpec(make("counted", fault)), depth=1)
