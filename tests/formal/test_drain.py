# SPDX-License-Identifier: Apache-2.0
"""Proof of VECTOR's walker, with windows and without: every step that is due and no other."""

from amaranth.hdl import Assert, Assume, Const, Cover, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.vector import drain, drain_check
from kiwicha.hw.vector.drain import DrainWalker, step_layout
from kiwicha.hw.vector.entry_walk import EntryWalk
from kiwicha.machine.isa import VECTOR, ErrorCode
from kiwicha.machine.window import WINDOW

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted
from ..vector.test_drain import POOLING, machine


class WalkSpec(wiring.Component):
    """The loops, in integers too wide to overflow, beside the unit, for all instructions at once.

    A step comes out exactly when it is due and is the one due; what is due is inside the memories;
    else there is a fault.
    """

    i: In(stream.Signature(VECTOR))

    def __init__(self, **more) -> None:
        self.cfg = machine(**more)
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.dut = dut = DrainWalker(cfg)
        m.submodules.first = first = FirstCycle()
        wiring.connect(m, dut.i, wiring.flipped(self.i))
        now = Signal(VECTOR)
        running, opening = Signal(), Signal()
        line, pixel, group = Signal(17), Signal(17), Signal(17)
        entry, line_place, pixel_place = Signal(20), Signal(signed(52)), Signal(signed(52))
        channel = group * cfg.requantize_lanes
        place = pixel_place + channel
        live = Mux(now.channels - channel < cfg.requantize_lanes, now.channels - channel, 2)
        last_group = channel + cfg.requantize_lanes >= now.channels
        last_pixel, last_line = pixel + 1 == now.pixels, line + 1 == now.lines
        shape, windowed = data.View(WINDOW, now.scales), Signal()
        m.d.comb += windowed.eq((now.scales != 0) if cfg.pooling else 0)
        row, column = Signal(4), Signal(4)
        last_column = ~windowed | (column + 1 == shape.columns)
        closes = last_column & (~windowed | (row + 1 == shape.rows))
        inside = Mux(windowed, row * now.tile_entries + column, 0)
        line_entry = Signal(20)
        illegal = (
            (now.pixels == 0) | (now.lines == 0) | (now.channels == 0) | (now.channels > 5)
            | now.residual | now.sums | now.function | (now.table != 0) | (now.low > now.high)
            | (now.mode != 0) | (now.slot != 0) | (now.target != 0) | now.begin | now.settle
            | now.relu | now.statistics | now.only | (now.channel != 0) | (now.tiles != 0)
            | Mux(
                windowed, (shape.rows == 0) | (shape.columns == 0)
                | (shape.rows > cfg.pooling.window) | (shape.columns > cfg.pooling.window),
                (now.scales != 0) | (now.tile_entries != 0),
            )
            | (now.low < -256) | (now.high > 255) | (now.low > 255) | (now.high < -256)
            | (now.zero_point < -256) | (now.zero_point > 255)
        )
        # A pixel is begun only if all of it fits; counts and pitches that cannot fit whatever the
        # rest may be refused at once.
        outside = (
            (pixel_place < 0) | (pixel_place + now.channels > cfg.output_bytes)
            | (entry + inside >= cfg.accumulator_depth) | (now.parameter + group >= 8)
        )
        hopeless = (
            (now.pixels >= 2 * cfg.accumulator_depth) | (now.lines >= 2 * cfg.accumulator_depth)
            | ((now.pixels > 1) & ((now.pixel_pitch >= 256) | (now.pixel_pitch < -256)))
            | ((now.lines > 1) & ((now.line_pitch >= 256) | (now.line_pitch < -256)))
            | (windowed & (
                (now.tile_entries >= cfg.accumulator_depth)
                | (shape.pixel_entries >= cfg.accumulator_depth)
                | (shape.line_entries >= cfg.accumulator_depth)
            ))
        )
        good, fault, stopped = Signal(), Signal(), Signal()
        m.d.comb += [
            good.eq(running & ~stopped & ~illegal & ~outside & ~hopeless),
            fault.eq(running & ~stopped & ~good),
        ]
        m.d.sync += stopped.eq(stopped | fault)
        with m.If(good):
            m.d.sync += [opening.eq(0), column.eq(Mux(last_column, 0, column + 1))]
            with m.If(last_column):
                m.d.sync += row.eq(Mux(closes, 0, row + 1))
        with m.If(good & closes):
            m.d.sync += group.eq(group + 1)
            with m.If(last_group):
                m.d.sync += [
                    group.eq(0), pixel.eq(pixel + 1),
                    entry.eq(entry + Mux(windowed, shape.pixel_entries, 1)),
                    pixel_place.eq(pixel_place + now.pixel_pitch),
                ]
                with m.If(last_pixel):
                    m.d.sync += [
                        pixel.eq(0), line.eq(line + 1), running.eq(~last_line),
                        line_place.eq(line_place + now.line_pitch),
                        pixel_place.eq(line_place + now.line_pitch),
                    ]
                    with m.If(windowed):
                        m.d.sync += [
                            line_entry.eq(line_entry + shape.line_entries),
                            entry.eq(line_entry + shape.line_entries),
                        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                now.eq(self.i.payload), running.eq(1), opening.eq(1), group.eq(0), pixel.eq(0),
                line.eq(0), entry.eq(self.i.payload.accumulator), row.eq(0), column.eq(0),
                line_entry.eq(self.i.payload.accumulator),
                line_place.eq(self.i.payload.local), pixel_place.eq(self.i.payload.local),
            ]

        due, refused = Signal(), Signal()
        code = Signal(8)
        step = Signal(step_layout(cfg))
        m.d.sync += [
            due.eq(good), refused.eq(fault),
            code.eq(Mux(illegal, ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE)),
            step.entry.eq(entry + inside), step.group.eq(group),
            step.parameter.eq(now.parameter + group), step.address.eq(place),
            step.live.eq(live - 1), step.first.eq(opening),
            step.last.eq(last_group & last_pixel & last_line & closes), step.signal.eq(now.signal),
        ]
        if cfg.pooling:
            m.d.sync += [step.opens.eq((row == 0) & (column == 0)), step.closes.eq(closes)]
        with m.If(first.started):
            m.d.comb += [
                Assert(dut.o.valid == due),
                Assert(~due | (dut.o.payload == step)),
                Assert(dut.error.valid == refused),
                Assert(~dut.error.valid | (dut.error.payload.code == code)),
                Assert(~stopped | ~dut.i.ready),
            ]
        # What is offered stays as it is until it is taken.
        waiting, offered = Signal(), Signal(VECTOR)
        m.d.sync += [waiting.eq(self.i.valid & ~self.i.ready), offered.eq(self.i.payload)]
        with m.If(first.started & waiting):
            m.d.comb += [Assume(self.i.valid), Assume(self.i.payload == offered)]
        with m.If(running & opening):
            m.d.comb += Assert(dut.constants.low == now.low[:9].as_signed())
        finished = Signal(3)
        m.d.sync += finished.eq(finished + (due & step.last))
        m.d.comb += [
            Cover((finished == 2) & (step.group == 2) & (step.entry == 5) & (step.live == 0)),
            Cover((line == 1) & (now.line_pitch == -7) & (now.pixels == 2) & step.last & due),
            Cover((finished == 1) & dut.error.valid & (step.group == 1)),
        ]
        if cfg.pooling:
            m.d.comb += [
                Cover(due & step.last & windowed & (line == 1) & (now.pixels == 2) & (row == 0)),
                Cover(refused & windowed & (row == 1) & (pixel == 1) & (now.channels == 3)),
                Cover(due & step.last & windowed & (shape.rows == 2) & (shape.columns == 3)),
            ]
        return m


def test_proof():
    assert_proved(WalkSpec(), depth=10)
    assert_covered(WalkSpec(), depth=12)


def test_proof_of_windows():
    assert_proved(WalkSpec(**POOLING), depth=10)
    assert_covered(WalkSpec(**POOLING), depth=12)


def test_proof_of_windows_that_are_not_checked(monkeypatch):
    monkeypatch.setattr(drain_check, "_wrong_window", lambda cfg, asked: [])
    assert_refuted(WalkSpec(**POOLING), depth=10)


def test_proof_of_windows_that_go_on(monkeypatch):
    """A group of channels that does not walk its window anew."""
    real = EntryWalk.elaborate

    def broken(self, platform):
        m = real(self, platform)
        with m.If(self.move & ~self.last_group & self.closes):
            m.d.sync += self.entry.eq(self.entry + 1)
        return m

    monkeypatch.setattr(EntryWalk, "elaborate", broken)
    assert_refuted(WalkSpec(**POOLING), depth=10)


def test_proof_of_unchecked_pitches(monkeypatch):
    monkeypatch.setattr(drain_check, "exceeds", lambda value, width: Const(0))
    assert_refuted(WalkSpec(), depth=10)


def test_proof_of_unchecked_fields(monkeypatch):
    monkeypatch.setattr(drain, "illegal_fields", lambda cfg, asked: asked.pixels == 0)
    assert_refuted(WalkSpec(), depth=10)
