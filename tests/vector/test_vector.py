# SPDX-License-Identifier: Apache-2.0
"""The VECTOR engine against the requantizer's golden model, and its exact cycle counts."""

from collections import deque

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from kiwicha.golden.vector import VectorState
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.modes import vector_modes
from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import window_field
from kiwicha.machine.isa import VECTOR, Engine, ErrorCode, LoadTarget, VectorMode
from kiwicha.machine.latency import accumulator_latency, vector_latency

from ..support.bench import bench_params, run_cocotb
from ..support.streams import StreamSource, pack, start_clock_and_reset
from .dynamic_cases import quantize_the_smallest, quantize_to_every_number
from .vector_model import expected_output, instructions, parameters, steps, sum_state

LIMIT = 30000
"""Cycles after which something hangs."""


def machine(columns, lanes, width, mode="onnx", **more):
    more = {"accumulator_depth": 64, "output_bytes": 1024, "parameter_channels": 64} | more
    return AcceleratorConfig(
        columns=columns, requantize_lanes=lanes, axi_data_width=width, requantize_mode=mode, **more
    )


class Bench:
    """An engine with accumulators and parameters to work on, and a record of what it says."""

    def __init__(self, dut, cfg, seed):
        self.dut, self.cfg, self.latency = dut, cfg, accumulator_latency(cfg)
        rng = np.random.default_rng(seed)
        self.records, self.accumulators, self.raw = parameters(cfg, rng, cfg.accumulator_depth)
        self.rng = rng
        self.state = VectorState()
        self.state.slots["scale"] = rng.uniform(0.5, 1.5, 4)
        self.state.slots["zero_point"] = [0, 120, 255, rng.integers(256)]
        if cfg.training:
            self.state.slots["zero_point"][[0, 3]] = 9, rng.integers(34)
        if cfg.blocks.random:
            self.state.seed, self.state.step = 2**32 - 5, 77
            dut.random.value = self.state.seed | self.state.step << 32
        self.cycle = 0
        self.taken, self.done, self.errors, self.idle = [], [], [], []
        self.source = StreamSource(dut, "i", VECTOR, policy=bench_params().get("offer", "always"))
        cocotb.start_soon(self._accumulators())
        cocotb.start_soon(self._watch())

    async def _accumulators(self):
        weights = [1 << 32 * column for column in range(self.cfg.columns)]
        rows = [
            sum((int(v) & 0xFFFFFFFF) * w for v, w in zip(row, weights, strict=True))
            for row in self.accumulators
        ]
        pipe = deque([0] * (self.latency - 1))
        while True:
            await RisingEdge(self.dut.clk)
            entry = self.dut.read_entry.value
            pipe.append(rows[entry.to_unsigned()] if entry.is_resolvable else 0)
            self.dut.read_data.value = pipe.popleft()

    async def _watch(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            if dut.i__valid.value and dut.i__ready.value:
                self.taken.append(self.cycle)
            if dut.done__valid.value:
                self.done.append((self.cycle, dut.done__payload.value.to_unsigned()))
            if dut.error__valid.value:
                self.errors.append(dut.error__payload.value.to_unsigned())
            # An instruction counts from the cycle after its transfer to the cycle of its answer.
            pending = len([c for c in self.taken if c < self.cycle]) - len(
                [c for c, _ in self.done if c < self.cycle]
            )
            assert bool(dut.busy.value) == (pending > 0), f"busy wrong in cycle {self.cycle}"
            self.cycle += 1

    async def load(self):
        """Write all parameters, and beats for the other memories that must not arrive here."""
        dut, layout = self.dut, scratchpad_write(self.cfg)
        beat = self.cfg.beat_bytes
        order = self.rng.permutation(len(self.raw) // beat)
        for index in order:
            word = int.from_bytes(self.raw[index * beat :][:beat].tobytes(), "little")
            for target, data in ((LoadTarget.PARAMETER, word), (LoadTarget.WEIGHT, ~word)):
                mask = (1 << 8 * beat) - 1
                fields = {"target": target, "address": int(index) * beat, "data": data & mask}
                dut.write__valid.value = 1
                dut.write__payload.value = pack(layout, fields)
                await FallingEdge(dut.clk)
        dut.write__valid.value = 0
        if self.cfg.slots:
            await self.load_slots()
        if self.cfg.functions:
            tables = self.state.functions[: self.cfg.functions.tables]
            tables[:] = self.rng.integers(0, 256, tables.shape)
            await self.write(LoadTarget.FUNCTION, tables.tobytes())
        if self.cfg.residual:
            sum_state(self.cfg, self.rng, self.state)
            await self.write(LoadTarget.ADDEND, self.state.addends.tobytes())
            await self.write(LoadTarget.SUMS, self.state.sums.tobytes())

    async def load_slots(self):
        """Write the slots of dynamic quantization."""
        await self.write(LoadTarget.DYNAMIC, self.state.slots.tobytes())

    async def write(self, target, octets):
        """Write all of a memory."""
        dut, beat = self.dut, self.cfg.beat_bytes
        for address in range(0, len(octets), beat):
            word = int.from_bytes(octets[address : address + beat], "little")
            fields = {"target": target, "address": address, "data": word}
            dut.write__valid.value = 1
            dut.write__payload.value = pack(scratchpad_write(self.cfg), fields)
            await FallingEdge(dut.clk)
        dut.write__valid.value = 0

    async def output(self):
        """Read the whole output buffer, a beat a cycle; a byte that is unknown comes as -1."""
        dut, beat = self.dut, self.cfg.beat_bytes
        data = []
        dut.output_enable.value = 1
        for address in range(0, self.cfg.output_bytes + 2 * beat, beat):
            dut.output_address.value = address
            await RisingEdge(dut.clk)
            if address >= 2 * beat:
                word = str(dut.output_data.value)
                for high in range(8 * beat, 0, -8):
                    bits = word[high - 8 : high]
                    data.append(int(bits, 2) if set(bits) <= {"0", "1"} else -1)
        dut.output_enable.value = 0
        await FallingEdge(dut.clk)
        return np.array(data)

    async def finish(self, count):
        await ClockCycles(self.dut.clk, 1)
        while len(self.done) < count and not self.errors:
            await ClockCycles(self.dut.clk, 1)
            assert self.cycle < LIMIT, f"{len(self.taken)} taken, {len(self.done)} done"


async def begin(dut):
    params = bench_params()
    cfg = AcceleratorConfig(**params["config"])
    await start_clock_and_reset(dut)
    bench = Bench(dut, cfg, params["seed"])
    await bench.load()
    return bench


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
], ids=["short", "long", "functions", "residual", "both"])
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
