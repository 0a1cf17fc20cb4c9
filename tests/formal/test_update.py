# SPDX-License-Identifier: Apache-2.0
"""UPDATE reads each beat once, to its place, and asks for a write only when it has all of it."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.update.job import update_job
from kiwicha.hw.update.reader import UpdateReader
from kiwicha.hw.update.writer import UpdateWriter
from kiwicha.machine.presets import preset

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted
from ..support.slow import slow
from .master_rules import held

CFG = preset("tiny").replace(axi_address_width=16, update={"lanes": 1})
CHUNK, ROOM, GROUPS, RUNS = 4, 16, 10, 8


class GreedyReader(UpdateReader):
    """Broken: believes that there is room for twice as much."""

    def _ask(self, m, taken, room):
        super()._ask(m, taken, 2 * room)


class LateReader(UpdateReader):
    """Broken: takes what comes first for the state."""

    def _sort(self, m, queues, gradients):
        turned = {"w": queues["w"], "m": queues["v"], "v": queues["m"]}
        super()._sort(m, turned, gradients)


class HastyWriter(UpdateWriter):
    """Broken: asks for a chunk when its first group is here."""

    def _ask(self, m, chunk_ended):
        return super()._ask(m, self.i.valid)


def times(number, job):
    """Return ``number`` times the beats of a group."""
    one, two = job.momentum ^ job.root, job.momentum & job.root
    return number + Mux(two, number << 1, Mux(one, number, 0))


class _Spec(wiring.Component):
    """A job with these of its flags and any number of groups, started once."""

    job: In(update_job(CFG))
    start: In(1)
    stop: In(1)
    advance: In(1)
    accept: In(1)
    pull: In(1)

    def __init__(self, dut, *flags):
        self.dut = dut
        self.flags = flags
        super().__init__()

    def begin(self, m):
        """Give the unit the job; return it, and whether it was started before."""
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        job = data.View(update_job(CFG), Signal(update_job(CFG).size, name="chosen"))
        chosen = data.View(job.shape(), held(m, first.first, self.job.as_value()))
        m.d.comb += [
            job.groups.eq(chosen.groups[:4]), job.final.eq(chosen.final),
            job.state.eq(0x100), job.gradients.eq(0x400), job.codes.eq(0x800),
            *(job[flag].eq(1) for flag in self.flags),
        ]
        started = Signal()
        m.d.sync += started.eq(started | self.start)
        m.d.comb += [
            dut.job.eq(job), dut.start.eq(self.start & ~started), dut.stop.eq(self.stop),
            Assume(~self.start | first.started),
            Assume((job.groups != 0) & (job.groups <= GROUPS)),
        ]
        return job, started, first.started

    def parts(self, m, job):
        parts = Signal(2)
        m.d.comb += parts.eq(1 + job.momentum + job.root)
        return parts


class ReaderSpec(_Spec):
    """A memory whose beats hold their own number; every group must be made of the right ones."""

    def elaborate(self, platform):
        m = Module()
        job, started, on = self.begin(m)
        dut, parts = self.dut, self.parts(m, job)
        request, back = dut.request, dut.data

        # Requests in order; the first one of them is answered, a beat in a cycle with `advance`.
        run = data.StructLayout({"place": 16, "beats": 8})
        runs = [Signal(run, name=f"run_{k}") for k in range(RUNS)]
        held_runs, offered = Signal(range(RUNS + 1)), Signal()
        asked, total = Signal(8), Signal(8)
        over, ending, put = Signal(), Signal(), Signal()
        m.d.comb += [
            request.ready.eq(self.accept),
            put.eq(request.valid & request.ready),
            back.valid.eq(self.advance & (held_runs != 0)),
            back.payload.data.eq(Cat(runs[0].place.replicate(4))),
            ending.eq(runs[0].beats == 1),
            back.payload.last.eq(ending),
            over.eq(back.valid & ending),
        ]
        m.d.sync += [
            held_runs.eq(held_runs + put - over),
            asked.eq(asked + Mux(put, request.payload.beats, 0)),
            offered.eq(request.valid & ~request.ready),
        ]
        with m.If(over):
            m.d.sync += [a.eq(b) for a, b in zip(runs, runs[1:], strict=False)]
        with m.Elif(back.valid):
            m.d.sync += [runs[0].place.eq(runs[0].place + 1), runs[0].beats.eq(runs[0].beats - 1)]
        with m.If(put):
            with m.Switch(held_runs - over):
                for k, one in enumerate(runs):
                    with m.Case(k):
                        m.d.sync += [
                            one.place.eq(request.payload.address >> 3),
                            one.beats.eq(request.payload.beats),
                        ]

        number, group = Signal(8), dut.o.payload
        taken = dut.o.valid & self.pull
        m.d.sync += number.eq(number + taken)
        m.d.comb += dut.o.ready.eq(self.pull)
        first = job.state + times(number, job)
        gradient = Signal(16)
        m.d.comb += gradient.eq(job.gradients + Mux(job.wide, number, number >> 2))
        # Two of its eight bytes, which are its number again and again.
        octets = gradient
        narrow = Cat(group.gradients[0][:8], group.gradients[1][:8])
        m.d.comb += total.eq(
            times(job.groups[:8], job) + Mux(job.wide, job.groups, (job.groups + 3) >> 2)
        )
        ahead = number + 2 * CHUNK
        most = times(ahead, job) + Mux(job.wide, ahead, (ahead + 3) >> 2)
        stopped = Signal()
        m.d.sync += stopped.eq(self.stop)
        with m.If(on):
            m.d.comb += [
                Assert(back.ready), Assert(held_runs < RUNS), Assert(asked <= total),
                Assert(asked <= most),
                Assert(~offered | request.valid), Assert(~(request.valid & ~offered & stopped)),
                Assert(~request.valid | started), Assert(~request.payload.beats[7:].any()),
            ]
            with m.If(dut.o.valid):
                m.d.comb += [
                    Assert(number < job.groups),
                    Assert(group.last == (number == job.groups - 1)),
                    Assert(group.w[:16] == first[:16]),
                    Assert(~job.momentum | (group.m[:16] == (first + 1)[:16])),
                    Assert(~job.root | (group.v[:16] == (first + parts - 1)[:16])),
                    Assert(Mux(job.wide, group.gradients[0][:16] == gradient,
                               narrow == octets)),
                ]
            with m.If(number == job.groups):
                m.d.comb += [Assert(asked == total), Assert(held_runs == 0)]
            m.d.comb += [
                Cover((number == job.groups) & (job.groups == 2)),
                Cover((held_runs == 4) & (number == 0)),
                Cover((number == 5) & taken if not self.flags else number == 1),
            ]
        return m


class WriterSpec(_Spec):
    """Groups that hold their number, and a master that takes only what was asked for."""

    def elaborate(self, platform):
        m = Module()
        job, started, on = self.begin(m)
        dut, parts = self.dut, self.parts(m, job)

        # Groups come some time after they were reserved.
        reserved, came = Signal(8), Signal(8)
        reserve, give = Signal(), Signal()
        group = dut.i.payload
        m.d.comb += [
            reserve.eq(started & self.advance & ~dut.full & (reserved < job.groups)),
            give.eq(self.pull & (came < reserved)),
            dut.reserve.eq(reserve), dut.i.valid.eq(give),
            *(group[name].eq(Cat(came, Const(kind, 2))) for kind, name in enumerate("wmv")),
            *(code.eq(came) for code in group.codes),
        ]
        m.d.sync += [reserved.eq(reserved + reserve), came.eq(came + give)]

        # The master: what it owes the bus, it takes whenever it likes.
        request, out = dut.request, dut.data
        owed, answered, runs = Signal(8), Signal(4), Signal(4)
        put, taken, missing = Signal(), Signal(), Signal(3)
        m.d.comb += [
            request.ready.eq(self.accept), put.eq(request.valid & request.ready),
            out.ready.eq((owed != 0) & self.accept), taken.eq(out.valid & out.ready),
            dut.written.valid.eq((runs != answered) & (owed == 0) & self.advance),
        ]
        m.d.sync += [
            owed.eq(owed + Mux(put, request.payload.beats, 0) - taken),
            runs.eq(runs + put), answered.eq(answered + dut.written.valid),
            missing.eq(Mux((owed != 0) & ~out.valid, missing + 1, 0)),
        ]

        # The beats in order: chunk after chunk, state before codes.
        chunk, beat, codes = Signal(3), Signal(5), Signal()
        left = job.groups - chunk * CHUNK
        groups = Mux(left < CHUNK, left, CHUNK)[:4]
        beats = Mux(codes, (groups + 3) >> 2, times(groups, job))[:5]
        with m.If(taken):
            m.d.sync += beat.eq(beat + 1)
            with m.If(beat == beats - 1):
                m.d.sync += [beat.eq(0), codes.eq(~codes & ~job.accumulate)]
                with m.If(codes | job.accumulate):
                    m.d.sync += chunk.eq(chunk + 1)
        inside, part = Signal(3), Signal(2)
        for k in range(3 * CHUNK):
            with m.If((beat == k) & ~codes):
                for size in (1, 2, 3):
                    with m.If(parts == size):
                        m.d.comb += [inside.eq(k // size), part.eq(k % size)]
        number = Signal(8)
        m.d.comb += number.eq(chunk * CHUNK + inside)
        kind = Mux(part == 0, 0, Mux((part == 1) & job.momentum, 1, 2))
        final = job.groups - 1 == number
        strobe = Mux(final & (job.final == 0), 0x0F, 0xFF)
        run, second = Signal(3), Signal()
        with m.If(put):
            m.d.sync += second.eq(~second & ~job.accumulate)
            with m.If(second | job.accumulate):
                m.d.sync += run.eq(run + 1)
        asked = Mux(second, job.codes + run, job.state + times(run << 2, job))
        rest = job.groups - run * CHUNK
        size = Mux(rest < CHUNK, rest, CHUNK)[:4]
        with m.If(on):
            m.d.comb += [
                Assert(missing <= 3),
                Assert(reserved - came <= ROOM),
                Assert(~dut.finished | ~started | ((came == job.groups) & (runs == answered))),
            ]
            with m.If(request.valid):
                m.d.comb += [
                    Assert(request.payload.address == asked << 3),
                    Assert(request.payload.beats == Mux(second, (size + 3) >> 2, times(size, job))),
                ]
            with m.If(taken & ~codes):
                m.d.comb += [
                    Assert(out.payload.data[:10] == Cat(number, kind)),
                    Assert(out.payload.strobe == strobe),
                ]
            with m.If(taken & codes):
                m.d.comb += [
                    Assert(~out.payload.strobe[0] | (out.payload.data[:8] == chunk * CHUNK)),
                    Assert((left > CHUNK) | (out.payload.strobe[1] == ((left > 1) | job.final))),
                    Assert(out.payload.strobe[7] == ((left > 3) & ((left > 4) | job.final))),
                ]
            m.d.comb += [
                Cover(dut.finished & started & (job.groups == (2 if self.flags else 5))),
                Cover((owed != 0) & self.stop & out.valid),
            ]
        return m


READERS = {"plain": (), "wide": ("wide",), "both": ("momentum", "root"), "v": ("root", "wide")}
WRITERS = {"plain": (), "sums": ("accumulate",), "both": ("momentum", "root"), "m": ("momentum",)}


@pytest.mark.parametrize("flags", READERS.values(), ids=READERS)
def test_reader_proved(flags):
    assert_proved(ReaderSpec(UpdateReader(CFG, CHUNK), *flags), depth=13)


@pytest.mark.parametrize("flags", READERS.values(), ids=READERS)
def test_reader_covered(flags):
    assert_covered(ReaderSpec(UpdateReader(CFG, CHUNK), *flags), depth=26)


def test_broken_reader_is_refuted():
    assert_refuted(ReaderSpec(LateReader(CFG, CHUNK), "momentum", "root"), depth=14)
    assert_refuted(ReaderSpec(GreedyReader(CFG, CHUNK), "wide"), depth=14)


@slow("both", "m")
@pytest.mark.parametrize("flags", WRITERS.values(), ids=WRITERS)
def test_writer_proved(flags):
    assert_proved(WriterSpec(UpdateWriter(CFG, ROOM, CHUNK), *flags), depth=15)


@pytest.mark.parametrize("flags", WRITERS.values(), ids=WRITERS)
def test_writer_covered(flags):
    assert_covered(WriterSpec(UpdateWriter(CFG, ROOM, CHUNK), *flags), depth=26)


def test_broken_writer_is_refuted():
    assert_refuted(WriterSpec(HastyWriter(CFG, ROOM, CHUNK)), depth=14)
