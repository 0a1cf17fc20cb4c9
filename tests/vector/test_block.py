# SPDX-License-Identifier: Apache-2.0
"""VECTOR's mode BLOCK: the best of several ways, and short blocks behind a long one."""

import cocotb
import numpy as np
import pytest

from hw.config import AcceleratorConfig, BlockCriterion
from hw.isa import VectorMode
from hw.vector.vector import VectorEngine
from tests.support.bench import bench_params, run_cocotb
from tests.support.streams import start_clock_and_reset
from tests.vector.test_vector import READ_LATENCY, Bench, begin, machine
from tests.vector.vector_model import expected_output, instructions

FOUR = [(4, 0), (4, 1), (4, 2), (4, 3)]
MIXED = [(2, 0), (8, 7), (5, 1), (8, 0), (3, 2)]


async def compare(bench, program):
    """Run the program and compare all of the output buffer."""
    expected = await bench.output()
    bench.source.put(program)
    await bench.finish(len(program))
    assert not bench.errors, program[len(bench.taken) - 1]
    expected_output(bench.cfg, program, bench.raw, bench.accumulators, expected, bench.state)
    wrong = np.flatnonzero(await bench.output() != expected)
    assert not len(wrong), f"bytes {wrong[:8]} of {len(wrong)} wrong"
    return expected


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def equals_golden(dut):
    cfg = AcceleratorConfig(**bench_params()["config"])
    await start_clock_and_reset(dut)
    bench = Bench(dut, cfg, READ_LATENCY, bench_params()["seed"])
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


def run(cfg, testcase):
    params = {"config": cfg.to_dict(), "seed": 3}
    run_cocotb(VectorEngine(cfg, READ_LATENCY), __name__, params=params, testcase=testcase)


@pytest.mark.parametrize("criterion,ways", [
    *((criterion, FOUR) for criterion in BlockCriterion), (BlockCriterion.L1, MIXED),
])  # fmt: skip
def test_every_criterion(criterion, ways):
    cfg = machine(
        4, 2, 64, "shift", block_channels=8, block_scale="multiway", block_ways=ways,
        block_criterion=criterion,
    )  # fmt: skip
    run(cfg, "equals_golden")


@pytest.mark.parametrize("scale", ["pot", "free", "multiway"])
def test_short_blocks_behind_a_long_one(scale):
    cfg = machine(
        4, 1, 64, "shift", block_channels=128, block_scale=scale, block_ways=[(8, 0)],
        parameter_channels=128,
    )  # fmt: skip
    run(cfg, "waits_for_a_long_block")
