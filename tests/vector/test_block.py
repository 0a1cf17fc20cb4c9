# SPDX-License-Identifier: Apache-2.0
"""VECTOR's mode BLOCK: roundings, the best of several ways, short blocks behind a long one."""

import cocotb
import numpy as np
import pytest

from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import index_fields
from kiwicha.machine.isa import VectorMode
from kiwicha.machine.modes import BlockCriterion, BlockRounding, BlockScale

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import start_clock_and_reset
from .test_vector import machine
from .vector_bench import Bench, begin
from .vector_model import expected_output, instructions

FOUR = [(4, 0), (4, 1), (4, 2), (4, 3)]
MIXED = [(2, 0), (8, 7), (5, 1), (8, 0), (3, 2)]


async def compare(bench, program):
    """Run the program and compare all of the output buffer."""
    expected, done = await bench.output(), len(bench.done)
    bench.source.put(program)
    await bench.finish(done + len(program))
    assert not bench.errors, program[len(bench.taken) - done - 1]
    expected_output(bench.cfg, program, bench.raw, bench.accumulators, expected, bench.state)
    wrong = np.flatnonzero(await bench.output() != expected)
    assert not len(wrong), f"bytes {wrong[:8]} of {len(wrong)} wrong"
    return expected


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def equals_golden(dut):
    cfg = AcceleratorConfig(**bench_params()["config"])
    await start_clock_and_reset(dut)
    bench = Bench(dut, cfg, bench_params()["seed"])
    rng = bench.rng
    # Clips are worth something where a few values are great.
    wide = np.rint(rng.standard_t(2, bench.accumulators.shape) * 2.0 ** rng.integers(4, 22))
    bench.accumulators[:] = np.clip(wide, -(1 << 31), (1 << 31) - 1)
    bench.records["bias"] = rng.integers(-9, 10, len(bench.records))
    await bench.load()
    program = instructions(cfg, rng, 14, modes=(VectorMode.BLOCK,))
    expected = await compare(bench, program)
    first = min(fields["scales"] for fields in program)
    assert len(np.unique(expected[first:])) > 2, "one way was always the best"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def rounds(dut):
    """Blocks whose scales are 2 to 16 exactly, so that many values lie between two integers."""
    cfg = AcceleratorConfig(**bench_params()["config"])
    await start_clock_and_reset(dut)
    bench = Bench(dut, cfg, bench_params()["seed"])
    rng, (entries, columns) = bench.rng, bench.accumulators.shape
    greatest = 127 << rng.integers(1, 5, (entries, 1))
    values = rng.integers(-greatest, greatest + 1, (entries, columns))
    values[np.arange(entries), rng.integers(columns, size=entries)] = greatest[:, 0]
    bench.accumulators[:], bench.records["bias"] = values, 0
    await bench.load()
    program = instructions(cfg, rng, 14, modes=(VectorMode.BLOCK,))
    before = await bench.output()
    expected = await compare(bench, program)
    for other in set(BlockRounding) - {cfg.blocks.rounding}:
        if other is BlockRounding.LFSR and cfg.blocks.scale is BlockScale.MULTIWAY:
            continue
        wrong = before.copy()
        changed = cfg.replace(blocks={"rounding": other})
        expected_output(changed, program, bench.raw, bench.accumulators, wrong, bench.state)
        assert (wrong != expected).any(), f"{other.value} gives the same"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def depends_on_the_place_alone(dut):
    """A tensor in one instruction and in several; other seeds, steps and places."""
    bench = await begin(dut)
    base = {"mode": VectorMode.BLOCK, "pixel_pitch": 13, "line_pitch": 39, "parameter": 0}
    base |= {"accumulator": 0, "signal": 1, "tiles": 0, "tile_entries": 0}
    tiled = {"channels": 13, "tiles": 1, "tile_entries": 20}
    size, first, pitch = 6 * 13, 2**32 - 50, 29
    whole = base | tiled | {"pixels": 3, "lines": 2, "local": 0, "scales": 512}
    line = base | tiled | {"pixels": 3, "lines": 1, "local": size, "scales": 540}
    left = base | {"channels": 8, "pixels": 3, "lines": 1, "accumulator": 3}
    left |= {"local": size + 39, "scales": 550}
    right = left | {"channels": 5, "accumulator": 23, "parameter": 4}
    right |= {"local": size + 47, "scales": 560}
    indices = (0, 0, 3 * pitch, 3 * pitch + 8)
    program = [
        fields | index_fields((first + index) % 2**32, pitch)
        for fields, index in zip((whole, line, left, right), indices, strict=True)
    ]
    made = await compare(bench, program)
    assert (made[:size] == made[size : 2 * size]).all()
    seen, state = [made[:size]], bench.state
    for seed, step, place, apart in (
        (state.seed ^ 1, state.step, first, pitch), (state.seed, state.step + 1, first, pitch),
        (state.seed, state.step, first + 1, pitch), (state.seed, state.step, first, pitch + 1),
    ):
        state.seed, state.step = seed, step
        bench.dut.random.value = seed | step << 32
        made = await compare(bench, [whole | index_fields(place, apart)])
        assert all((made[:size] != other).any() for other in seen)
        seen.append(made[:size])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def waits_for_a_long_block(dut):
    """Forty blocks of one channel come while one of 128 leaves; and the same once more."""
    bench = await begin(dut)
    base = {"mode": VectorMode.BLOCK, "low": -128, "high": 127, "zero_point": 0, "lines": 1}
    base |= {"line_pitch": 0, "accumulator": 0, "parameter": 0, "signal": 3}
    base |= {"tiles": 0, "tile_entries": 0, "pixel_pitch": 1}
    long = {"channels": 128, "tiles": 31, "tile_entries": 1, "pixels": 1}
    short = {"channels": 1, "pixels": 40}
    program = [
        base | long | {"local": 0, "scales": 500},
        base | short | {"local": 128, "scales": 520},
        base | long | {"local": 200, "scales": 600},
        base | long | {"local": 328, "scales": 610},
        base | short | {"local": 456, "scales": 620},
    ]
    await compare(bench, program)


def run(cfg, testcase, offer="always"):
    params = {"config": cfg.to_dict(), "seed": 3, "offer": offer}
    run_cocotb(VectorEngine(cfg), __name__, params=params, testcase=testcase)


@slow("bias-ways2", "qem-ways4")
@pytest.mark.parametrize("criterion,ways", [
    *((criterion, FOUR) for criterion in BlockCriterion), (BlockCriterion.L1, MIXED),
])
def test_every_criterion(criterion, ways):
    cfg = machine(
        4, 2, 64, "shift",
        blocks={"channels": 8, "scale": "multiway", "ways": ways, "criterion": criterion},
    )
    run(cfg, "equals_golden")


@slow(
    "half_even-pot-4-16-always", "half_up-free-4-16-always", "lfsr-pot-1-8-always",
    "pseudo-free-2-8-always",
)
@pytest.mark.parametrize("rounding,scale,lanes,block,offer", [
    ("half_even", "pot", 4, 16, "always"), ("half_up", "pot", 2, 8, "random"),
    ("half_away", "pot", 1, 8, "always"), ("pseudo", "pot", 4, 16, "bursty"),
    ("lfsr", "pot", 1, 8, "always"), ("lfsr", "pot", 4, 32, "random"),
    ("half_up", "free", 4, 16, "always"), ("half_away", "free", 2, 8, "bursty"),
    ("pseudo", "free", 2, 8, "always"), ("lfsr", "free", 2, 16, "bursty"),
    ("half_up", "multiway", 2, 8, "always"), ("half_away", "multiway", 2, 8, "random"),
    ("pseudo", "multiway", 2, 8, "bursty"),
])
def test_roundings(rounding, scale, lanes, block, offer):
    cfg = machine(
        8, lanes, 64, "shift",
        blocks={"channels": block, "scale": scale, "rounding": rounding, "ways": [(8, 0), (4, 1)]},
    )
    run(cfg, "rounds", offer)


@pytest.mark.parametrize("scale", ["pot", "free"])
def test_random_words_follow_the_place(scale):
    cfg = machine(8, 2, 64, blocks={"channels": 8, "scale": scale, "rounding": "lfsr"})
    run(cfg, "depends_on_the_place_alone")


@pytest.mark.parametrize("scale", ["pot", "free", "multiway"])
def test_short_blocks_behind_a_long_one(scale):
    cfg = machine(
        4, 1, 64, "shift", blocks={"channels": 128, "scale": scale, "ways": [(8, 0)]},
        parameter_channels=128,
    )
    run(cfg, "waits_for_a_long_block")
