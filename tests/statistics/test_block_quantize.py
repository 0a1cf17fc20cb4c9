# SPDX-License-Identifier: Apache-2.0
"""Blocks of every kind, scaled and rounded in every way, against the golden model."""

import cocotb
import numpy as np
import pytest
from amaranth.lib import data
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.golden.block_quantize import block_quantize
from kiwicha.golden.rounding import ROUNDINGS
from kiwicha.hw.parts.lanes import vector_layout
from kiwicha.hw.parts.rounding import Rounding
from kiwicha.hw.statistics.block_quantize import CONTROL, BlockQuantize, quantized_layout

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset
from .vectors import corner_blocks, random_blocks, to_vectors


def start(dut, params):
    lanes = params["lanes"]
    layout = {"vector": vector_layout(lanes), "index": 32, "control": CONTROL}
    source = StreamSource(dut, "i", data.StructLayout(layout), policy=params["offer"], seed=5)
    return source, StreamSink(dut, "o", quantized_layout(lanes), policy=params["ready"], seed=6)


def words(values, lanes, index, control, seed=0):
    for k, vector in enumerate(to_vectors(values, lanes, seed)):
        # Only the block's last vector says how it is quantized.
        said = control if vector["last"] else {"free": k & 1, "rounding": k % 5, "seed": k}
        place = (index + lanes * k) % (1 << 32)
        yield {"vector": vector, "index": place, "control": said}


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def equals_the_golden_model(dut):
    params = bench_params()
    lanes, block = params["lanes"], params["lanes"] * params["vectors"]
    await start_clock_and_reset(dut)
    source, sink = start(dut, params)
    rng = np.random.default_rng(7)
    blocks, expected = corner_blocks(block) + random_blocks(8, 50, block), []
    for k, values in enumerate(blocks):
        scaling, mode = ["pot", "free"][int(rng.integers(2))], int(rng.integers(5))
        seed, step, index = (int(v) for v in rng.integers(0, 1 << 32, 3))
        index = min(index, (1 << 32) - block)
        control = {"free": scaling == "free", "rounding": mode, "seed": seed, "step": step}
        source.put(words(values, lanes, index, control, seed=k))
        golden = block_quantize(
            values, len(values), scaling=scaling, rounding=ROUNDINGS[mode],
            seed=seed, step=step, index=index,
        )
        expected.append(golden)
    for values, golden in zip(blocks, expected, strict=True):
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
    lanes, block = params["lanes"], params["lanes"] * params["vectors"]
    await start_clock_and_reset(dut)
    source, sink = start(dut, params)
    control = {"free": 0, "rounding": 1, "seed": 0, "step": 0}
    values = random_blocks(9, 1, 1)[0] + [int(x) for x in range(1, 6 * block + 2)]
    stream = list(words(values, lanes, 0, control))
    for word in stream:
        word["control"] = control
    singles = [next(words([k - 20], lanes, k, control)) for k in range(40)]
    source.put(stream + singles)
    cycles, count = 0, len(stream) + len(singles)
    while len(sink.words) < count:
        await RisingEdge(dut.clk)
        cycles += 1
        if not sink.words:
            first = cycles
    assert cycles - first == count, "a bubble"
    assert first - params["vectors"] in (params["latency"], params["latency"] + 1)
    golden = block_quantize(values, block, rounding="half_up")
    results = [sink.words.popleft() for _ in stream]
    assert [q for r in results for q in r["lanes"][: r["count"]]] == golden.values.tolist()
    assert sum(result["last"] for result in results) == len(golden.shift)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def equals_the_golden_model_in_one_way(dut):
    """Scaling and rounding are given; what the control says about them is wrong."""
    params = bench_params()
    lanes, block = params["lanes"], params["lanes"] * params["vectors"]
    scaling, rounding = params["scaling"], params["rounding"]
    await start_clock_and_reset(dut)
    source, sink = start(dut, params)
    rng = np.random.default_rng(11)
    for seed, step in ((2**32 - 1, 6), (0, 0)):
        if rounding == "lfsr":
            dut.random.value = seed | step << 32
            await ClockCycles(dut.clk, 3)
        blocks, goldens = corner_blocks(block) + random_blocks(step, 20, block), []
        for k, values in enumerate(blocks):
            index = int(rng.integers(1 << 32)) if k % 3 else (1 << 32) - 1
            control = {"free": scaling == "pot", "rounding": k % 5, "seed": k, "step": k}
            source.put(words(values, lanes, index, control, seed=k))
            goldens.append(block_quantize(
                values, len(values), scaling=scaling, rounding=rounding,
                seed=seed, step=step, index=index,
            ))
        for values, golden in zip(blocks, goldens, strict=True):
            results = await sink.receive(-(-len(values) // lanes))
            given = [q for result in results for q in result["lanes"][: result["count"]]]
            assert given == golden.values.tolist(), values


def run(lanes, vectors, digit, ready, offer, testcase="equals_the_golden_model"):
    unit = BlockQuantize(lanes, vectors, digit)
    params = {"lanes": lanes, "vectors": vectors, "ready": ready, "offer": offer}
    params |= {"latency": unit.latency}
    run_cocotb(unit, __name__, params=params, testcase=testcase)


def run_fixed(lanes, scaling, rounding, ready):
    unit = BlockQuantize(
        lanes, 4, 4, free=scaling == "free", rounding=Rounding[rounding.upper()]
    )
    params = {"lanes": lanes, "vectors": 4, "ready": ready, "offer": "bursty"}
    params |= {"scaling": scaling, "rounding": rounding}
    run_cocotb(unit, __name__, params=params, testcase="equals_the_golden_model_in_one_way")


@pytest.mark.parametrize("ready", READY_POLICIES)
def test_policies(ready):
    run(2, 8, 2, ready, "always" if ready == "always" else "bursty")


@pytest.mark.parametrize(("scaling", "rounding", "ready"), [
    ("pot", "lfsr", "always"), ("free", "lfsr", "random"), ("pot", "lfsr", "bursty"),
    ("free", "lfsr", "after_valid"), ("pot", "half_up", "random"), ("free", "pseudo", "random"),
    ("pot", "half_away", "random"), ("free", "half_even", "random"),
])
def test_one_way(scaling, rounding, ready):
    run_fixed(3, scaling, rounding, ready)


@pytest.mark.parametrize(("lanes", "vectors", "digit"), [(1, 3, 1), (3, 5, 4)])
def test_shapes(lanes, vectors, digit):
    run(lanes, vectors, digit, "random", "always")


@pytest.mark.parametrize(("lanes", "vectors", "digit"), [(2, 8, 2), (1, 3, 1), (3, 5, 4)])
def test_throughput(lanes, vectors, digit):
    testcase = "ends_long_blocks_and_has_no_bubbles"
    run(lanes, vectors, digit, "always", "always", testcase)


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
        BlockQuantize(*arguments)
