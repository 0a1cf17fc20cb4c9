# SPDX-License-Identifier: Apache-2.0
"""The reciprocal of a root against Python's integers, and how long it takes."""

from math import isqrt

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.special.inverse_root import INVERSE_ROOT, InverseRoot

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset


def reference(value):
    places = (48 - value.bit_length()) // 2
    return {"factor": (1 << 47) // isqrt(value << 2 * places), "places": places}


def values_of(seed, count):
    """Values of all sizes, and those beside squares and beside powers of two."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 47, count)
    values = [int(rng.integers(1 << int(size) - 1, 1 << int(size))) for size in sizes]
    roots = [1, (1 << 23) - 1] + [int(rng.integers(2, 1 << k)) for k in range(2, 24)]
    values += [root**2 + d for root in roots for d in (-1, 0, 1)]
    values += [(1 << k) + d for k in range(46) for d in (-1, 0)]
    rng.shuffle(values)
    return [value for value in values if 0 < value < 1 << 46] + [(1 << 46) - 1]


@cocotb.test()
async def inverse_roots(dut):
    params = bench_params()
    await start_clock_and_reset(dut)
    values = values_of(51, 150)[-params["count"] :]
    sink = StreamSink(dut, "o", INVERSE_ROOT, policy=params["ready"])
    StreamSource(dut, "i", policy=params["offer"]).put(values)
    assert await sink.receive(len(values)) == [reference(value) for value in values]


@cocotb.test()
async def duration(dut):
    digits = bench_params()["digits"]
    await start_clock_and_reset(dut)
    dut.o__ready.value = 1
    for value in (1, 3, 4, 1 << 20, (1 << 45) - 1, 1 << 45, (1 << 46) - 1, 0):
        dut.i__payload.value, dut.i__valid.value = value, 1
        cycles = 0
        while not dut.o__valid.value:
            await FallingEdge(dut.clk)
            dut.i__valid.value = 0
            cycles += 1
        places = (48 - value.bit_length()) // 2
        assert dut.o__payload.value.to_unsigned() >> 25 == places
        assert cycles == (49 + places if digits == 1 else 26 + places // 2)
        await FallingEdge(dut.clk)


@pytest.mark.parametrize("digits", [1, 2])
@pytest.mark.parametrize("ready", READY_POLICIES)
def test_against_integers(ready, digits):
    count = 400 if ready == "always" else 60
    offer = "always" if ready == "always" else "random"
    params = {"count": count, "ready": ready, "offer": offer}
    run_cocotb(InverseRoot(digits), __name__, params=params, testcase="inverse_roots")


@pytest.mark.parametrize("digits", [1, 2])
def test_duration(digits):
    params = {"digits": digits}
    run_cocotb(InverseRoot(digits), __name__, params=params, testcase="duration")


def test_refuses_other_digits():
    with pytest.raises(ValueError, match="digits is 3; legal: 1, 2"):
        InverseRoot(3)
