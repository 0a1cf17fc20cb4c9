# SPDX-License-Identifier: Apache-2.0
"""Binary32 conversion, product and sum against NumPy."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from hw.vector.float_units import FloatAdd, FloatProduct, IntegerFloat
from tests.support.bench import bench_params, run_cocotb
from tests.support.streams import start_clock_and_reset

SMALLEST = np.float32(2.0**-126)


def operands(rng, count):
    """Return pairs of binary32 numbers: random, near each other, and with few bits."""
    bits = rng.integers(0, 1 << 32, (2, count), dtype=np.uint64).astype(np.uint32)
    exponent = rng.integers(97, 157, (2, count)).astype(np.uint32)
    bits = (bits & np.uint32(0x807FFFFF)) | (exponent << np.uint32(23))
    near = rng.random(count) < 0.4
    bits[1, near] = (bits[0, near] ^ np.uint32(1 << 31)) + rng.integers(
        -(1 << 25), 1 << 25, near.sum()
    ).astype(np.uint32)
    few = rng.random(count) < 0.3
    bits[:, few] &= np.uint32(0xFFFF0000)
    ones = rng.random(count) < 0.2
    bits[0, ones] |= np.uint32(0x007FFFF0)
    bits[0, ::17] = 0
    bits[1, ::19] = 1 << 31
    return bits.view(np.float32)


def expected(kind, a, b):
    with np.errstate(all="ignore"):
        made = a.astype(np.float32) if kind == "integer" else a * b if kind == "product" else a + b
    return np.where(np.abs(made) < SMALLEST, 0, made)


@cocotb.test()
async def equals_numpy(dut):
    params = bench_params()
    kind, latency = params["kind"], params["latency"]
    await start_clock_and_reset(dut)
    rng = np.random.default_rng(3)
    if kind == "integer":
        a = rng.integers(-(1 << 31), 1 << 31, 3000) >> rng.integers(0, 32, 3000)
        a[:8] = [0, -(1 << 31), (1 << 31) - 1, 1, -1, (1 << 24) + 1, (1 << 24) + 3, 1 << 30]
        b = a
    else:
        a, b = operands(rng, 3000)
    want = expected(kind, a, b)
    raw = [x.astype(np.int32).view(np.uint32) if kind == "integer" else x.view(np.uint32)
           for x in (a, b)]  # fmt: skip
    came = []
    for k in range(len(a) + latency):
        at = min(k, len(a) - 1)
        if kind == "integer":
            dut.i.value = int(np.int32(a[at]))
        else:
            dut.a.value, dut.b.value = int(raw[0][at]), int(raw[1][at])
        await FallingEdge(dut.clk)
        came.append(dut.o.value.to_unsigned() if k + 1 >= latency else 0)
    got = np.array(came[latency - 1 :][: len(a)], np.uint32).view(np.float32)
    wrong = np.flatnonzero(got != want)
    assert not wrong.size, [(a[k], b[k], got[k], want[k]) for k in wrong[:4]]


@pytest.mark.parametrize(
    "kind,unit",
    [
        ("integer", lambda: IntegerFloat()),
        ("sum", lambda: FloatAdd()),
        ("product", lambda: FloatProduct()),
        ("product", lambda: FloatProduct(18)),
    ],
)
def test_units(kind, unit):
    made = unit()
    run_cocotb(made, __name__, params={"kind": kind, "latency": made.latency})
