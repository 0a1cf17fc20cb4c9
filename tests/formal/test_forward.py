# SPDX-License-Identifier: Apache-2.0
"""STORE writes no byte outside a memory on chip, a segment's beats in order and each once, and is
done in the order of its segments, whatever ends first."""

import pytest
from amaranth.hdl import Assert, Assume, Const, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from kiwicha.hw.store.answers import Answers
from kiwicha.hw.store.forward import Forward, Way
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.destination import StoreDestination, destinations

from ..support.following import FollowedWord
from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

BEAT, DEPTH = 8, 2
MACHINE = AcceleratorConfig(
    rows=4, columns=4, requantize_lanes=4, axi_data_width=8 * BEAT, activation_bytes=512,
    special={"lanes": 1, "bytes": 256}, forwarding=True,
)


class BrokenWay(Way):
    """Broken on purpose."""

    def __init__(self, fault):
        self.fault = fault
        super().__init__(MACHINE)

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.fault == "one size":
            m.d.comb += self.astray.eq(self.o.place[-1] & 0)
        if self.fault == "forgets":
            m.d.sync += self.failed.eq(0)
        if self.fault == "goes back":
            with m.If(self.final):
                m.d.comb += self.o.place.eq(0)
        return m


class WaySpec(wiring.Component):
    """Segments begin anywhere, at any time between others."""

    start: In(1)
    destination: In(2)
    address: In(64)
    step: In(1)
    final: In(1)

    def __init__(self, dut):
        self.dut = dut
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        m.d.comb += [
            dut.start.eq(self.start), dut.destination.eq(self.destination),
            dut.address.eq(self.address), dut.step.eq(self.step), dut.final.eq(self.final),
        ]
        # What the engine promises: segments one after the other, no step of what is astray.
        live, steps, base = Signal(), Signal(8), Signal(64)
        kind, gone = Signal(2), Signal()
        with m.If(self.step):
            m.d.sync += [steps.eq(steps + 1), live.eq(~self.final)]
        with m.If(self.start):
            m.d.sync += [
                live.eq(1), steps.eq(0), base.eq(self.address >> 3), kind.eq(self.destination)
            ]
        size = Signal(8)
        with m.Switch(kind):
            for number, octets in destinations(MACHINE).items():
                with m.Case(number):
                    m.d.comb += size.eq(octets // BEAT)
        place = (base + steps)[:65]
        outside = live & (kind != StoreDestination.MEMORY) & (place >= size)
        m.d.sync += gone.eq(gone | outside)
        with m.If(first.started):
            m.d.comb += [
                Assume(~self.step | (live & ~dut.astray)),
                Assume(~self.start | ((~live | (self.step & self.final)) & ~dut.astray)),
                Assume(self.destination != 3),
                Assert(dut.astray == (outside | gone)),
                Assert(dut.failed == gone),
            ]
            with m.If(self.step & (kind != StoreDestination.MEMORY)):
                m.d.comb += [
                    Assert(dut.o.place == place[: len(dut.o.place)]),
                    Assert(dut.o.place < size),
                    Assert(dut.o.destination == kind),
                ]
            m.d.comb += [
                Cover(self.step & self.final & (steps == 3) & (place == size - 1) & (kind == 1)),
                Cover(outside & (steps == 2) & (kind == 2)),
                Cover(outside & (steps == 0) & base[-4]),
                Cover(self.step & (steps == 2) & (kind == StoreDestination.MEMORY)),
            ]
        return m


class BrokenForward(Forward):
    """Broken on purpose."""

    def __init__(self, fault):
        self.fault = fault
        super().__init__(MACHINE)

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.fault == "takes when full":
            m.d.comb += self.i.ready.eq(1)
        if self.fault == "early":
            m.d.sync += self.written.eq(self.forward.valid)
        return m


class ForwardSpec(wiring.Component):
    """Follows a beat for a memory on chip of a number that the solver chooses."""

    valid: In(1)
    memory: In(1)
    word: In(4)
    final: In(1)
    data_ready: In(1)
    forward_ready: In(1)
    chosen: In(4)

    def __init__(self, dut):
        self.dut = dut
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        m.submodules.followed = followed = FollowedWord(5)
        beat, out = dut.i.payload, dut.forward.payload
        chip = StoreDestination.ACTIVATION
        m.d.comb += [
            dut.i.valid.eq(self.valid),
            beat.data.eq(self.word),
            beat.way.place.eq(self.word),
            beat.way.final.eq(self.final),
            beat.way.destination.eq(chip),
            dut.data.ready.eq(self.data_ready),
            dut.forward.ready.eq(self.forward_ready),
            followed.chosen.eq(self.chosen),
            followed.put.eq(self.valid & dut.i.ready & ~self.memory),
            followed.got.eq(dut.forward.valid & self.forward_ready),
            followed.word.eq(self.word),
        ]
        with m.If(self.memory):
            m.d.comb += beat.way.destination.eq(StoreDestination.MEMORY)
        finals, ends = Signal(4), Signal(4)
        got_final = Signal(4)
        last = Signal()
        with m.If(followed.put):
            m.d.sync += [last.eq(self.final), finals.eq(finals + self.final)]
        m.d.sync += ends.eq(ends + dut.written)
        with m.If(followed.got):
            m.d.sync += got_final.eq(got_final + last)
        with m.If(first.started):
            with m.If(followed.got & followed.due):
                m.d.comb += [
                    Assert(out.data == followed.kept), Assert(out.address == followed.kept << 3)
                ]
            m.d.comb += [
                Assert(followed.gots <= followed.puts),
                # Not one word is for memory and chip; none is lost on the way there.
                Assert(~(dut.data.valid & ~(self.valid & self.memory))),
                Assert(
                    ~(self.valid & self.memory)
                    | (dut.data.valid & (dut.i.ready == self.data_ready))
                ),
                # A segment has ended when its last beat was taken, a cycle later.
                Assert(ends + dut.written == got_final),
                Cover(followed.got & followed.due & (followed.gots == 4) & (followed.kept == 9)),
                Cover((ends == 2) & dut.written),
                Cover(
                    dut.forward.valid & ~self.forward_ready & self.valid & self.memory
                    & dut.i.ready
                ),
            ]
        return m


class BrokenAnswers(Answers):
    """Broken on purpose."""

    def __init__(self, fault):
        self.fault = fault
        super().__init__(DEPTH, forwarding=True)

    def _kept(self, m, name, asked):
        if self.fault == f"forgets {name}":
            return getattr(self, name)
        return super()._kept(m, name, asked if self.fault != "any end" else Const(1))


class AnswersSpec(wiring.Component):
    """Ends of both kinds come at any time after their segments began."""

    valid: In(1)
    kind: In(1)
    signal: In(2)
    written: In(1)
    forwarded: In(1)
    chosen: In(4)

    def __init__(self, dut):
        self.dut = dut
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        m.submodules.followed = followed = FollowedWord(2)
        put = self.valid & dut.i.ready
        m.d.comb += [
            dut.i.valid.eq(self.valid),
            dut.i.payload.last.eq(1),
            dut.i.payload.signal.eq(self.signal),
            dut.i.payload.forwarded.eq(self.kind),
            dut.written.eq(self.written),
            dut.forwarded.eq(self.forwarded),
            followed.chosen.eq(self.chosen),
            followed.put.eq(put),
            followed.got.eq(dut.done.valid),
            followed.word.eq(self.signal),
        ]
        # By kind: segments that began two cycles ago, those before the chosen one, and ends.
        mine, ended = Signal(), Signal()
        early, all_ends = [], []
        for number, now in enumerate((self.written, self.forwarded)):
            begun, old, older = (Signal(3, name=f"{n}_{number}") for n in ("begun", "old", "older"))
            before, ends = Signal(3, name=f"before_{number}"), Signal(3, name=f"ends_{number}")
            this = put & (self.kind == number)
            m.d.sync += [
                begun.eq(begun + this), old.eq(begun), older.eq(old), ends.eq(ends + now),
            ]
            with m.If(this & (followed.puts < self.chosen)):
                m.d.sync += before.eq(before + 1)
            with m.If(this & (followed.puts == self.chosen)):
                m.d.sync += mine.eq(number)
            with m.If(mine == number):
                m.d.comb += ended.eq(ends > before)
            early.append(ends > before)
            all_ends.append(ends)
            with m.If(first.started):
                m.d.comb += Assume(~now | (ends < older))
        with m.If(first.started):
            with m.If(dut.done.valid & followed.due):
                m.d.comb += [Assert(ended), Assert(dut.done.payload == followed.kept)]
            m.d.comb += [
                Assert(followed.gots <= followed.puts),
                Cover(followed.gots == 3),
                Cover(dut.done.valid & followed.due & (self.chosen == 2) & early[0] & early[1]),
            ]
        # All have ended: a while later all are answered.
        quiet = Signal(3)
        with m.If(put | (sum(all_ends) != followed.puts)):
            m.d.sync += quiet.eq(0)
        with m.Elif(~quiet.all()):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(first.started & (quiet > DEPTH + 2)):
            m.d.comb += [
                Assert(followed.gots == followed.puts), Cover(followed.puts == 2)
            ]
        return m


SPECS = pytest.mark.parametrize(
    ("spec", "depth"),
    [(WaySpec(Way(MACHINE)), 9), (ForwardSpec(Forward(MACHINE)), 11),
     (AnswersSpec(Answers(DEPTH, forwarding=True)), 12)],
    ids=["way", "forward", "answers"],
)


@SPECS
def test_proved(spec, depth):
    assert_proved(spec, depth=depth)


@SPECS
def test_covered(spec, depth):
    assert_covered(spec, depth=depth)


@pytest.mark.parametrize("fault", ["one size", "forgets", "goes back"])
def test_broken_way_is_refuted(fault):
    assert_refuted(WaySpec(BrokenWay(fault)), depth=10)


@pytest.mark.parametrize("fault", ["takes when full", "early"])
def test_broken_forward_is_refuted(fault):
    assert_refuted(ForwardSpec(BrokenForward(fault)), depth=10)


@pytest.mark.parametrize("fault", ["forgets written", "forgets forwarded", "any end"])
def test_broken_answers_are_refuted(fault):
    assert_refuted(AnswersSpec(BrokenAnswers(fault)), depth=12)
