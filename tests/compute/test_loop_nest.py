# SPDX-License-Identifier: Apache-2.0
"""Every step of nested loops against itertools, with pauses and restarts."""

import itertools
import random

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import FallingEdge, ReadOnly

from kiwicha.hw.compute.loop_nest import LoopNest

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset

WIDTH = 5


def carries(counts):
    """Yield, step by step, which levels have all loops below them in their last iteration."""
    for outer_first in itertools.product(*(range(count) for count in reversed(counts))):
        last = [index == count - 1 for index, count in zip(outer_first[::-1], counts, strict=True)]
        yield [all(last[:level]) for level in range(len(counts) + 1)]


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def counts_all_steps(dut):
    levels = bench_params()["levels"]
    chooser = random.Random(levels)
    await start_clock_and_reset(dut)
    choices = [[1] * levels, [2] * levels, [31] + [1] * (levels - 1), [1] * (levels - 1) + [31]]
    for _ in range(15):
        choices.append([chooser.choice((1, 1, 2, 3, 4)) for _ in range(levels)])
    for counts in choices:
        dut.counts.value = pack(data.ArrayLayout(WIDTH, levels), counts)
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        # Twice round, because the last step leads to the first one; then broken off somewhere.
        steps = list(carries(counts))
        for expected in steps + steps + steps[: chooser.randrange(len(steps))]:
            while chooser.random() < 0.2:
                dut.advance.value = 0
                await FallingEdge(dut.clk)
            dut.advance.value = 1
            await ReadOnly()
            found = dut.carry.value.to_unsigned()
            assert found == sum(bit << level for level, bit in enumerate(expected))
            await FallingEdge(dut.clk)
        dut.advance.value = 0


@pytest.mark.parametrize("levels", [1, 2, 4, 7])
def test_counts_all_steps(levels):
    run_cocotb(LoopNest(levels, WIDTH), __name__, params={"levels": levels})


def test_illegal_parameters():
    with pytest.raises(ValueError, match=r"^levels is 0; legal: at least 1$"):
        LoopNest(0, 4)
    with pytest.raises(ValueError, match=r"^width is 1; legal: at least 2$"):
        LoopNest(3, 1)
