# SPDX-License-Identifier: Apache-2.0
"""Shifted sums against NITI's golden model: all shifts, both roundings, all of int32's range."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.golden.niti import shifted
from kiwicha.hw.vector.shift_lanes import ShiftLanes, shift_step
from kiwicha.machine.config import AcceleratorConfig

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset
from .shift_cases import words_for

BOUNDS = [(-127, 127), (0, 127), (-128, 127), (-3, 90), (17, 17), (-256, 255), (-256, -200)]


def machine(lanes, pipeline):
    return AcceleratorConfig(columns=8, requantize_lanes=lanes, pipeline=pipeline)


def packed(words, pseudo, low, high):
    """Return a step's bits, much faster than `pack`."""
    bounds = pseudo | (low & 0x1FF) << 1 | (high & 0x1FF) << 10
    return int.from_bytes(words.astype("<i4").tobytes(), "little") | bounds << 32 * len(words)


@cocotb.test()
async def equals_golden(dut):
    params = bench_params()
    cfg = machine(params["lanes"], params["pipeline"])
    lanes = cfg.requantize_lanes
    assert packed(np.full(lanes, -2), 1, -3, 5) == pack(
        shift_step(cfg), {"words": [-2] * lanes, "pseudo": 1, "low": -3, "high": 5}
    )
    rng = np.random.default_rng(5)
    await start_clock_and_reset(dut)
    for shift in (*range(34), 64, 255):
        words = words_for(rng, shift, params["count"])
        words = rng.permutation(words)[: len(words) // lanes * lanes].reshape(-1, lanes)
        steps, dut.shift.value = [], shift
        for row in words:
            pseudo, bounds = int(rng.integers(2)), BOUNDS[rng.integers(len(BOUNDS))]
            steps.append((row, pseudo, *bounds))
        expected = [
            shifted(row, shift, "pseudo" if pseudo else "half_up", low, high).view(np.uint8)
            for row, pseudo, low, high in steps
        ]
        seen, sent = [], []
        for cycle in range(len(steps) + 2 * params["latency"]):
            valid = cycle < len(steps) and (cycle < 9 or rng.random() < 0.9)
            dut.i__valid.value = int(valid)
            dut.i__payload.value = packed(*steps[min(cycle, len(steps) - 1)])
            if valid:
                sent.append((cycle + params["latency"], expected[cycle].tolist()))
            await FallingEdge(dut.clk)
            if dut.o__valid.value:
                word = dut.o__payload.value.to_unsigned()
                octets = [word >> 8 * lane & 0xFF for lane in range(lanes)]
                seen.append((cycle + 1, octets))
        assert seen == sent, f"shift {shift}"


@pytest.mark.parametrize("lanes,pipeline,more,count", [
    (1, (), 2, 4), (3, (), 0, 20), (3, ("requantizer",), 0, 20), (8, ("requantizer",), 9, 20),
])
def test_against_golden(lanes, pipeline, more, count):
    cfg = machine(lanes, pipeline)
    unit = ShiftLanes(cfg, 3 + len(pipeline) + more)
    params = {"lanes": lanes, "pipeline": pipeline, "latency": unit.latency, "count": count}
    run_cocotb(unit, __name__, params=params, simulator="verilator")


def test_too_soon():
    with pytest.raises(ValueError, match="latency is 3; legal: 4 or more"):
        ShiftLanes(machine(1, ("requantizer",)), 3)
