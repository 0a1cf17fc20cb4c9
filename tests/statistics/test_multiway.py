# SPDX-License-Identifier: Apache-2.0
"""Blocks of every kind, judged by every criterion, against the golden model."""

import cocotb
import numpy as np
import pytest
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from kiwicha.golden.multiway import multiway_quantize
from kiwicha.hw.parts.lanes import vector_layout
from kiwicha.hw.statistics.multiway import MultiwayQuantize, chosen_layout
from kiwicha.machine.modes import BlockCriterion, BlockRounding

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset
from .vectors import corner_blocks, random_blocks, to_vectors

FOUR = [(3, 0), (4, 0), (4, 1), (4, 2)]


def start(dut, params):
    lanes, ways = params["lanes"], len(params["ways"])
    layout = data.StructLayout({"vector": vector_layout(lanes)})
    source = StreamSource(dut, "i", layout, policy=params["offer"], seed=5)
    return source, StreamSink(dut, "o", chosen_layout(lanes, ways), policy=params["ready"], seed=6)


def words(params, values, seed=0):
    for vector in to_vectors(values, params["lanes"], seed):
        yield {"vector": vector}


def heavy_blocks(seed, count, block):
    """Blocks with a few great elements, for which clipping is worth something."""
    rng = np.random.default_rng(seed)
    blocks = np.rint(rng.standard_t(2, (count, block)) * 2.0 ** rng.integers(2, 26, (count, 1)))
    return np.clip(blocks, -(1 << 31), (1 << 31) - 1).astype(int).tolist()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def equals_the_golden_model(dut):
    params = bench_params()
    lanes, block = params["lanes"], params["lanes"] * params["vectors"]
    await start_clock_and_reset(dut)
    source, sink = start(dut, params)
    # In the first block an error of 2 bits is exactly half of the sum.
    blocks = [[3, 1][:block], *corner_blocks(block), *random_blocks(8, 10, block)]
    blocks += heavy_blocks(9, 20, block)
    expected = []
    for k, values in enumerate(blocks):
        source.put(words(params, values, seed=k))
        expected.append(
            multiway_quantize(
                values, len(values), params["ways"], criterion=params["criterion"],
                rounding=params["rounding"], threshold=params["threshold"],
            )
        )
    for values, golden in zip(blocks, expected, strict=True):
        results = await sink.receive(-(-len(values) // lanes))
        given = [q for result in results for q in result["lanes"][: result["count"]]]
        assert given == golden.values.tolist(), values
        assert [result["last"] for result in results] == [0] * (len(results) - 1) + [1]
        for result in results:
            assert result["way"] == golden.way[0], values
            assert result["shift"] == golden.shift[0]
    # Or nothing would have been chosen.
    chosen = {int(golden.way[0]) for golden in expected}
    assert len(chosen) > 1 or len(params["ways"]) == 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def ends_long_blocks_and_has_no_bubbles(dut):
    params = bench_params() | {"offer": "always", "ready": "always"}
    lanes, vectors = params["lanes"], params["vectors"]
    if vectors < params["cycles"]:
        return
    await start_clock_and_reset(dut)
    source, sink = start(dut, params)
    blocks = heavy_blocks(3, 6, lanes * vectors)
    values = [x for block in blocks for x in block]
    # One block that never says where it ends, six times as long as a block may be.
    stream = list(words(params, values))
    source.put(stream)
    cycles = 0
    while len(sink.words) < len(stream):
        await RisingEdge(dut.clk)
        cycles += 1
        if not sink.words:
            first = cycles
    assert cycles - first == len(stream), "a bubble"
    golden = multiway_quantize(
        values, lanes * vectors, params["ways"], criterion=params["criterion"],
        rounding=params["rounding"], threshold=params["threshold"],
    )
    results = list(sink.words)
    assert [q for result in results for q in result["lanes"]] == golden.values.tolist()
    ends = [result for result in results if result["last"]]
    assert [result["way"] for result in ends] == golden.way.tolist()
    assert [result["shift"] for result in ends] == golden.shift.tolist()


def run(
    lanes, vectors, ways, ready, offer, criterion=BlockCriterion.L2,
    rounding=BlockRounding.HALF_EVEN, **more,
):
    unit = MultiwayQuantize(lanes, vectors, ways, criterion=criterion, rounding=rounding, **more)
    params = {
        "lanes": lanes, "vectors": vectors, "ways": ways, "ready": ready, "offer": offer,
        "criterion": criterion.value, "rounding": rounding.value, "threshold": unit.threshold,
        "cycles": unit.arbiter_cycles,
    }
    run_cocotb(unit, __name__, params=params)


@pytest.mark.parametrize("ready", READY_POLICIES)
def test_policies(ready):
    criterion = list(BlockCriterion)[list(READY_POLICIES).index(ready)]
    run(2, 16, FOUR, ready, "always" if ready == "always" else "bursty", criterion)


@pytest.mark.parametrize("criterion", BlockCriterion)
def test_every_criterion_and_full_rate(criterion):
    vectors = 112 if criterion is BlockCriterion.COSINE else 32
    run(1, vectors, FOUR[1:], "random", "always", criterion)


def test_other_ways_and_roundings():
    ways = [(2, 0), (3, 7), (5, 2), (8, 7), (8, 0)]
    pseudo, cosine, bias = BlockRounding.PSEUDO, BlockCriterion.COSINE, BlockCriterion.BIAS
    run(3, 5, ways, "random", "always", BlockCriterion.QEM, pseudo, threshold=6000)
    run(3, 5, ways, "random", "always", cosine, BlockRounding.HALF_AWAY)
    run(1, 40, [(6, 1), (7, 0), (8, 3)], "always", "always", bias, BlockRounding.HALF_UP)


def test_one_way_that_saturates():
    """Alone, because another way would win where this one is wrong."""
    run(2, 4, [(8, 7)], "random", "always", BlockCriterion.L1)


def test_exactly_at_the_threshold():
    run(2, 4, [(2, 0), (8, 0)], "random", "always", BlockCriterion.QEM, threshold=1 << 15)


@pytest.mark.parametrize(
    ("lanes", "vectors", "ways", "more", "message"),
    [
        (0, 8, FOUR, {}, "lanes is 0; legal: 1 to 64"),
        (4, 0, FOUR, {}, "vectors is 0; legal: at least 1"),
        (4, 8, [], {}, "there are 0 ways; legal: 1 to 8"),
        (4, 8, [(9, 0)], {}, "bits is 9; legal: 2 to 8"),
        (4, 8, [(8, 8)], {}, "clip is 8; legal: 0 to 7"),
        (4, 8, FOUR, {"rounding": BlockRounding.LFSR}, "rounding is LFSR; legal: any other"),
        (4, 8, FOUR, {"threshold": 65537}, "threshold is 65537; legal: 0 to 65536"),
    ],
)
def test_bad_parameters(lanes, vectors, ways, more, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        MultiwayQuantize(lanes, vectors, ways, criterion=BlockCriterion.L2, **more)
