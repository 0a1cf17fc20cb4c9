# SPDX-License-Identifier: Apache-2.0
"""SPECIAL's walkers show every byte of every row once, in order, and none outside the rows."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from kiwicha.hw.special.special_apply import ApplyWalker
from kiwicha.hw.special.special_check import REPEATS, special_job
from kiwicha.hw.special.special_measure import MeasureWalker, group_rows
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.latency import SOFTMAX_GROUP

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted
from ..support.slow import slow

CFG = AcceleratorConfig(special={"lanes": 2, "bytes": 256, "entries": 256}, axi_data_width=64)
SPACING, MAXIMUM_LATENCY, FETCH = 2, 3, 1
BEAT = CFG.beat_bytes


class BrokenMeasure(MeasureWalker):
    """Broken on purpose."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__(CFG, spacing=SPACING, maximum_latency=MAXIMUM_LATENCY, fetch=FETCH)

    def elaborate(self, platform: object) -> Module:
        if self.fault == "too early":
            self.maximum_latency -= 1
        elif self.fault == "too close":
            self.spacing -= 1
        return super().elaborate(platform)


class WalkersSpec(wiring.Component):
    """Both walkers on one legal job of ``rows`` and ``length``, and plain counters beside them.

    ``row`` and ``column``, chosen by the solver, are a byte that is followed. With ``pauses`` the
    arithmetic makes the walkers wait whenever it likes.
    """

    job: In(special_job(CFG))
    start: In(1)
    settled: In(1)
    ready: In(1)
    row: In(4)
    column: In(4)

    def __init__(
        self,
        rows: int,
        length: int,
        measure: MeasureWalker | None = None,
        *,
        wrong: str = "",
        pauses: bool = False,
    ) -> None:
        self.rows, self.length, self.pauses = rows, length, pauses
        self.measure = measure or MeasureWalker(
            CFG, spacing=SPACING, maximum_latency=MAXIMUM_LATENCY, fetch=FETCH
        )
        self.apply = ApplyWalker(CFG)
        self.wrong = wrong
        super().__init__()

    def _tell(self, walker: MeasureWalker | ApplyWalker, name: str) -> list[object]:
        """Give a walker the job; something else in one field if it is ``wrong``."""
        told = [walker.job.eq(self.job)]
        who, _, field = self.wrong.partition(" ")
        return told + ([walker.job[field].eq(self.job[field] + 1)] if who == name else [])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, length = self.rows, self.length
        m.submodules.measure = measure = self.measure
        m.submodules.apply = apply = self.apply
        m.submodules.first = first = FirstCycle()
        job, look, element = self.job, measure.o.payload, apply.o.payload
        softmax = job.operation == SpecialOperation.SOFTMAX
        measures = softmax | (job.operation == SpecialOperation.NORMALIZE)
        pairs = (job.operation == SpecialOperation.ADD) | (job.operation == SpecialOperation.MUL)
        m.d.comb += [
            *self._tell(measure, "measure"),
            measure.start.eq(self.start & measures),
            measure.settled.eq(self.settled),
            measure.close.ready.eq(self.ready),
            measure.used.eq(apply.used),
            *self._tell(apply, "apply"),
            apply.start.eq(self.start),
            apply.measured.eq(measure.measured),
        ]
        # One job that stays; one byte of it.
        before = Signal(special_job(CFG), reset_less=True)
        chosen, started = Signal(8, reset_less=True), Signal()
        m.d.sync += [
            before.eq(job),
            chosen.eq(Cat(self.row, self.column)),
            started.eq(started | self.start),
        ]
        m.d.comb += [
            Assume((job.rows == rows) & (job.length == length)),
            Assume(job.x <= CFG.special.bytes - rows * length),
            Assume((job.full & job.edge == 0) & (job.edge_rows <= rows)),
            Assume(job.full[0] | (job.edge[0] & (job.edge_rows == rows))),
            Assume((self.row < rows) & (self.column < length)),
            Assume(~(started & self.start)),
            Assume(pairs | ~Cat(job[name] for name in REPEATS).any()),
            Assume(self.pauses | (self.settled & self.ready & (started | self.start))),
        ]
        with m.If(first.started):
            m.d.comb += [
                Assume(job.as_value() == before.as_value()),
                Assume(chosen == Cat(self.row, self.column)),
            ]

        # Elements: all places in order.
        at, row, column = Signal(8), Signal(4), Signal(4)
        moved = {
            name: Mux(job[f"{name}_row"], 0, row * Mux(job[f"{name}_byte"], 1, length))
            + Mux(job[f"{name}_byte"], 0, column)
            for name in "xz"
        }
        live = job.full | Mux(row < job.edge_rows, job.edge, 0)
        with m.If(apply.o.valid):
            m.d.sync += [at.eq(at + 1), column.eq(column + 1)]
            with m.If(column == length - 1):
                m.d.sync += [column.eq(0), row.eq(row + 1)]
            m.d.comb += [
                Assert(started & (row < rows)),
                Assert(element.x == (job.x + moved["x"])[:8]),
                Assert(element.z == (Mux(pairs, job.z, job.x) + moved["z"])[:8]),
                Assert(element.column == column),
                Assert(element.live == live),
            ]

        # Looks: the chosen byte in one beat and once alone, in that order, as far as due.
        begun, group = Signal(4), Signal(4)  # the group's first row, its rows
        rows_left = Signal(range(256))
        m.d.comb += [rows_left.eq(rows - begun), group.eq(group_rows(rows_left, softmax))]
        looked = begun + look.slot[:3]
        row_start = job.x + looked * length
        beat = Cat(Const(0, 3), look.place[3:])
        of_chosen = looked == self.row
        place = job.x + self.row * length + self.column
        in_beat = (place >= beat + look.low) & (place <= beat + look.high)
        beats, bytes_, since = Signal(2), Signal(2), Signal(4, init=15)
        after = Signal(4, init=15)
        with m.If(measure.o.valid):
            m.d.comb += [
                Assert(started & measures & (looked < rows) & (look.slot[:3] < group)),
                Assert(look.live == job.full | Mux(looked < job.edge_rows, job.edge, 0)),
            ]
            with m.If(look.beat):
                m.d.comb += [
                    Assert(softmax),
                    Assert(beat + look.low >= row_start),
                    Assert(beat + look.high < row_start + length),
                    Assert(look.first == (beat + look.low == row_start)),
                    Assert(look.last == (beat + look.high + 1 == row_start + length)),
                    Assert(~(of_chosen & in_beat & (beats != 0))),
                ]
                with m.If(of_chosen & in_beat):
                    m.d.sync += beats.eq(beats + 1)
                with m.If(of_chosen & look.last):
                    m.d.sync += since.eq(1)
            with m.Else():
                m.d.comb += [
                    Assert((look.place >= row_start) & (look.place < row_start + length)),
                    Assert(look.first == (look.place == row_start)),
                    Assert(look.last == (look.place + 1 == row_start + length)),
                ]
                with m.If(of_chosen):
                    m.d.sync += after.eq(1)
                    m.d.comb += Assert(~softmax | (since >= MAXIMUM_LATENCY))
                    m.d.comb += Assert(~softmax | look.first | (after >= SPACING))
                with m.If(of_chosen & (look.place == place)):
                    m.d.sync += bytes_.eq(bytes_ + 1)
                    m.d.comb += Assert((bytes_ == 0) & ((beats == 1) | ~softmax))
        for age in (since, after):
            with m.If((age != 15) & ~(measure.o.valid & of_chosen & ((age is after) ^ look.beat))):
                m.d.sync += age.eq(age + 1)
        # A group begins after the last byte of the one before.
        ending = look.last & (look.slot[:3] == group - 1)
        with m.If(measure.o.valid & ~look.beat & ending):
            m.d.sync += begun.eq(begun + group)
        # Nothing is used that is not measured.
        with m.If(apply.o.valid & measures & (row == self.row)):
            m.d.comb += Assert(bytes_ == 1)

        done = started & (row == rows)
        m.d.comb += [
            Assert(~(done & measures) | (begun == rows)),
            Cover(done & (job.operation == SpecialOperation.ADD) & (job.edge_rows == rows - 1)),
            Cover(done & softmax & (job.x[:3] == 7)),
            Cover(done & job.z_row & job.x_byte & ~job.z_byte & ~job.x_row),
            Cover(done & job.z_byte & job.x_row & ~job.z_row & ~job.x_byte),
        ]
        if rows <= SOFTMAX_GROUP:
            m.d.comb += Cover(done & measures & ~softmax)
        return m


#: Rows, length, whether there are pauses, and cycles in which all operations are done; of more
#: than a group, all but NORMALIZE.
SIZES = [
    (1, 1, True, 22), (3, 2, False, 38), (2, 4, False, 38), (SOFTMAX_GROUP + 1, 1, False, 50),
]


@slow("9-1-False-50", "3-2-False-38")
@pytest.mark.parametrize("rows,length,pauses,cycles", SIZES)
def test_proved(rows, length, pauses, cycles):
    assert_proved(WalkersSpec(rows, length, pauses=pauses), depth=cycles)


@slow("9-1-False-50", "3-2-False-38")
@pytest.mark.parametrize("rows,length,pauses,cycles", SIZES)
def test_covered(rows, length, pauses, cycles):
    assert_covered(WalkersSpec(rows, length, pauses=pauses), depth=cycles)


@pytest.mark.parametrize("fault", ["too early", "too close"])
def test_broken_is_refuted(fault):
    assert_refuted(WalkersSpec(1, 2, BrokenMeasure(fault)), depth=26)


@pytest.mark.parametrize("walker", ["measure", "apply"])
@pytest.mark.parametrize("field", ["x", "length", "rows", "edge_rows"])
def test_wrong_is_refuted(walker, field):
    assert_refuted(WalkersSpec(3, 2, wrong=f"{walker} {field}"), depth=40)


@pytest.mark.parametrize("field", REPEATS)
def test_operands_met_wrongly_are_refuted(field):
    assert_refuted(WalkersSpec(2, 2, wrong=f"apply {field}"), depth=20)
