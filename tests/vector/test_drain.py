# SPDX-License-Identifier: Apache-2.0
"""VECTOR's loops: right steps, no gaps, and nothing outside the memories whatever is asked."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.vector.drain import CONSTANTS, DrainWalker, step_layout
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import window, window_field
from kiwicha.machine.isa import VECTOR, Engine, ErrorCode

from ..support.bench import bench_params, run_cocotb
from ..support.streams import StreamSource, start_clock_and_reset, unpack
from .vector_model import instructions, steps

POOLING = {"pooling": {"window": 3}}
BASE = {
    "zero_point": 1, "low": -128, "high": 127, "accumulator": 0, "channels": 5, "parameter": 0,
    "local": 8, "pixels": 2, "lines": 2, "pixel_pitch": 5, "line_pitch": 16, "signal": 9,
}

#: What may be wrong with an instruction for columns 5, lanes 2, 16 entries, 256 bytes, 8 groups.
ILLEGAL = [
    {"pixels": 0}, {"lines": 0}, {"channels": 0}, {"channels": 6}, {"channels": 0x2001},
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
ILLEGAL += [{"residual": 1}, {"sums": 1}]
ILLEGAL += [{"function": 1}, *({"table": 1 << k} for k in range(3))]
ILLEGAL += [{"channels": 1 << k} for k in range(3, 14)]
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
