# SPDX-License-Identifier: Apache-2.0
"""The address generator keeps its distances and its instruction, whatever the source does."""

from typing import Any

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.compute.address_generator import AddressGenerator
from kiwicha.machine import isa

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports

ROWS, INTERVAL, GAP = 8, 6, 4
DEPTH = 20
#: Levels that may have two iterations; how the others count is proved with the loop nest.
LOOPING = (0, isa.LEVEL_REDUCTION)
FILTERING = (0, 1)


class BrokenGenerator(AddressGenerator):
    """Broken on purpose."""

    def __init__(self, fault: str, registered: bool, depthwise: bool = False) -> None:
        self.fault = fault
        super().__init__(ROWS, INTERVAL, GAP, depthwise=depthwise, registered=registered)

    def _timer(self, m: Module, begins: Signal) -> tuple[Signal, Signal]:
        may_begin, may_end = super()._timer(m, begins)
        if self.fault == "begins a pass too early":
            may_begin = Signal(init=1)
        elif self.fault == "gives the instruction up too early":
            may_end = Signal(init=1)
        return may_begin, may_end

    def _targets(self, m: Module, *step: Any) -> tuple[Signal, Signal, Signal]:
        counted = Const(1, 1) if self.fault == "counts what has no result" else step[-1]
        return super()._targets(m, *step[:-1], counted)

    def _check(self, m: Module, running: Signal) -> Value:
        return Const(0) if self.fault == "checks nothing" else super()._check(m, running)


def age_of(m: Module, event: Signal, name: str) -> Signal:
    """Return for how many cycles ``event`` has been low, 31 for longer or never."""
    age = Signal(5, init=31, name=f"{name}_age")
    with m.If(event):
        m.d.sync += age.eq(1)
    with m.Elif(age != 31):
        m.d.sync += age.eq(age + 1)
    return age


class GeneratorSpec(wiring.Component):
    """What the engine relies on; counts of two levels are at most 2, all else is free.

    The source keeps the stream rules. The steps of an instruction come from ``begin`` to ``last``,
    as many as its counts say, and a pass every so many; distances are kept; an illegal
    instruction makes no step; an instruction stays for as long as the documentation promises. With
    tails, those steps have results that come before them, and accumulators in their order.
    """

    i: In(stream.Signature(isa.COMPUTE))
    stop: In(1)

    def __init__(self, dut: AddressGenerator) -> None:
        self.dut = dut
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        join_ports(m, self, dut)
        fields = dut.i.payload
        counts = [fields.levels[level].count for level in range(isa.LEVELS)]
        waiting = Signal()
        before = Signal(isa.COMPUTE.size, reset_less=True)
        m.d.sync += [waiting.eq(dut.i.valid & ~dut.i.ready), before.eq(fields)]
        with m.If(first.started & waiting):
            m.d.comb += [Assume(dut.i.valid), Assume(fields.as_value() == before)]
        looping = FILTERING if dut.depthwise else LOOPING
        m.d.comb += [
            Assume(count <= (2 if level in looping else 1)) for level, count in enumerate(counts)
        ]

        # What is known of the instruction whose steps come out.
        legal, pixels, steps, rows = Signal(), Signal(3), Signal(3), Signal(7)
        tails, wide, target = Signal(2), Signal(2), Signal(16)
        begin, end = (isa.COMPUTE[name].offset for name in ("filter", "levels"))
        unknown = fields.as_value()[begin:end].any()
        if dut.depthwise:
            tails_of = zip((fields.tail, fields.line_tail), counts, strict=False)
            wrong = [(tail >= count) | (tail >= ROWS) for tail, count in tails_of]
            unknown = fields.reserved1.any() | wrong[0] | wrong[1]
        with m.If(dut.started):
            zeros = [count == 0 for count in counts]
            m.d.sync += [
                legal.eq(
                    (fields.rows != 0)
                    & (fields.rows <= ROWS)
                    & ~Cat(fields.dynamic, fields.slot, fields.reserved0).any()
                    & ~unknown
                    & (sum(zeros) == 0)
                ),
                pixels.eq(1 << sum(count == 2 for count in counts[: isa.LEVEL_REDUCTION])),
                steps.eq(1 << sum(count == 2 for count in counts)),
                rows.eq(fields.rows),
                tails.eq(Cat(fields.tail[0], fields.line_tail[0])),
                wide.eq(counts[0]),
                target.eq(fields.accumulator),
            ]
        step, comes = dut.o.payload, dut.o.valid
        inside, number, pixel, least = Signal(), Signal(3), Signal(3), Signal(7)
        taken = Signal(2)
        m.d.sync += taken.eq(taken + (dut.i.ready & (taken != 3)))
        with m.If(comes):
            m.d.sync += [
                inside.eq(~step.last),
                number.eq(Mux(step.begin, 1, number + 1)),
                pixel.eq(Mux(step.switch, 1, pixel + 1)),
            ]
            with m.If(step.switch):
                m.d.sync += least.eq(Mux(rows > INTERVAL, rows, INTERVAL))
        pass_age = age_of(m, comes & step.switch, "pass")
        last_age = age_of(m, comes & step.last, "last")
        tile_age = age_of(m, dut.tile.valid, "tile")
        ahead = Signal()
        m.d.sync += ahead.eq(dut.tile.valid)

        if dut.depthwise:
            # The highest of an entry's bits may stand for others.
            m.d.comb += Assume(fields.accumulator < 1 << 14)
            following = Signal(16)
            place = Mux(step.switch, 0, pixel)
            # A loop of two has a tail of one at most, a loop of one has none.
            x = Mux(wide == 2, place[0], 0)
            y = Mux(wide == 2, place[1], place[0])
            beyond = (tails[0] & (x == 1)) | (tails[1] & (y == 1))
            with m.If(comes):
                m.d.sync += following.eq(step.entry + dut.result)
                with m.If(first.started):
                    m.d.comb += [
                        Assert(dut.result == ~beyond),
                        Assert(step.entry == Mux(step.switch, target, following)),
                    ]
            m.d.comb += Cover(comes & step.last & ~dut.result & (steps == 4) & (taken == 1))
        with m.If(first.started):
            m.d.comb += Assert((ahead & ~dut.illegal) == (comes & step.switch))
            with m.If(comes):
                m.d.comb += [
                    Assert(legal),
                    Assert(step.begin == ~inside),
                    Assert(step.last == (Mux(step.begin, 1, number + 1) == steps)),
                    Assert(step.switch == (step.begin | (pixel == pixels))),
                ]
                with m.If(step.begin):
                    m.d.comb += Assert(last_age >= GAP)
                with m.If(step.switch):
                    m.d.comb += Assert(pass_age >= least)
            # A tile is known a cycle after its pass began, and the fields stay for three.
            with m.If(dut.i.ready):
                m.d.comb += [Assert(dut.i.valid), Assert(~dut.tile.valid & (tile_age >= 2))]
            with m.If(dut.started):
                m.d.comb += Assert(dut.i.valid & ~dut.i.ready)
        m.d.comb += [
            Cover(comes & step.begin & (taken == 1) & (last_age == GAP) & (steps == 2)),
            Cover(dut.illegal & (taken == 1)),
        ]
        if not dut.depthwise:
            m.d.comb += [
                Cover(comes & step.switch & ~step.begin & (rows == ROWS) & (pass_age == ROWS)),
                Cover(comes & step.last & (taken == 0) & (steps == 2) & (pixels == 1)),
            ]
        return m


REGISTERED = pytest.mark.parametrize("registered", [True, False])
DEPTHWISE = pytest.mark.parametrize("depthwise", [False, True])


def spec(registered: bool, depthwise: bool) -> GeneratorSpec:
    return GeneratorSpec(
        AddressGenerator(ROWS, INTERVAL, GAP, depthwise=depthwise, registered=registered)
    )


@DEPTHWISE
@REGISTERED
def test_proved(registered, depthwise):
    assert_proved(spec(registered, depthwise), depth=14)


@DEPTHWISE
@REGISTERED
def test_reached(registered, depthwise):
    assert_covered(spec(registered, depthwise), depth=DEPTH + 4 * depthwise)


@pytest.mark.parametrize(
    "fault",
    ["begins a pass too early", "gives the instruction up too early", "checks nothing"],
)
@REGISTERED
def test_broken_is_refuted(fault, registered):
    assert_refuted(GeneratorSpec(BrokenGenerator(fault, registered)), depth=DEPTH)


@pytest.mark.parametrize("fault", ["counts what has no result", "checks nothing"])
def test_broken_tails_are_refuted(fault):
    assert_refuted(GeneratorSpec(BrokenGenerator(fault, True, depthwise=True)), depth=DEPTH)
