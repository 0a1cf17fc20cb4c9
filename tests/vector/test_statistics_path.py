# SPDX-License-Identifier: Apache-2.0
"""VECTOR's statistics in every mode: what is counted, and that it is there when `done` comes."""

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.vector.drain import DrainWalker
from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine.isa import VECTOR, VectorMode

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset
from .test_vector import machine
from .vector_bench import begin
from .vector_model import expected_output, instructions

REQUANTIZE, RAW, MEASURE, QUANTIZE, BLOCK = (
    VectorMode.REQUANTIZE, VectorMode.RAW, VectorMode.MEASURE, VectorMode.QUANTIZE, VectorMode.BLOCK
)


def counted(program, rng, limit):
    """Return the program with most of its results counted, some of one channel only."""
    made, anew = [], 0.04 if limit == 256 else 0.3
    for fields in program:
        extra = {"statistics": int(rng.random() < 0.8)}
        if extra["statistics"] and fields["mode"] != MEASURE:
            extra |= {"begin": int(rng.random() < anew), "only": int(rng.random() < 0.3)}
            if extra["only"]:
                extra["channel"] = int(rng.integers(min(128, fields["channels"])))
            made.append(fields | extra)
        else:
            made.append(fields)
    return made


def record(dut):
    return dut.statistics.value.to_unsigned().to_bytes(256, "little")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def counts_what_is_written(dut):
    params, bench = bench_params(), await begin(dut)
    cfg = bench.cfg
    assert not any(record(dut))
    drawn = instructions(cfg, bench.rng, params["count"], modes=tuple(params["modes"]))
    program = counted(drawn, bench.rng, cfg.statistics.elements)
    golden = bench.state.statistics
    expected, overflows = await bench.output(), 0
    # A few at a time, without a gap; the record is right in the very cycle of the last answer.
    for start in range(0, len(program), 5):
        some = program[start : start + 5]
        before = len(bench.done)
        bench.source.put(some)
        while len(bench.done) < before + len(some):
            await RisingEdge(dut.clk)
            found = record(dut)
            assert not bench.errors, some[len(bench.taken) - before - 1]
            # The watcher may have woken up later than this.
            if dut.done__valid.value and len(bench.done) in (before + 4, before + 5):
                last = found
        expected_output(cfg, some, bench.raw, bench.accumulators, expected, bench.state)
        assert last == golden.octets().tobytes(), some
        overflows += golden.overflow
        await ClockCycles(dut.clk, 20)
        assert record(dut) == last
    assert (await bench.output() == expected).all()
    assert bool(overflows) == (cfg.statistics.elements == 256)


@cocotb.test(timeout_time=100, timeout_unit="us")
async def refuses(dut):
    await start_clock_and_reset(dut)
    legal = {"channels": 3, "pixels": 1, "lines": 1, "high": 127, "statistics": 1}
    legal = dict.fromkeys((name for name, _ in VECTOR), 0) | legal
    measure = {"mode": VectorMode.MEASURE}
    cases = [
        (1, {}), (1, {"begin": 1}), (1, {"only": 1}), (1, {"only": 1, "channel": 2}),
        (0, {"only": 1, "channel": 3}), (0, {"only": 1, "channel": 66}), (0, {"channel": 1}),
        (0, {"statistics": 0, "begin": 1}), (0, {"statistics": 0, "only": 1}),
        (0, measure), (0, {**measure, "begin": 1}), (1, {**measure, "statistics": 0, "begin": 1}),
        (0, {**measure, "statistics": 0, "only": 1}), (1, {"mode": RAW}), (1, {"mode": QUANTIZE}),
        (0, {"mode": BLOCK}),
    ]
    for allowed, case in cases:
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
        dut.i__payload.value = pack(VECTOR, legal | case)
        dut.i__valid.value = 1
        await ClockCycles(dut.clk, 2)
        dut.i__valid.value = 0
        errors = steps = 0
        for _ in range(6):
            await RisingEdge(dut.clk)
            errors += int(dut.error__valid.value)
            steps += int(dut.o__valid.value)
        assert (errors, steps > 0) == (1 - allowed, bool(allowed)), case


def test_refuses():
    unit = DrainWalker(machine(4, 2, 64, dynamic=True, statistics={"elements": 256}), 8)
    run_cocotb(unit, __name__, testcase="refuses")


@pytest.mark.parametrize("offer", ["always", "random", "bursty"])
def test_offers(offer):
    run((4, 2, 64), [REQUANTIZE, RAW], offer, statistics={"elements": 256})


@pytest.mark.parametrize("size,modes,more", [
    ((5, 2, 64, "shift"), [REQUANTIZE, REQUANTIZE, RAW], {}),
    ((4, 1, 64), [REQUANTIZE, RAW, BLOCK, BLOCK], {"blocks": {"channels": 8}}),
    ((8, 4, 64), [RAW, BLOCK, BLOCK], {"blocks": {"channels": 8, "scale": "multiway"}}),
    ((4, 4, 64), [RAW, MEASURE, QUANTIZE, QUANTIZE], {"dynamic": True}),
])
def test_modes(size, modes, more):
    run(size, modes, "always", statistics={"elements": 1 << 30}, **more)


def run(size, modes, offer, **more):
    cfg = machine(*size, **more)
    params = {"config": cfg.to_dict(), "seed": 9, "count": 25, "offer": offer, "modes": modes}
    unit = VectorEngine(cfg)
    run_cocotb(unit, __name__, params=params, testcase="counts_what_is_written")
