# SPDX-License-Identifier: Apache-2.0
"""Statistics of corner and random blocks, exact, at one vector a cycle."""

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from golden.statistics import statistics
from hw.statistics.lanes import vector_layout
from hw.statistics.statistics import Statistics, statistics_layout
from tests.statistics.vectors import corner_blocks, random_blocks, to_vectors
from tests.support.bench import bench_params, run_cocotb
from tests.support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset

#: lanes, block, bins, histogram_bits
SHAPES = [(2, 16, 33, 0), (1, 5, 2, 3), (3, 40, 9, 2), (4, 8, 5, 1)]


def shape_of(params):
    lanes, block, bins, bits = params["shape"]
    return lanes, block, bins, bits, vector_layout(lanes), statistics_layout(block, bins, bits)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def equals_the_golden_model(dut):
    params = bench_params()
    lanes, block, bins, bits, taken, given = shape_of(params)
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", taken, policy=params["offer"], seed=2)
    sink = StreamSink(dut, "o", given, policy=params["ready"], seed=3)
    blocks = corner_blocks(block) + random_blocks(4, 30, block)
    for k, values in enumerate(blocks):
        source.put(to_vectors(values, lanes, seed=k))
    limit = (1 << bits) - 1 if bits else None
    results = await sink.receive(len(blocks))
    for values, result in zip(blocks, results, strict=True):
        expected = vars(statistics(values, bins=bins, histogram_limit=limit))
        assert result == expected | {"histogram": list(expected["histogram"])}, values


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def has_no_bubbles(dut):
    params = bench_params()
    lanes, block, _, _, taken, given = shape_of(params)
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", taken)
    sink = StreamSink(dut, "o", given)
    blocks = [[1]] * 20 + [[2] * block] * 5 + [[3]] * 7
    vectors = [vector for values in blocks for vector in to_vectors(values, lanes)]
    source.put(vectors)
    cycles = 0
    while len(sink.words) < len(blocks):
        await RisingEdge(dut.clk)
        cycles += 1
    # The source offers after the first edge; the sink has the word one edge after ``valid``.
    assert cycles - len(vectors) in (params["latency"] + 1, params["latency"] + 2)


@pytest.mark.parametrize("ready", READY_POLICIES)
def test_policies(ready):
    unit = Statistics(*SHAPES[0])
    offer = "always" if ready == "always" else "random"
    run_cocotb(
        unit,
        __name__,
        params={"shape": SHAPES[0], "ready": ready, "offer": offer, "latency": unit.latency},
    )


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_shapes(shape):
    unit = Statistics(*shape)
    params = {"shape": shape, "ready": "bursty", "offer": "always", "latency": unit.latency}
    run_cocotb(unit, __name__, params=params)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 8), "lanes is 0; legal: 1 to 64"),
        ((4, 0), r"block is 0; legal: 1 to 2\*\*32"),
        ((4, 8, 34), "bins is 34; legal: 2 to 33"),
        ((4, 8, 33, -1), "histogram_bits is -1; legal: 0 to 33"),
    ],
)
def test_bad_parameters(shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Statistics(*shape)
