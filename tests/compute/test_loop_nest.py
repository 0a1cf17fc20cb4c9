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

WIDTH, TAIL_WIDTH = 5, 3


def carries(counts):
    """Yield, step by step, which levels have all loops below them in their last iteration."""
    for outer_first in itertools.product(*(range(count) for count in reversed(counts))):
        last = [index == count - 1 for index, count in zip(outer_first[::-1], counts, strict=True)]
        yield [all(last[:level]) for level in range(len(counts) + 1)]


def indices(counts):
    """Yield, step by step, the iteration of each loop."""
    for outer_first in itertools.product(*(range(count) for count in reversed(counts))):
        yield outer_first[::-1]


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def counts_all_steps(dut):
    levels, tails = (bench_params()[name] for name in ("levels", "tails"))
    chooser = random.Random(levels)
    await start_clock_and_reset(dut)
    choices = [[1] * levels, [2] * levels, [31] + [1] * (levels - 1), [1] * (levels - 1) + [31]]
    for _ in range(15):
        choices.append([chooser.choice((1, 1, 2, 3, 4)) for _ in range(levels)])
    for counts in choices:
        dut.counts.value = pack(data.ArrayLayout(WIDTH, levels), counts)
        tail = [chooser.choice((0, count - 1, count // 2)) for count in counts[:tails]]
        tail = [min(number, (1 << TAIL_WIDTH) - 1) for number in tail]
        if tails:
            dut.tail.value = pack(data.ArrayLayout(TAIL_WIDTH, tails), tail)
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        # Twice round, because the last step leads to the first one; then broken off somewhere.
        steps = list(carries(counts))
        ends = list(indices(counts))
        order = [*range(len(steps))] * 2 + [*range(chooser.randrange(len(steps)))]
        for expected, index in ((steps[step], ends[step]) for step in order):
            while chooser.random() < 0.2:
                dut.advance.value = 0
                await FallingEdge(dut.clk)
            dut.advance.value = 1
            await ReadOnly()
            found = dut.carry.value.to_unsigned()
            assert found == sum(bit << level for level, bit in enumerate(expected))
            if tails:
                beyond = dut.beyond.value.to_unsigned()
                for level in range(tails):
                    expected_bit = index[level] >= counts[level] - tail[level]
                    assert bool(beyond >> level & 1) == expected_bit
            await FallingEdge(dut.clk)
        dut.advance.value = 0


@pytest.mark.parametrize(("levels", "tails"), [(1, 0), (2, 0), (4, 0), (7, 0), (2, 2), (4, 2)])
def test_counts_all_steps(levels, tails):
    params = {"levels": levels, "tails": tails}
    run_cocotb(LoopNest(levels, WIDTH, tails, TAIL_WIDTH), __name__, params=params)


def test_illegal_parameters():
    with pytest.raises(ValueError, match=r"^levels is 0; legal: at least 1$"):
        LoopNest(0, 4)
    with pytest.raises(ValueError, match=r"^width is 1; legal: at least 2$"):
        LoopNest(3, 1)
    with pytest.raises(ValueError, match=r"^tails is 4; legal: 0 to 3$"):
        LoopNest(3, 4, 4)
