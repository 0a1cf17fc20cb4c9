# SPDX-License-Identifier: Apache-2.0
"""Sums in fixed point: every way to round, at the bounds and beyond them."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.vector.sum_round import SumRound
from kiwicha.machine.sum_tables import FRACTION, round_sums

from ..support.bench import bench_params, run_cocotb
from ..support.streams import start_clock_and_reset


def operands(rng):
    """Sums near quarters of all integers where results end, and anything."""
    quarters = rng.permutation(np.arange(-1040, 1040, dtype=np.int64)) << (FRACTION - 2)
    offsets = rng.choice([0, 1, -1, 2, -2, 3, -4, 4, 7, 8, -8, 9, -9, 16, -17], (6, len(quarters)))
    total = (quarters + offsets).reshape(-1)
    a = rng.integers(-(1 << 30), 1 << 30, len(total))
    random = rng.integers(-(1 << 31), 1 << 31, (2, 2000))
    corners = np.array([[x, y] for x in (-(1 << 31), (1 << 31) - 1, 0, -1) for y in (
        -(1 << 31), (1 << 31) - 1, 0, -1)]).T
    return np.concatenate([np.stack([a, total - a]), random, corners], axis=1)


@cocotb.test()
async def rounds(dut):
    low, high = bench_params()["low"], bench_params()["high"]
    a, b = operands(np.random.default_rng(3))
    await start_clock_and_reset(dut)
    dut.low.value, dut.high.value = low, high
    expected = np.clip(round_sums(a + b), low, high)
    for cycle in range(len(a) + SumRound.latency):
        if cycle < len(a):
            dut.a.value, dut.b.value = int(a[cycle]), int(b[cycle])
        await FallingEdge(dut.clk)
        late = cycle - SumRound.latency + 1
        if 0 <= late < len(a):
            assert dut.o.value.to_signed() == expected[late], (a[late], b[late])


@pytest.mark.parametrize("low,high", [(-128, 127), (0, 255), (-7, 40), (9, 9), (-256, 255)])
def test_rounds(low, high):
    run_cocotb(SumRound(), __name__, params={"low": low, "high": high})
