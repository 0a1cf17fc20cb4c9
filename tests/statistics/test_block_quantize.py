# SPDX-License-Identifier: Apache-2.0
"""Blocks of every kind, scaled and rounded in every way, against the golden model."""

import cocotb
import numpy as np
import pytest
from amaranth.lib import data
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.golden.block_quantize import block_quantize
from kiwicha.hw.parts.lanes import vector_layout
from kiwicha.hw.statistics.block_quantize import BlockQuantize, quantized_layout
from kiwicha.machine.modes import BlockRounding

from ..support.bench import bench_params, run_cocotb
from ..support.streams import StreamSink, StreamSource, start_clock_and_reset
from .vectors import corner_blocks, random_blocks, to_vectors


def start(dut, params):
    lanes = params["lanes"]
    index = {"index": 32} if params["rounding"] == BlockRounding.LFSR else {}
    layout = data.StructLayout({"vector": vector_layout(lanes), **index})
    source = StreamSource(dut, "i", layout, policy=params["offer"], seed=5)
    return source, StreamSink(dut, "o", quantized_layout(lanes), policy=params["ready"], seed=6)


def words(params, values, index=0, seed=0):
    for k, vector in enumerate(to_vectors(values, params["lanes"], seed)):
        place = {"index": (index + params["lanes"] * k) % (1 << 32)}
        yield {"vector": vector} | (place if params["rounding"] == BlockRounding.LFSR else {})


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def equals_the_golden_model(dut):
    params = bench_params()
    lanes, block = params["lanes"], params["lanes"] * params["vectors"]
    scaling, rounding = params["scaling"], params["rounding"]
    await start_clock_and_reset(dut)
    source, sink = start(dut, params)
    rng = np.random.default_rng(11)
    for seed, step in ((2**32 - 1, 6), (0, 0)):
        if rounding == BlockRounding.LFSR:
            dut.random.value = seed | step << 32
            await ClockCycles(dut.clk, 3)
        blocks, goldens = corner_blocks(block) + random_blocks(step, 30, block), []
        for k, values in enumerate(blocks):
            index = int(rng.integers(1 << 32)) if k % 3 else (1 << 32) - 1
            source.put(words(params, values, index, seed=k))
            goldens.append(block_quantize(
                values, len(values), scaling=scaling, rounding=rounding,
                seed=seed, step=step, index=index,
            ))
        for values, golden in zip(blocks, goldens, strict=True):
            results = await sink.receive(-(-len(values) // lanes))
            given = [q for result in results for q in result["lanes"][: result["count"]]]
            assert given == golden.values.tolist(), values
            assert [result["last"] for result in results] == [0] * (len(results) - 1) + [1]
            for result in results:
                assert result["magnitude"] == golden.magnitude[0]
                assert result["shift"] == golden.shift[0]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def ends_long_blocks_and_has_no_bubbles(dut):
    params = bench_params()
    block = params["lanes"] * params["vectors"]
    await start_clock_and_reset(dut)
    source, sink = start(dut, params)
    values = random_blocks(9, 1, 1)[0] + [int(x) for x in range(1, 6 * block + 2)]
    stream = list(words(params, values))
    singles = [next(words(params, [k - 20])) for k in range(40)]
    source.put(stream + singles)
    cycles, count = 0, len(stream) + len(singles)
    while len(sink.words) < count:
        await RisingEdge(dut.clk)
        cycles += 1
        if not sink.words:
            first = cycles
    assert cycles - first == count, "a bubble"
    assert first - params["vectors"] in (params["latency"], params["latency"] + 1)
    golden = block_quantize(values, block, rounding=params["rounding"])
    results = [sink.words.popleft() for _ in stream]
    assert [q for r in results for q in r["lanes"][: r["count"]]] == golden.values.tolist()
    assert sum(result["last"] for result in results) == len(golden.shift)


def run(lanes, vectors, scaling, rounding, ready, *, digit=4, offer="bursty", testcase=None):
    free = scaling == "free"
    unit = BlockQuantize(lanes, vectors, digit, free=free, rounding=BlockRounding(rounding))
    params = {"lanes": lanes, "vectors": vectors, "ready": ready, "offer": offer}
    params |= {"scaling": scaling, "rounding": rounding, "latency": unit.latency}
    testcase = testcase or "equals_the_golden_model"
    run_cocotb(unit, __name__, params=params, testcase=testcase)


@pytest.mark.parametrize(("scaling", "rounding", "ready"), [
    ("pot", "lfsr", "always"), ("free", "lfsr", "random"), ("pot", "lfsr", "bursty"),
    ("free", "lfsr", "after_valid"), ("pot", "half_up", "random"), ("free", "pseudo", "random"),
    ("pot", "half_away", "random"), ("free", "half_even", "random"), ("pot", "pseudo", "always"),
    ("pot", "half_even", "bursty"), ("free", "half_up", "always"), ("free", "half_away", "bursty"),
])
def test_every_way(scaling, rounding, ready):
    run(3, 4, scaling, rounding, ready, offer="always" if ready == "always" else "bursty")


@pytest.mark.parametrize(("lanes", "vectors", "digit"), [(1, 3, 1), (2, 8, 2), (3, 5, 3)])
def test_shapes(lanes, vectors, digit):
    run(lanes, vectors, "free", "half_up", "random", digit=digit, offer="always")


@pytest.mark.parametrize(("lanes", "vectors"), [(2, 8), (1, 3), (3, 5)])
def test_throughput(lanes, vectors):
    testcase = "ends_long_blocks_and_has_no_bubbles"
    run(lanes, vectors, "pot", "half_up", "always", offer="always", testcase=testcase)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8), "lanes is 0; legal: 1 to 64"),
        ((4, 0), "vectors is 0; legal: at least 1"),
        ((4, 8, 5), "digit is 5; legal: 1 to 4"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        BlockQuantize(*arguments, free=True, rounding=BlockRounding.HALF_UP)
