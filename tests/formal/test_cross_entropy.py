# SPDX-License-Identifier: Apache-2.0
"""SPECIAL's way through logits: each element of each row once in each pass, as far apart as due."""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from kiwicha.hw.special.cross_entropy import Pass
from kiwicha.hw.special.cross_entropy_walk import CrossEntropyWalker
from kiwicha.hw.special.special_check import special_job
from kiwicha.machine.config import AcceleratorConfig

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

CFG = AcceleratorConfig(
    special={"lanes": 2, "bytes": 256, "entries": 256}, axi_data_width=64, transposer=True,
    residual={"tables": 2}, training={"classes": 16},
)
SPACING = 3


class BrokenWalker(CrossEntropyWalker):
    """Broken on purpose: the next pass begins with the last division."""

    def __init__(self) -> None:
        super().__init__(CFG, SPACING - 1)


class WalkSpec(wiring.Component):
    """One legal job of ``rows`` and ``length``, and plain counters of what is due beside it.

    ``wrong``: a field of the job of which the walker is told something else.
    """

    job: In(special_job(CFG))
    start: In(1)

    def __init__(
        self, rows: int, length: int, walker: CrossEntropyWalker | None = None, wrong: str = ""
    ) -> None:
        self.rows, self.length, self.wrong = rows, length, wrong
        self.walker = walker or CrossEntropyWalker(CFG, SPACING)
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, length, job = self.rows, self.length, self.job
        m.submodules.walker = walker = self.walker
        m.submodules.first = first = FirstCycle()
        m.d.comb += [walker.job.eq(job), walker.start.eq(self.start)]
        if self.wrong:
            m.d.comb += walker.job[self.wrong].eq(job[self.wrong] + 1)
        before, started = Signal(special_job(CFG), reset_less=True), Signal()
        m.d.sync += [before.eq(job), started.eq(started | self.start)]
        m.d.comb += [
            Assume((job.rows == rows) & (job.length == length)),
            Assume((job.x <= CFG.special.bytes - rows * length)),
            Assume(job.z <= CFG.special.bytes - rows),
            Assume((job.full & job.edge == 0) & (job.edge_rows <= rows)),
            Assume(job.full[0] | (job.edge[0] & (job.edge_rows == rows))),
            Assume(~(started & self.start)),
        ]
        with m.If(first.started):
            m.d.comb += Assume(job.as_value() == before.as_value())

        # What is due: the column of the pass over the row. An element of DIVIDE takes its time.
        row, column, look = Signal(4), Signal(4), Signal(Pass)
        age, cycles = Signal(range(16), init=15), Signal(8)
        shown = walker.o.payload
        due = Mux(age < SPACING, 0, 1)
        with m.If(age != 15):
            m.d.sync += age.eq(age + 1)
        with m.If(started & (row != rows)):
            m.d.sync += cycles.eq(cycles + 1)
        with m.If(walker.o.valid):
            m.d.comb += [
                Assert(started & (row < rows) & due),
                Assert(shown.look == look),
                Assert(shown.first == (column == 0)),
                Assert(shown.x == job.x + row * length + column),
                Assert(shown.z == job.z + row),
                Assert(shown.live == job.full | Mux(row < job.edge_rows, job.edge, 0)),
            ]
            with m.If(look == Pass.DIVIDE):
                m.d.sync += age.eq(1)
            m.d.sync += column.eq(column + 1)
            with m.If(column == length - 1):
                m.d.sync += [column.eq(0), look.eq(look + 1)]
                with m.If(look == Pass.RESULT):
                    m.d.sync += row.eq(row + 1)
        # No cycle is lost.
        done, most = row == rows, rows * length * (3 + SPACING) + 1
        m.d.comb += [
            Assert(cycles <= most),
            Assert(~done | (cycles == most)),
            Cover(done & (job.edge_rows == rows - 1) & job.edge[1]),
            Cover(done & (job.x + rows * length == CFG.special.bytes)),
        ]
        return m


#: Rows, length, cycles until all is shown.
SIZES = [(1, 1, 11), (2, 2, 29), (3, 1, 23), (1, 4, 29)]


@pytest.mark.parametrize(("rows", "length", "cycles"), SIZES)
def test_proved(rows, length, cycles):
    assert_proved(WalkSpec(rows, length), depth=cycles)


@pytest.mark.parametrize(("rows", "length", "cycles"), SIZES)
def test_covered(rows, length, cycles):
    assert_covered(WalkSpec(rows, length), depth=cycles)


def test_broken_is_refuted():
    assert_refuted(WalkSpec(1, 2, BrokenWalker()), depth=17)


@pytest.mark.parametrize("field", ["x", "z", "length", "rows", "edge_rows"])
def test_wrong_is_refuted(field):
    assert_refuted(WalkSpec(2, 2, wrong=field), depth=32)
