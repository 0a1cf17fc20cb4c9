# SPDX-License-Identifier: Apache-2.0
"""Binary32 conversion, product and sum against NumPy, over all of binary32."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.parts.float_units import (
    INFINITE,
    FloatAdd,
    FloatProduct,
    IntegerFloat,
    Narrow,
    Widen,
)

from ..support.bench import bench_params, run_cocotb
from ..support.streams import start_clock_and_reset
from .float_cases import as_float, bits_of, corners, run_pipeline, wide_of

SIGN = 1 << 31
INFINITY = 0x7F800000


def near(rng, count):
    """Pairs near each other and of opposite sign mostly, with few bits or many."""
    a = rng.integers(0, 1 << 32, count)
    b = (a ^ SIGN) + rng.integers(-(1 << 25), 1 << 25, count)
    few = rng.random(count) < 0.3
    return np.where(few, a & 0xFFFF0000, a), np.where(few, b & 0xFFFF0000, b) & 0xFFFFFFFF


def low(rng, count):
    """Denormal numbers and small normal ones, of any number of bits."""
    a, b = rng.integers(0, 1 << 27, (2, count)) >> rng.integers(0, 28, (2, count))
    return a | rng.integers(0, 2, count) << 31, b | rng.integers(0, 2, count) << 31


def to_edge(rng, count):
    """Factors whose product is about as small as the least numbers, or as large as the largest."""
    a = rng.integers(0, INFINITY, count)
    a = np.where(rng.random(count) < 0.3, a >> rng.integers(0, 31, count), a)
    mantissa = rng.integers(0, 1 << 23, count) & (-1 << rng.integers(0, 24, count))
    edge = np.where(rng.random(count) < 0.8, rng.integers(-30, 4, count), 254)
    exponent = np.clip(127 + edge - (a >> 23), 0, 254)
    denormal = (exponent == 0) | (rng.random(count) < 0.1)
    b = np.where(denormal, mantissa, exponent << 23 | mantissa)
    # Halves: the bits of a denormal number that are to be shifted out are 1 0 0 ... 0.
    powers = rng.random(count) < 0.2
    return np.where(powers, a & INFINITY, a) | rng.integers(0, 2, count) << 31, b


def operands(rng):
    """All kinds of pairs, infinities and NaN among them."""
    anything = rng.integers(0, 1 << 32, (2, 1000))
    edges = corners((0, 1, 2, 104, 127, 150, 254, 255))
    signs = rng.integers(0, 2, (2, edges[0].size)) << 31
    parts = [
        near(rng, 2000), low(rng, 2500), to_edge(rng, 6000), tuple(anything),
        (edges[0] | signs[0], edges[1] | signs[1]),
    ]
    a, b = (np.concatenate(side) for side in zip(*parts, strict=True))
    swap = rng.random(a.size) < 0.5
    return np.where(swap, b, a), np.where(swap, a, b)


@cocotb.test()
async def pairs_equal_numpy(dut):
    params = bench_params()
    a, b = operands(np.random.default_rng(3))
    with np.errstate(all="ignore"):
        made = as_float(a) * as_float(b) if params["wide"] == 0 else as_float(a) + as_float(b)
    got = await run_pipeline(dut, params["latency"], a, b)
    beyond = ~np.isfinite(made)
    if params["wide"]:
        want, size = wide_of(made), got & (1 << 32) - 1
        fits = np.where(beyond, size >> 23 >= INFINITE, size == want & (1 << 32) - 1)
        sign, right = got >> 32, want >> 32
    else:
        want, size = bits_of(made), got & SIGN - 1
        fits = np.where(beyond, size >= INFINITY, size == want & SIGN - 1)
        sign, right = got >> 31, want >> 31
    # The sign of a difference that is 0, and of NaN, is anybody's.
    signed = (sign == right) | np.isnan(made) | (made == 0)
    wrong = np.flatnonzero(~(fits & signed))
    assert not wrong.size, [(hex(a[k]), hex(b[k]), hex(got[k]), hex(want[k])) for k in wrong[:4]]
    denormal = (made != 0) & (np.abs(made) < np.float32(2.0**-126))
    assert denormal.sum() > 1500
    assert beyond.sum() > 500


@cocotb.test()
async def singles_equal_numpy(dut):
    params = bench_params()
    kind, latency = params["kind"], params["latency"]
    await start_clock_and_reset(dut)
    rng = np.random.default_rng(3)
    if kind == "integer":
        given = rng.integers(-(1 << 31), 1 << 31, 3000) >> rng.integers(0, 32, 3000)
        given[:8] = [0, -(1 << 31), (1 << 31) - 1, 1, -1, (1 << 24) + 1, (1 << 24) + 3, 1 << 30]
        want = bits_of(given.astype(np.float32))
        given = given & 0xFFFFFFFF
    else:
        some = rng.integers(0, INFINITY, 1500) >> rng.integers(0, 31, 1500)
        single = np.concatenate([corners((0, 1, 2, 127, 253, 254))[0][:49], some])
        wide = wide_of(as_float(single))
        given, want = (single, wide) if kind == "widen" else (wide, single)
    came = []
    for value in [*given.tolist(), *[0] * latency]:
        dut.i.value = value if kind != "integer" else value - (value >> 31 << 32)
        await FallingEdge(dut.clk)
        came.append(dut.o.value)
    got = np.array([value.to_unsigned() for value in came[latency - 1 :][: len(given)]])
    wrong = np.flatnonzero(got != want)
    assert not wrong.size, [(hex(given[k]), hex(got[k]), hex(want[k])) for k in wrong[:4]]


@pytest.mark.parametrize("unit", [FloatAdd, FloatProduct, lambda: FloatProduct(18)])
def test_pairs(unit):
    made = unit()
    params = {"latency": made.latency, "wide": int(isinstance(made, FloatAdd))}
    run_cocotb(
        made, __name__, testcase="pairs_equal_numpy", params=params, simulator="verilator"
    )


@pytest.mark.parametrize("kind,unit", [
    ("integer", IntegerFloat), ("widen", Widen), ("narrow", Narrow),
])
def test_singles(kind, unit):
    params = {"kind": kind, "latency": unit.latency}
    run_cocotb(unit(), __name__, testcase="singles_equal_numpy", params=params)
