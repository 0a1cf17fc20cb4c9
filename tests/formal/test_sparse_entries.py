# SPDX-License-Identifier: Apache-2.0
"""Whatever a stream holds, a decoder gives the rows of its job and ends, or refuses it once.

The stream is the solver's: every bit of it, its length, and when beats come and rows are taken.
"""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.sparse.contract import JOB, beat_layout
from kiwicha.hw.sparse.entries import EntryDecoder

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports
from ..support.slow import slow

BEAT, LANES, MOST = 4, 2, 2
PATIENCE = 22
"""Cycles that a job of at most 4 rows and 3 beats takes when nobody waits: 2 to begin, 3 for the
pointers, 9 entries at the most, 4 rows, and 4 to see the end."""


class BrokenDecoder(EntryDecoder):
    """Broken on purpose."""

    fault = None

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.fault == "marks no last row":
            m.d.sync += self.o.payload.last.eq(0)
        elif self.fault == "drops a row":
            with m.If(self.o.valid & ~self.o.ready):
                m.d.sync += self.o.valid.eq(0)
        elif self.fault == "done after an error":
            m.d.sync += self.done.eq(self.error.valid)
        elif self.fault == "row after an error":
            with m.If(self.error.valid):
                m.d.sync += self.o.valid.eq(1)
        elif self.fault == "stops to swallow":
            m.d.comb += self.i.ready.eq(m.submodules.window.i.ready)
        elif self.fault == "loses the last beat":
            with m.If(self.i.payload.last):
                m.d.comb += m.submodules.window.i.valid.eq(0)
        return m


def make(columns, fault=None):
    decoder = EntryDecoder if fault is None else BrokenDecoder
    unit = decoder(BEAT, LANES, index_bits=2, entries=2, columns=columns)
    unit.fault = fault
    return unit


class DecoderSpec(wiring.Component):
    """Counts rows, ends and errors of one job.

    Parameters
    ----------
    prompt : beats come without a pause, the third one at the latest is the last, and every row is
        taken at once; then the job must end within ``PATIENCE``.
    """

    def __init__(self, dut, *, prompt=False):
        self.dut = dut
        self.prompt = prompt
        super().__init__({
            "job": In(stream.Signature(JOB)),
            "i": In(stream.Signature(beat_layout(BEAT))),
            "ready": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        join_ports(m, self, dut)
        m.d.comb += dut.o.ready.eq(self.ready)
        given, sent = self.job.payload, self.i.payload
        begun, over, wrong = Signal(), Signal(), Signal()
        total, rows, beats, age = Signal(5), Signal(5), Signal(4), Signal(6)
        ended, waiting = Signal(), Signal()
        held = Signal.like(dut.o.payload)

        # One job; its beats come after it, and nothing after the last one.
        m.d.comb += [
            Assume(~(self.job.valid & begun)),
            Assume((given.columns <= MOST) & (given.rows <= MOST)),
            Assume(~self.i.valid | (begun & ~ended)),
        ]
        with m.If(self.job.valid & dut.job.ready & first.started):
            m.d.sync += [begun.eq(1), total.eq(given.columns[:2] * given.rows[:2])]
        with m.If(self.i.valid & dut.i.ready):
            m.d.sync += [beats.eq(beats + 1), ended.eq(sent.last)]
        if self.prompt:
            m.d.comb += [
                Assume(self.ready),
                Assume(self.i.valid == (begun & ~ended)),
                Assume(sent.last | (beats < 2)),
            ]

        moved = dut.o.valid & dut.o.ready
        m.d.sync += [
            rows.eq(rows + moved),
            waiting.eq(dut.o.valid & ~dut.o.ready),
            held.eq(dut.o.payload),
            over.eq(over | dut.done),
            wrong.eq(wrong | dut.error.valid),
            age.eq(age + (begun & ~over & ~wrong)),
        ]
        with m.If(first.started):
            m.d.comb += [
                Assert(~dut.o.valid | begun),
                Assert(~dut.o.valid | (rows < total)),
                Assert(~dut.o.valid | (dut.o.payload.last == (rows == total - 1))),
                Assert(~waiting | (dut.o.valid & (dut.o.payload == held))),
                Assert(~dut.done | (begun & ended & (rows == total) & ~over & ~wrong)),
                Assert(~(dut.done & dut.error.valid)),
                Assert(~dut.error.valid | (begun & ~over & ~wrong)),
                Assert(~(wrong & dut.o.valid) | waiting),
                Assert(~wrong | dut.i.ready),
                Cover(dut.done & (total == 4) & (beats == 3)),
                Cover(dut.error.valid & (rows == 3)),
                Cover(wrong & ended & (rows == 2)),
            ]
            if self.prompt:
                m.d.comb += Assert(age < PATIENCE)
        return m


@pytest.mark.parametrize("columns", [0, MOST])
def test_proved(columns):
    assert_proved(DecoderSpec(make(columns)), depth=14)


@slow("2")
@pytest.mark.parametrize("columns", [0, MOST])
def test_ends(columns):
    assert_proved(DecoderSpec(make(columns), prompt=True), depth=PATIENCE + 4)


@pytest.mark.parametrize("columns", [0, MOST])
def test_covered(columns):
    assert_covered(DecoderSpec(make(columns), prompt=True), depth=PATIENCE + 2)


@pytest.mark.parametrize(
    "fault",
    ["marks no last row", "drops a row", "done after an error", "row after an error",
     "stops to swallow"],
)
def test_broken_is_refuted(fault):
    assert_refuted(DecoderSpec(make(0, fault)), depth=14)


def test_hang_is_refuted():
    unit = make(0, "loses the last beat")
    assert_refuted(DecoderSpec(unit, prompt=True), depth=PATIENCE + 4)
