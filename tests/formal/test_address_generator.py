# SPDX-License-Identifier: Apache-2.0
"""The address generator keeps its distances and its instruction, whatever the source does."""

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


class BrokenGenerator(AddressGenerator):
    """Broken on purpose."""

    def __init__(self, fault: str, registered: bool) -> None:
        self.fault = fault
        super().__init__(ROWS, INTERVAL, GAP, registered=registered)

    def _timer(self, m: Module, begins: Signal) -> tuple[Signal, Signal]:
        may_begin, may_end = super()._timer(m, begins)
        if self.fault == "begins a pass too early":
            may_begin = Signal(init=1)
        elif self.fault == "gives the instruction up too early":
            may_end = Signal(init=1)
        return may_begin, may_end

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
    instruction makes no step; an instruction stays for as long as the documentation promises.
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
        m.d.comb += [
            Assume(count <= (2 if level in LOOPING else 1)) for level, count in enumerate(counts)
        ]

        # What is known of the instruction whose steps come out.
        legal, pixels, steps, rows = Signal(), Signal(2), Signal(3), Signal(7)
        with m.If(dut.started):
            zeros = [count == 0 for count in counts]
            m.d.sync += [
                legal.eq(
                    (fields.rows != 0)
                    & (fields.rows <= ROWS)
                    & ~Cat(fields.dynamic, fields.slot, fields.reserved0).any()
                    & ~fields.reserved1.any()
                    & (sum(zeros) == 0)
                ),
                pixels.eq(1 << sum(count == 2 for count in counts[: isa.LEVEL_REDUCTION])),
                steps.eq(1 << sum(count == 2 for count in counts)),
                rows.eq(fields.rows),
            ]
        step, comes = dut.o.payload, dut.o.valid
        inside, number, pixel, least = Signal(), Signal(3), Signal(2), Signal(7)
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
            Cover(comes & step.switch & ~step.begin & (rows == ROWS) & (pass_age == ROWS)),
            Cover(comes & step.last & (taken == 0) & (steps == 2) & (pixels == 1)),
            Cover(dut.illegal & (taken == 1)),
        ]
        return m


REGISTERED = pytest.mark.parametrize("registered", [True, False])


def spec(registered: bool) -> GeneratorSpec:
    return GeneratorSpec(AddressGenerator(ROWS, INTERVAL, GAP, registered=registered))


@REGISTERED
def test_proved(registered):
    assert_proved(spec(registered), depth=14)


@REGISTERED
def test_reached(registered):
    assert_covered(spec(registered), depth=DEPTH)


@pytest.mark.parametrize(
    "fault",
    ["begins a pass too early", "gives the instruction up too early", "checks nothing"],
)
@REGISTERED
def test_broken_is_refuted(fault, registered):
    assert_refuted(GeneratorSpec(BrokenGenerator(fault, registered)), depth=DEPTH)
