# SPDX-License-Identifier: Apache-2.0
"""Statistics of corner and random blocks, exact, at one vector a cycle."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.golden.statistics import StatisticsRecord
from kiwicha.hw.statistics.statistics import Statistics, statistics_layout, statistics_step
from kiwicha.machine.isa import STATISTICS_RECORD

from ..support.bench import bench_params, run_cocotb
from ..support.streams import StreamSource, start_clock_and_reset, unpack
from .vectors import corner_blocks, random_blocks

#: lanes, block
SHAPES = [(1, 4), (3, 32), (5, 8), (4, 1 << 30)]


def to_steps(values, begin, lanes, rng):
    """Yield the vectors of some values; some lanes, and some whole vectors, hold noise only."""
    queue = list(values)
    while queue:
        present = (1 << lanes) - 1 if rng.random() < 0.6 else int(rng.integers(1 << lanes))
        while present.bit_count() > len(queue):
            present &= present - 1
        vector = [int(x) for x in rng.integers(-(1 << 31), 1 << 31, lanes)]
        for lane in range(lanes):
            if present >> lane & 1:
                vector[lane] = queue.pop(0)
        yield {"values": vector, "present": present, "begin": begin}
        begin = 0


def fields_of(octets, layout):
    """Return what the members of ``layout`` are in a record."""
    record = unpack(STATISTICS_RECORD, int.from_bytes(octets.tobytes(), "little"))
    return {name: record[name] for name, _ in layout}


def parts(block):
    """Return (begin, values): blocks, some of them in parts."""
    alone = [
        *corner_blocks(block), *random_blocks(4, 30, block),
        # As many as fit, one more, some more, and enough to wrap all counters.
        *([k - 7 for k in range(n)] for n in (block, block + 1, 2 * block + 3, 9 * block)),
    ]
    several = [[0], [-(1 << 31)], [1] * (block - 2), [5], [6], [7] * block]
    return [
        (0, [3, -1][:block]),  # the first one needs no beginning
        *((1, values) for values in alone),
        *((int(index == 0), values) for index, values in enumerate(several)),
        (1, [-9]),
    ]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def equals_the_golden_model(dut):
    params = bench_params()
    (lanes, block), latency = params["shape"], params["latency"]
    layout, rng = statistics_layout(lanes, block), np.random.default_rng(3)
    await start_clock_and_reset(dut)
    seen, sent = [], []  # the statistics in every cycle; the cycle of every vector

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if dut.i__valid.value:
                sent.append(len(seen))
            seen.append(unpack(layout, dut.result.value.to_unsigned()))

    cocotb.start_soon(watch())
    await ClockCycles(dut.clk, 3)
    golden, program, expected = StatisticsRecord(), [], []
    assert seen[-1] == fields_of(golden.octets(), layout)
    nothing = {"values": [1 << 30] * lanes, "present": 0, "begin": 0}
    for begin, values in parts(min(block, 32)):
        program += to_steps(values, begin, lanes, rng)
        golden.add(values, block, begin=bool(begin))
        # An overflow takes two cycles more; often the next block comes without a gap.
        if golden.overflow or rng.random() < 0.5:
            program += [nothing] * 2
        expected.append((len(program) - 1, fields_of(golden.octets(), layout), values))
    source = StreamSource(dut, "i", statistics_step(lanes), policy=params["offer"], seed=2)
    source.put(program)
    while len(sent) < len(program):
        await RisingEdge(dut.clk)
    await ClockCycles(dut.clk, latency + 1)
    for vector, fields, values in expected:
        assert seen[sent[vector] + latency - 2] == fields, values
    assert seen[-1] == expected[-1][1]


@pytest.mark.parametrize("offer", ["always", "random", "bursty"])
def test_policies(offer):
    run((2, 16), offer)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape):
    run(shape, "always")


def run(shape, offer):
    unit = Statistics(*shape)
    params = {"shape": shape, "offer": offer, "latency": unit.latency}
    run_cocotb(unit, __name__, params=params)


def test_the_record_has_the_same_members():
    names = [name for name, _ in statistics_layout(1, 1)]
    assert names == [name for name, _ in STATISTICS_RECORD if name != "reserved0"]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 8), "lanes is 0; legal: 1 to 64"),
        ((65, 8), "lanes is 65; legal: 1 to 64"),
        ((4, 0), r"block is 0; legal: a power of two, 1 to 2\*\*30"),
        ((4, 24), r"block is 24; legal: a power of two, 1 to 2\*\*30"),
    ],
)
def test_bad_parameters(shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Statistics(*shape)
