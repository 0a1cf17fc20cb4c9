# SPDX-License-Identifier: Apache-2.0
"""The COMPUTE engine on random programs: every accumulator, every cycle, every fault."""

import cocotb
import numpy as np
import pytest
from amaranth.lib import data
from cocotb.triggers import FallingEdge, RisingEdge

from kiwicha.golden.compute import compute
from kiwicha.hw.compute.compute import ComputeEngine
from kiwicha.hw.parts.fault import FAULT
from kiwicha.hw.parts.writes import scratchpad_write, weight_write
from kiwicha.machine import isa
from kiwicha.machine.isa import SLOTS
from kiwicha.machine.records import SLOT_LAYOUT

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import StreamSource, pack, start_clock_and_reset, unpack
from .compute_cases import (
    MACHINES,
    broken,
    entry_cycles,
    first_fill,
    level,
    machine,
    random_memories,
    random_program,
    weight_writes,
)

ZEROS = (255, 1, 86, 128)
"""Zero points of the slots."""


def run(name, testcase, *, uninitialized=False, simulator=None, **params):
    """Run a test on the engine as it is shipped, or without initial values."""
    params["config"] = name
    run_cocotb(
        ComputeEngine(machine(name)), __name__, testcase=testcase, params=params, cells=True,
        uninitialized=uninitialized, simulator=simulator,
    )


class Bench:
    """The engine's surroundings: fills the scratchpads, watches, reads accumulators."""

    def __init__(self, dut, cfg):
        self.dut, self.cfg = dut, cfg
        self.unit = ComputeEngine(cfg)
        self.cycle = 0
        self.entered, self.done, self.errors = [], [], []
        self.first_valid: int | None = None
        cocotb.start_soon(self._watch())

    async def _watch(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            if int(dut.i__valid.value) and self.first_valid is None:
                self.first_valid = self.cycle
            if int(dut.stepping.value):
                self.entered.append(self.cycle)
                assert int(dut.busy.value)
            if int(dut.done__valid.value):
                self.done.append((self.cycle, int(dut.done__payload.value)))
                assert int(dut.busy.value)
            if int(dut.error__valid.value):
                self.errors.append(unpack(FAULT, dut.error__payload.value.to_unsigned()))
            self.cycle += 1

    async def fill(self, activation, weight):
        beat, shape = self.cfg.beat_bytes, scratchpad_write(self.cfg)
        for address in range(0, len(activation), beat):
            word = int.from_bytes(activation[address : address + beat].tobytes(), "little")
            fields = {"target": isa.LoadTarget.ACTIVATION, "address": address, "data": word}
            self.dut.write__payload.value = pack(shape, fields)
            self.dut.write__valid.value = 1
            await FallingEdge(self.dut.clk)
        # Other targets are not for this port.
        for target in (isa.LoadTarget.WEIGHT, isa.LoadTarget.PARAMETER):
            other = {"target": target, "address": 0, "data": 0}
            self.dut.write__payload.value = pack(shape, other)
            await FallingEdge(self.dut.clk)
        self.dut.write__valid.value = 0
        self.dut.weight_write__valid.value = 1
        shape = weight_write(self.cfg)
        for fields in weight_writes(self.cfg, weight):
            self.dut.weight_write__payload.value = pack(shape, fields)
            await FallingEdge(self.dut.clk)
        self.dut.weight_write__valid.value = 0

    def source(self, policy="always", seed=1):
        return StreamSource(self.dut, "i", isa.COMPUTE, policy=policy, seed=seed)

    async def offer(self, fields):
        """Hold an instruction at the input until it is taken."""
        self.dut.i__payload.value = pack(isa.COMPUTE, fields)
        self.dut.i__valid.value = 1
        await RisingEdge(self.dut.i__ready)
        await FallingEdge(self.dut.clk)
        self.dut.i__valid.value = 0

    async def finish(self, done):
        """Wait until so many instructions are done."""
        while len(self.done) < done:
            await FallingEdge(self.dut.clk)
            assert not self.errors
        await FallingEdge(self.dut.clk)
        assert not int(self.dut.busy.value)

    async def accumulators(self, entries=None):
        columns = self.cfg.columns
        found = np.zeros((self.cfg.accumulator_depth, columns), np.int32)
        for entry in range(len(found)) if entries is None else entries:
            self.dut.read_entry.value = entry
            for _ in range(self.unit.read_latency):
                await FallingEdge(self.dut.clk)
            word = self.dut.read_data.value.to_unsigned()
            found[entry] = np.frombuffer(word.to_bytes(4 * columns, "little"), "<i4")
        return found


async def start(dut, cfg, seed=1):
    await start_clock_and_reset(dut)
    bench = Bench(dut, cfg)
    if cfg.dynamic:
        slots = [{"scale": ~zero & 0xFFFFFFFF, "zero_point": zero} for zero in ZEROS]
        dut.slots.value = pack(data.ArrayLayout(SLOT_LAYOUT, SLOTS), slots)
    activation, weight = random_memories(cfg, seed)
    await bench.fill(activation, weight)
    return bench, activation, weight


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def programs(dut):
    params = bench_params()
    cfg = machine(params["config"])
    bench, activation, weight = await start(dut, cfg, params["seed"])
    program = [first_fill(cfg), *random_program(cfg, params["seed"], params["length"])]
    bench.source(params["policy"], params["seed"]).put(program)
    await bench.finish(len(program))
    expected = np.zeros((cfg.accumulator_depth, cfg.columns), np.int32)
    for fields in program:
        zero = {"activation_zero": ZEROS[fields["slot"]]} if fields["dynamic"] else {}
        compute(fields | zero, activation, weight, expected, cfg.rows)
    assert [signal for _, signal in bench.done] == [fields["signal"] for fields in program]
    assert np.array_equal(await bench.accumulators(), expected)

    cycles = entry_cycles(program, bench.unit.interval, bench.unit.gap)
    assert len(bench.entered) == len(cycles)
    if params["policy"] == "always":
        begin = bench.first_valid + bench.unit.latency
        assert bench.entered == [begin + cycle for cycle in cycles]
        assert bench.done[-1][0] == bench.entered[-1] + bench.unit.drain


@slow(
    "2x16-always", "8x16-always", "9x2-always", "3x16t-always", "4x5t-random", "4x5t-bursty",
    "4x3d-random", "4x3d-bursty", "4x3s-random", "4x3s-bursty",
)
@pytest.mark.parametrize(
    ("name", "policy"),
    [
        (name, policy)
        for policy in ("always", "random", "bursty")
        for name in MACHINES
        if policy == "always" or name in ("4x4", "3x5", "4x5t", "4x3d", "4x3s")
    ],
)
def test_programs(name, policy):
    length = 40 if MACHINES[name][1] <= 5 else 12
    run(name, "programs", policy=policy, seed=5, length=length)


def test_without_initial_values(icarus):
    run("4x4", "programs", uninitialized=True, simulator=icarus, policy="random", seed=6, length=20)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def long_instruction(dut):
    """A 3x3 convolution of 3x5 pixels, two channel tiles: steps and a constant, no more."""
    cfg = machine(bench_params()["config"])
    bench, activation, weight = await start(dut, cfg)
    pitch, rows, width, height = 16, 3, 5, 3
    fields = {**first_fill(cfg), "rows": rows, "y": -1, "x": -1, "address": -pitch - 1 + 64}
    fields |= {"y_limit": height, "x_limit": width, "pad": 7, "weight_stride": 1}
    fields["levels"] = [
        level(width, 0, 1, 1),
        level(height, 1, 1 - width, pitch - width + 1),
        level(1),
        level(3, 1 - height, 2 - width, 1 - (height - 1) * pitch - (width - 1)),
        level(3, 2 - height, -1 - width, pitch - 2 - (height - 1) * pitch - (width - 1)),
        level(1),
        level(2, -1 - height, -1 - width, -2 * pitch - 2 - (height - 1) * pitch - (width - 1)),
    ]
    bench.source().put([fields, fields])
    await bench.finish(2)
    expected = np.zeros((cfg.accumulator_depth, cfg.columns), np.int32)
    compute(fields, activation, weight, expected, cfg.rows)
    assert np.array_equal(await bench.accumulators(), expected)

    unit, steps = bench.unit, width * height * 9 * 2
    assert len(bench.entered) == 2 * steps
    assert bench.done[0][0] - bench.first_valid == unit.latency + steps - 1 + unit.drain
    assert bench.done[1][0] - bench.done[0][0] == steps + unit.gap - 1
    # Every register of the pipeline is a cycle of one or of the other, and of both behind memory.
    latency, drain = {"4x4": (9, 6), "4x4a": (8, 5), "4x4m": (8, 5), "4x4s": (7, 4)}[
        bench_params()["config"]
    ]
    assert (unit.latency, unit.drain) == (latency, cfg.rows + cfg.columns + drain)


@slow("4x4a", "4x4m")
@pytest.mark.parametrize("name", ["4x4", "4x4a", "4x4m", "4x4s"])
def test_long_instruction(name):
    run(name, "long_instruction")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def product(dut):
    """A vector by a matrix, a tile for every vector: tiles follow at the interval, exactly."""
    cfg = machine(bench_params()["config"])
    bench, activation, weight = await start(dut, cfg)
    deep, wide = 3, min(8, cfg.accumulator_depth // 4)
    fields = {**first_fill(cfg), "rows": cfg.rows, "address": 5, "weight_stride": 1}
    fields |= {"activation_signed": 1, "weight_signed": 1, "weight_zero": -3}
    levels = [level() for _ in range(isa.LEVELS)]
    levels[isa.LEVEL_REDUCTION] = level(deep, 0, 0, cfg.rows)
    levels[isa.LEVEL_CHANNEL] = level(wide, 0, 0, -(deep - 1) * cfg.rows)
    fields["levels"] = levels
    await bench.offer(first_fill(cfg))
    await bench.finish(1)
    bench.entered.clear()
    await bench.offer(fields)
    await bench.finish(2)
    expected = np.zeros((cfg.accumulator_depth, cfg.columns), np.int32)
    for executed in (first_fill(cfg), fields):
        compute(executed, activation, weight, expected, cfg.rows)
    assert np.array_equal(await bench.accumulators(), expected)
    # However many columns there are.
    apart = max(cfg.rows, 7 - ("s" in bench_params()["config"]))
    assert bench.entered == [bench.entered[0] + apart * tile for tile in range(deep * wide)]


@slow("2x16", "9x2", "4x4")
@pytest.mark.parametrize("name", ["2x16", "8x16", "9x2", "4x4", "3x16t", "4x5t", "3x5s"])
def test_product(name):
    run(name, "product")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def drains_meanwhile(dut):
    """One half is read while the other one is updated."""
    cfg = machine(bench_params()["config"])
    bench, activation, weight = await start(dut, cfg)
    half = cfg.accumulator_depth // 2
    low = {**first_fill(cfg), "activation_zero": 5}
    low["levels"] = [level(half, 0, 0, 5), *low["levels"][1:]]
    high = {**low, "accumulator": half, "address": 9, "levels": [*low["levels"]]}
    high["levels"][isa.LEVEL_REDUCTION] = level(20)
    await bench.offer(low)
    await bench.finish(1)
    dut.i__payload.value = pack(isa.COMPUTE, high)
    dut.i__valid.value = 1
    expected = np.zeros((cfg.accumulator_depth, cfg.columns), np.int32)
    compute(low, activation, weight, expected, cfg.rows)
    rounds, begun = 3, len(bench.entered)
    for _ in range(rounds):
        assert np.array_equal((await bench.accumulators(range(half)))[:half], expected[:half])
    # The other half was at work all the time, but for its latency.
    spent = rounds * half * bench.unit.read_latency
    assert len(bench.entered) - begun >= spent - bench.unit.latency > spent // 2
    assert len(bench.done) == 1


@slow("4x4a", "4x4m")
@pytest.mark.parametrize("name", ["4x4", "4x4a", "4x4m", "4x3s"])
def test_drains_meanwhile(name):
    run(name, "drains_meanwhile")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def faults(dut):
    cfg = machine(bench_params()["config"])
    legal = first_fill(cfg)
    bench, activation, weight = await start(dut, cfg)
    after = {**legal, "activation_zero": 77}
    for name, fields, code in broken(cfg):
        await bench.offer(legal)
        await bench.finish(len(bench.done) + 1)
        done, before = len(bench.done), len(bench.entered)
        dut.i__payload.value = pack(isa.COMPUTE, fields)
        dut.i__valid.value = 1
        for _ in range(40):
            await FallingEdge(dut.clk)
        dut.i__payload.value = pack(isa.COMPUTE, after)
        for _ in range(40):
            await FallingEdge(dut.clk)
        dut.i__valid.value = 0
        assert bench.errors == [{"code": code, "address": int(isa.Engine.COMPUTE)}], name
        assert len(bench.done) == done, name
        assert int(dut.busy.value), name
        entered = {"second tile": 4 // 4, "fifth entry": 3}.get(name, 0)
        assert len(bench.entered) - before == entered, name
        # Entries that the refused steps name hold what they held.
        expected = np.zeros((cfg.accumulator_depth, cfg.columns), np.int32)
        compute(legal, activation, weight, expected, cfg.rows)
        if entered == 3:
            levels = [level(3), *fields["levels"][1:]]
            compute({**fields, "levels": levels}, activation, weight, expected, cfg.rows)
        if entered == 1:
            levels = [level() for _ in range(isa.LEVELS)]
            compute({**fields, "levels": levels}, activation, weight, expected, cfg.rows)
        assert np.array_equal(await bench.accumulators(), expected), name
        # Reset recovers completely.
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        bench.errors.clear()


@slow("4x4m")
@pytest.mark.parametrize("name", ["4x4", "4x4m", "4x4a", "3x5s"])
def test_faults(name):
    run(name, "faults")
