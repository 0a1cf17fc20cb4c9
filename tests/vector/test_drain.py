# SPDX-License-Identifier: Apache-2.0
"""VECTOR's loops: right steps, no gaps, and nothing outside the memories whatever is asked."""

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Assert, Assume, Const, Cover, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.vector import drain, drain_check
from kiwicha.hw.vector.drain import CONSTANTS, DrainWalker, step_layout
from kiwicha.hw.vector.entry_walk import EntryWalk
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import window, window_field
from kiwicha.machine.isa import VECTOR, WINDOW, Engine, ErrorCode

from ..support.bench import bench_params, run_cocotb
from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted
from ..support.streams import StreamSource, start_clock_and_reset, unpack
from .vector_model import instructions, steps

POOLING = {"pooling": {"window": 3}}
BASE = {
    "zero_point": 1, "low": -128, "high": 127, "accumulator": 0, "channels": 5, "parameter": 0,
    "local": 8, "pixels": 2, "lines": 2, "pixel_pitch": 5, "line_pitch": 16, "signal": 9,
}

#: What may be wrong with an instruction for columns 5, lanes 2, 16 entries, 256 bytes, 8 groups.
ILLEGAL = [
    {"pixels": 0}, {"lines": 0}, {"channels": 0}, {"channels": 6}, {"channels": 0x8001},
    {"mode": 1}, {"mode": 2}, {"mode": 3}, {"mode": 4}, {"mode": 5}, {"mode": 8},
    {"slot": 1}, {"target": 2}, {"begin": 1}, {"settle": 1}, {"relu": 1}, {"statistics": 1},
    {"scales": 1}, {"scales": 1 << 31}, {"tiles": 1}, {"tiles": 0x80}, {"tile_entries": 1},
    {"only": 1}, {"channel": 1}, {"channel": 0x40},
    {"zero_point": 256}, {"zero_point": -257}, {"low": -257}, {"high": 256}, {"high": 0x7F00},
    {"low": 4, "high": 3}, {"low": 256, "high": 300},
]
OUTSIDE = [
    {"accumulator": 13}, {"accumulator": 16}, {"accumulator": 0xFFFF}, {"pixels": 9},
    {"pixels": 0xFFFF}, {"lines": 0xFFFF}, {"pixels": 32, "pixel_pitch": 0, "line_pitch": 0},
    {"parameter": 6}, {"parameter": 8}, {"parameter": 0x8000},
    {"local": 256}, {"local": 231}, {"local": 0xFFFFFFFF}, {"local": 0x80000000},
    {"pixel_pitch": -9}, {"line_pitch": -9}, {"line_pitch": -14, "pixel_pitch": -1},
    {"pixel_pitch": 256}, {"pixel_pitch": 1 << 30}, {"pixel_pitch": -(1 << 31)},
    {"line_pitch": 1 << 9}, {"line_pitch": -(1 << 9)}, {"line_pitch": 0x7FFFFFFF},
    {"local": 240, "pixel_pitch": 0, "line_pitch": 12},
]
ILLEGAL += [{"reserved0": 1 << k} for k in range(2)]
ILLEGAL += [{"function": 1}, *({"table": 1 << k} for k in range(3))]
ILLEGAL += [{"channels": 1 << k} for k in range(3, 16)]
ILLEGAL += [{"zero_point": 1 << k} for k in range(8, 15)]
ILLEGAL += [{"high": 1 << k, "low": 0} for k in range(8, 15)]
ILLEGAL += [{"low": -(1 << k)} for k in range(9, 16)]
OUTSIDE += [{"accumulator": 1 << k} for k in range(4, 16)]
OUTSIDE += [{"parameter": 1 << k} for k in range(3, 16)]
OUTSIDE += [{"local": 1 << k} for k in range(8, 32)]
OUTSIDE += [{name: 1 << k} for name in ("pixels", "lines") for k in range(4, 16)]
OUTSIDE += [
    {name: sign << k} for name in ("pixel_pitch", "line_pitch") for k in range(8, 31)
    for sign in (1, -1)
]
LEGAL = [
    {"accumulator": 12}, {"parameter": 5}, {"local": 230}, {"local": 0, "lines": 1},
    {"pixel_pitch": -8}, {"line_pitch": -8}, {"low": -256, "high": 255, "zero_point": -256},
    {"pixels": 1, "pixel_pitch": -(1 << 31)}, {"lines": 1, "line_pitch": 0x7FFFFFFF},
    {"pixels": 16, "lines": 1, "pixel_pitch": 0}, {"pixels": 1, "lines": 16, "line_pitch": 0},
    {"low": 3, "high": 3},
]


def machine(columns=5, lanes=2, **more):
    more = {"accumulator_depth": 16, "output_bytes": 256, "parameter_channels": 16} | more
    return AcceleratorConfig(columns=columns, requantize_lanes=lanes, axi_data_width=64, **more)


def expected(cfg, fields):
    """Return the steps of a legal instruction as they come out."""
    plain = list(steps(cfg, fields))
    names = ("entry", "group", "parameter", "address")
    windowed = cfg.pooling and fields.get("scales") and not fields.get("mode")
    size = window(fields)["rows"] * window(fields)["columns"] if windowed else 1
    return [
        dict(zip(names, step, strict=False))
        | {"live": step[4] - 1, "first": int(index == 0), "last": int(index == len(plain) - 1)}
        | {"signal": fields["signal"]}
        | ({n: fields.get(n, 0) for n in ("function", "table")} if cfg.functions else {})
        | (dict(zip(("opens", "closes"), ends, strict=True)) if cfg.pooling else {})
        for index, step in enumerate(plain)
        for ends in [(int(index % size == 0), int(index % size == size - 1))]
    ]


class Watch:
    """Records steps with their cycles, constants and faults."""

    def __init__(self, dut, cfg):
        self.dut, self.shape = dut, step_layout(cfg)
        self.cycle = 0
        self.taken, self.steps, self.errors = [], [], []
        self.constants = []  # of every cycle
        cocotb.start_soon(self._run())

    async def _run(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            if dut.i__valid.value and dut.i__ready.value:
                self.taken.append(self.cycle)
            if dut.o__valid.value:
                step = unpack(self.shape, dut.o__payload.value.to_unsigned())
                self.steps.append((self.cycle, step))
            if dut.error__valid.value:
                self.errors.append(dut.error__payload.value.to_unsigned())
            self.constants.append(dut.constants.value)
            self.cycle += 1


@cocotb.test()
async def walks(dut):
    params = bench_params()
    cfg = AcceleratorConfig(**params["config"])
    await start_clock_and_reset(dut)
    program = instructions(cfg, np.random.default_rng(params["seed"]), 120)
    watch = Watch(dut, cfg)
    await StreamSource(dut, "i", VECTOR, policy=params["offer"]).send(program)
    await ClockCycles(dut.clk, 200)
    assert not watch.errors
    all_steps = [expected(cfg, fields) for fields in program]
    assert [step for _, step in watch.steps] == [step for part in all_steps for step in part]
    for taken, fields in zip(watch.taken, program, strict=True):
        for value in watch.constants[taken + 1 : taken + 1 + params["interval"]]:
            seen = unpack(CONSTANTS, value.to_unsigned())
            assert seen == {name: fields[name] for name, _ in CONSTANTS}
    # Two cycles from the transfer to the first step, and then no gap.
    cycles = [taken + 2 + k for taken, part in zip(watch.taken, all_steps, strict=True)
              for k in range(len(part))]
    assert [cycle for cycle, _ in watch.steps] == cycles
    if params["offer"] == "always":
        intervals = [max(params["interval"], 2, len(part)) for part in all_steps[:-1]]
        assert np.diff(watch.taken).tolist() == intervals


@cocotb.test()
async def refuses(dut):
    """Every illegal instruction, each behind a legal one; whatever came out first was legal."""
    cfg = machine()
    await start_clock_and_reset(dut)
    watch, source = Watch(dut, cfg), StreamSource(dut, "i", VECTOR)
    before = expected(cfg, BASE)
    for code, cases in (
        (ErrorCode.ILLEGAL_FIELD, ILLEGAL),
        (ErrorCode.SCRATCHPAD_RANGE, OUTSIDE),
        (ErrorCode.NONE, LEGAL),
    ):
        for case in cases:
            watch.steps, watch.errors = [], []
            fields = BASE | case
            await source.send([BASE, fields])
            await ClockCycles(dut.clk, 60)
            came = [step for _, step in watch.steps]
            assert came[: len(before)] == before
            some = came[len(before) :]
            if code == ErrorCode.NONE:
                assert not watch.errors, f"{case} refused"
                assert some == expected(cfg, fields)
                continue
            assert watch.errors == [code | Engine.VECTOR << 8], f"{case}: {watch.errors}"
            assert not dut.i__ready.value
            assert code == ErrorCode.SCRATCHPAD_RANGE or not some
            for step, legal in zip(some, steps(cfg, fields), strict=False):
                entry, _, parameter, address, live = legal
                assert (step["entry"], step["parameter"], step["address"]) == (
                    entry, parameter, address,
                )
                assert entry < 16
                assert parameter < 8
                assert 0 <= address <= 256 - live
            dut.rst.value = 1
            await ClockCycles(dut.clk, 1)
            dut.rst.value = 0


@cocotb.test()
async def refuses_windows(dut):
    """The same of windows, and fields that go with none."""
    cfg = machine(**POOLING)
    await start_clock_and_reset(dut)
    watch, source = Watch(dut, cfg), StreamSource(dut, "i", VECTOR)
    base = {"rows": 2, "columns": 3, "pixel_entries": 1, "line_entries": 4}
    small = BASE | {"pixels": 2, "lines": 2, "tile_entries": 4}
    cases = [
        (ErrorCode.ILLEGAL_FIELD, more, other) for more, other in [
            ({"rows": 0}, {}), ({"columns": 0}, {}), ({"rows": 4}, {}), ({"columns": 15}, {}),
            ({}, {"tiles": 1}), ({}, {"statistics": 1}), ({}, {"mode": 4}), ({}, {"mode": 1}),
        ]
    ]
    cases += [
        (ErrorCode.SCRATCHPAD_RANGE, more, other) for more, other in [
            ({"pixel_entries": 16}, {}), ({"line_entries": 1 << 15}, {}),
            ({}, {"tile_entries": 16}), ({}, {"tile_entries": 0x8000}),
            ({"line_entries": 9}, {}), ({"pixel_entries": 6}, {}), ({}, {"tile_entries": 9}),
            ({}, {"accumulator": 5}),
        ]
    ]
    cases += [(ErrorCode.NONE, more, other) for more, other in [
        ({}, {}), ({"line_entries": 8}, {}), ({"pixel_entries": 5}, {}), ({}, {"tile_entries": 8}),
        ({}, {"accumulator": 4}), ({"rows": 1, "line_entries": 12}, {"tile_entries": 15}),
        ({"pixel_entries": 0, "line_entries": 0}, {}),
    ]]
    for code, more, other in cases:
        watch.steps, watch.errors = [], []
        fields = small | other | {"scales": window_field(**(base | more))}
        await source.send([small | {"tile_entries": 0}, fields])
        await ClockCycles(dut.clk, 80)
        came = [step for _, step in watch.steps][len(expected(cfg, BASE)) :]
        if code == ErrorCode.NONE:
            assert not watch.errors, f"{more} {other} refused"
            assert came == expected(cfg, fields)
            continue
        assert watch.errors == [code | Engine.VECTOR << 8], f"{more} {other}: {watch.errors}"
        assert all(step["entry"] < 16 for step in came)
        if code == ErrorCode.ILLEGAL_FIELD:
            assert not came
        dut.rst.value = 1
        await ClockCycles(dut.clk, 1)
        dut.rst.value = 0


@pytest.mark.parametrize("columns,lanes,interval,offer", [
    (4, 1, 1, "always"), (5, 2, 4, "always"), (8, 3, 1, "random"), (16, 16, 4, "bursty"),
    (16, 16, 1, "always"), (1, 1, 4, "always"),
])
def test_walks(columns, lanes, interval, offer):
    cfg = machine(columns, lanes, accumulator_depth=64, output_bytes=512, parameter_channels=64)
    params = {"config": cfg.to_dict(), "interval": interval, "offer": offer, "seed": 4}
    run_cocotb(DrainWalker(cfg, interval), __name__, params=params, testcase="walks")


def test_walks_with_functions():
    cfg = machine(
        5, 2, accumulator_depth=64, output_bytes=512, parameter_channels=64,
        functions={"tables": 4},
    )
    params = {"config": cfg.to_dict(), "interval": 4, "offer": "random", "seed": 4}
    run_cocotb(DrainWalker(cfg, 4), __name__, params=params, testcase="walks")


@pytest.mark.parametrize("columns,lanes,size,more", [
    (4, 1, 2, {}), (5, 2, 3, {}), (8, 3, 15, {"functions": {"tables": 2}}), (1, 1, 7, {}),
])
def test_walks_windows(columns, lanes, size, more):
    cfg = machine(
        columns, lanes, accumulator_depth=128, output_bytes=512, parameter_channels=64,
        pooling={"window": size}, **more,
    )
    params = {"config": cfg.to_dict(), "interval": 4, "offer": "always", "seed": size}
    run_cocotb(DrainWalker(cfg, 4), __name__, params=params, testcase="walks")


def test_refuses():
    run_cocotb(DrainWalker(machine()), __name__, testcase="refuses")


def test_refuses_windows():
    run_cocotb(DrainWalker(machine(**POOLING)), __name__, testcase="refuses_windows")


def test_interval_below_one():
    with pytest.raises(ValueError, match=r"^interval is 0; legal: at least 1$"):
        DrainWalker(machine(), 0)


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
            | (now.reserved0 != 0) | now.function | (now.table != 0) | (now.low > now.high)
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
