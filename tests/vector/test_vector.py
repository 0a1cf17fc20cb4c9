# SPDX-License-Identifier: Apache-2.0
"""The VECTOR engine against the requantizer's golden model, and its exact cycle counts."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles

from kiwicha.hw.vector.modes import vector_modes
from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import window_field
from kiwicha.machine.isa import Engine, ErrorCode, VectorMode
from kiwicha.machine.latency import vector_latency

from ..support.bench import bench_params, run_cocotb
from .dynamic_cases import quantize_the_smallest, quantize_to_every_number
from .vector_bench import begin
from .vector_model import expected_output, instructions, steps


def machine(columns, lanes, width, mode="onnx", **more):
    more = {"accumulator_depth": 64, "output_bytes": 1024, "parameter_channels": 64} | more
    return AcceleratorConfig(
        columns=columns, requantize_lanes=lanes, axi_data_width=width, requantize_mode=mode, **more
    )


@cocotb.test()
async def equals_golden(dut):
    bench = await begin(dut)
    cfg = bench.cfg
    modes = tuple(bench_params().get("modes", [VectorMode.REQUANTIZE]))
    program = instructions(cfg, bench.rng, bench_params()["count"], modes=modes)
    expected = await bench.output()
    bench.source.put(program)
    await bench.finish(len(program))
    assert not bench.errors, f"refused: {program[len(bench.taken) - 1]}"
    assert [mask for _, mask in bench.done] == [fields["signal"] for fields in program]
    expected_output(cfg, program, bench.raw, bench.accumulators, expected, bench.state)
    if cfg.slots:
        record = dut.slots_record.value.to_unsigned().to_bytes(64, "little")
        assert record == bench.state.slots.tobytes()
    wrong = np.flatnonzero(await bench.output() != expected)
    assert not len(wrong), f"bytes {wrong[:8]} of {len(wrong)} wrong"
    if cfg.dynamic:
        await quantize_to_every_number(bench, expected)
        assert not bench.errors
        await quantize_the_smallest(bench, expected)


@cocotb.test()
async def takes_a_cycle_a_step(dut):
    """From transfer to answer: ``cost`` cycles and one more for every step after the first."""
    bench = await begin(dut)
    cfg, params = bench.cfg, bench_params()
    whole = {"zero_point": 3, "low": -128, "high": 127, "channels": cfg.columns, "line_pitch": 9}
    long = {**whole, "pixels": 7, "lines": 9, "pixel_pitch": cfg.columns}
    short = {**whole, "channels": 1, "pixels": 1, "lines": 1, "pixel_pitch": 1}
    pixel = {**short, "pixels": 8}
    program = [long, long, pixel, short, short, long]
    if cfg.pooling:
        shape = window_field(rows=3, columns=2, pixel_entries=2, line_entries=4)
        windows = {"pixels": 2, "lines": 3, "scales": shape, "tile_entries": 7}
        program[2:2] = [{**whole, **windows, "pixel_pitch": cfg.columns}]
    await bench.source.send(program)
    await bench.finish(len(program))
    lengths = [len(list(steps(cfg, {"parameter": 0, "accumulator": 0, "local": 0, **f})))
               for f in program]
    start, finished = bench.taken[0], []
    for length in lengths:
        finished.append(start + params["cost"] + length - 1)
        start += max(length, params["interval"])
    assert [cycle for cycle, _ in bench.done] == finished


@cocotb.test()
async def every_mode_answers_when_stated(dut):
    """An instruction of one step, alone: `machine.latency`, for the performance model."""
    bench = await begin(dut)
    step = {"channels": bench.cfg.requantize_lanes, "pixels": 1, "lines": 1, "high": 127}
    for mode in (m for m in vector_modes(bench.cfg) if m != VectorMode.BLOCK):
        ranges = mode in (VectorMode.MEASURE, VectorMode.RANGE)
        for settle in (False, True) if ranges else (False,):
            anew = {"begin": ranges, "high": 7}
            bench.source.put([{**step, **anew, "mode": mode, "settle": settle}])
            await bench.finish(len(bench.taken) + 1)
            assert not bench.errors
            took = bench.done[-1][0] - bench.taken[-1]
            assert took == vector_latency(bench.cfg, mode, settle=settle), (mode.name, settle)
    if bench.cfg.residual:
        bench.source.put([{**step, "residual": 1}])
        await bench.finish(len(bench.taken) + 1)
        took = bench.done[-1][0] - bench.taken[-1]
        assert took == vector_latency(bench.cfg, residual=True)


@cocotb.test()
async def stops_at_a_fault(dut):
    bench = await begin(dut)
    cfg = bench.cfg
    good = instructions(cfg, bench.rng, 2)
    bad = {**good[0], "channels": 1, "pixels": 5, "lines": 1, "local": 2, "pixel_pitch": -1}
    bad["accumulator"] = 0
    expected = await bench.output()
    await bench.source.send([good[0], bad])
    bench.source.put([good[1]])
    await bench.finish(2)
    await ClockCycles(dut.clk, 60)
    assert bench.errors == [ErrorCode.SCRATCHPAD_RANGE | Engine.VECTOR << 8]
    assert len(bench.done) == 1
    assert bench.source.sent == 2
    done = {**bad, "pixels": 3}
    expected_output(cfg, [good[0], done], bench.raw, bench.accumulators, expected, bench.state)
    assert (await bench.output() == expected).all()


def run(cfg, **params):
    unit = VectorEngine(cfg)
    known = {"config": cfg.to_dict(), "seed": [7, cfg.columns], "count": 60}
    known |= {"cost": unit.latency, "interval": unit.interval}
    run_cocotb(unit, __name__, params=known | params)


@pytest.mark.parametrize(
    "columns,lanes,width,mode",
    [
        (4, 1, 64, "onnx"),
        (4, 1, 256, "tflite"),
        (4, 3, 64, "onnx"),
        (5, 2, 64, "tflite-single"),
        (5, 2, 256, "onnx"),
        (8, 3, 64, "tflite"),
        (8, 3, 128, "shift"),
        (16, 16, 64, "shift"),
        (16, 16, 128, "onnx"),
        (16, 16, 256, "tflite-single"),
    ],
)
def test_machines(columns, lanes, width, mode):
    run(machine(columns, lanes, width, mode))


@pytest.mark.parametrize("offer", ["random", "bursty"])
def test_pauses(offer):
    cfg = machine(8, 3, 64, "shift")
    params = {"config": cfg.to_dict(), "seed": 5, "count": 60, "offer": offer}
    unit = VectorEngine(cfg)
    run_cocotb(unit, __name__, params=params, testcase="equals_golden")


@pytest.mark.parametrize("columns,lanes,mode", [(4, 4, "onnx"), (5, 2, "tflite")])
def test_short_pipeline(columns, lanes, mode):
    run(machine(columns, lanes, 64, mode, pipeline=()))


@pytest.mark.parametrize("more", [
    {"pipeline": ()}, {"statistics": {"elements": 256}, "requantize_multiplier_width": 9},
    {"functions": {"tables": 2}}, {"residual": {"tables": 2}},
    {"residual": {"tables": 2}, "functions": {"tables": 2}, "pipeline": ()},
    {"real": {"bytes": 512}, "requantize_multiplier_width": 18},
    {"real": {"bytes": 512, "functions": True}},
], ids=["short", "long", "functions", "residual", "both", "real", "real-functions"])
def test_latencies(more):
    cfg = machine(6, 3, 64, dynamic=True, **more)
    run_cocotb(
        VectorEngine(cfg), __name__, testcase="every_mode_answers_when_stated",
        params={"config": cfg.to_dict(), "seed": 3},
    )


@pytest.mark.parametrize("columns,lanes", [(33, 2), (64, 1)])
def test_many_groups(columns, lanes):
    cfg = machine(columns, lanes, 128, "shift", parameter_channels=128, output_bytes=4096)
    run(cfg, count=20)


@pytest.mark.parametrize("columns,lanes,block,scale,offer", [
    (4, 1, 8, "pot", "always"), (8, 2, 8, "free", "always"), (8, 4, 16, "pot", "bursty"),
    (16, 8, 8, "pot", "always"), (16, 8, 64, "free", "random"), (4, 1, 32, "free", "always"),
])
def test_blocks(columns, lanes, block, scale, offer):
    cfg = machine(columns, lanes, 64, output_bytes=1024, blocks={"channels": block, "scale": scale})
    modes = [VectorMode.REQUANTIZE, VectorMode.RAW, VectorMode.BLOCK, VectorMode.BLOCK]
    params = {"config": cfg.to_dict(), "seed": 9, "count": 24, "offer": offer, "modes": modes}
    run_cocotb(
        VectorEngine(cfg), __name__, testcase="equals_golden", params=params
    )


@pytest.mark.parametrize("columns,lanes,width,mode,more", [
    (4, 1, 64, "onnx", {}), (8, 4, 128, "shift", {"requantize_multiplier_width": 18}),
    (6, 3, 256, "tflite", {}), (8, 2, 64, "onnx", {"blocks": {"channels": 8}}),
])
def test_dynamic(columns, lanes, width, mode, more):
    cfg = machine(columns, lanes, width, mode, dynamic=True, **more)
    # The multiplier is a binary32 number in every mode; not all requantizers take that.
    modes = [VectorMode.RAW] if mode == "tflite" else [VectorMode.RAW, VectorMode.REQUANTIZE]
    modes += [VectorMode.MEASURE, VectorMode.QUANTIZE] * 2
    modes += [VectorMode.BLOCK] if cfg.blocks.channels else []
    params = {"config": cfg.to_dict(), "seed": 9, "count": 30, "modes": modes}
    run_cocotb(
        VectorEngine(cfg), __name__, testcase="equals_golden", params=params
    )


def test_without_initial_values(icarus):
    cfg = machine(5, 2, 64, "shift", output_bytes=256)
    params = {"config": cfg.to_dict(), "seed": 11, "count": 40}
    run_cocotb(
        VectorEngine(cfg), __name__, testcase="equals_golden", params=params,
        uninitialized=True, simulator=icarus,
    )
