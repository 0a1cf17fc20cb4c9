# SPDX-License-Identifier: Apache-2.0
"""The rounding addition against NumPy's binary32."""

import cocotb
import numpy as np
from amaranth.hdl import signed
from cocotb.triggers import ClockCycles, FallingEdge

from hw.vector.add_round import AddRound
from tests.support.bench import run_cocotb
from tests.support.streams import StreamSink, StreamSource, start_clock_and_reset
from tests.vector.float_cases import as_float, bits_of, corners

SIGN = 1 << 31
INFINITY = 0x7F800000


def reference(a, b):
    with np.errstate(over="ignore"):
        return np.clip(np.rint(as_float(a) + as_float(b)), -1024, 1023).astype(np.int64)


def near_halves(rng, count):
    """Sums within some ulps of a half, of terms of all sizes: also what only f() makes a half."""
    target = rng.integers(-2060, 2061, count) / 2
    large = np.ldexp(rng.integers(-(1 << 24), 1 << 24, count), rng.integers(-50, 12, count))
    a = large.astype(np.float32)
    b = bits_of(target - a) + rng.integers(-3, 4, count)
    return bits_of(a), b & (INFINITY - 1 | SIGN)


def spread(rng, count):
    """A half, and a second term that is at most a few ulps of it."""
    a = bits_of((rng.integers(-1030, 1030, count) + 0.5).astype(np.float32))
    size = (a & INFINITY) - (rng.integers(20, 30, count) << 23)
    fraction = rng.integers(0, 1 << 23, count) & -1 << rng.integers(0, 24, count)
    return a + rng.integers(-2, 3, count), size | fraction | rng.integers(0, 2, count) << 31


def cancelling(rng, count):
    """Opposite terms of any size, some places of the last bits apart."""
    a = rng.integers(0, INFINITY, count) | rng.integers(0, 2, count) << 31
    a = np.where(rng.random(count) < 0.5, a & ~INFINITY | rng.integers(140, 175, count) << 23, a)
    b = (a ^ SIGN) + (rng.integers(-255, 256, count) << rng.integers(0, 18, count))
    b = np.where((b & INFINITY) == INFINITY, 0, b)
    return a, b & 0xFFFFFFFF


def anything(rng, count):
    a, b = rng.integers(0, INFINITY, (2, count))
    b = np.where(rng.random(count) < 0.7, (a & INFINITY) | (b & 0x7FFFFF), b)
    small = rng.integers(115, 140, count) << 23
    a = np.where(rng.random(count) < 0.7, small | (a & 0x7FFFFF), a)
    signs = rng.integers(0, 2, (2, count)) << 31
    return a | signs[0], b | signs[1]


def edges():
    a, b = corners((0, 1, 2, 104, 125, 126, 136, 137, 160, 161, 162, 254))
    return np.tile(a, 2), np.append(b, b | SIGN)


@cocotb.test()
async def all_sums(dut):
    rng = np.random.default_rng(34)
    cases = [edges(), *(make(rng, 8_000) for make in (near_halves, spread, cancelling, anything))]
    a, b = (np.concatenate(parts) for parts in zip(*cases, strict=True))
    swap = rng.random(a.size) < 0.5
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    await start_clock_and_reset(dut)
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    StreamSource(dut, "i", None).put(right << 32 | left for left, right in pairs)
    sink = StreamSink(dut, "o", signed(11))
    await ClockCycles(dut.clk, a.size + AddRound.latency)
    await FallingEdge(dut.clk)
    assert len(sink.words) == a.size, "not a sum in every cycle"
    got = np.array(sink.words)
    expected = reference(a, b)
    wrong = np.flatnonzero(got != expected)
    assert wrong.size == 0, f"{wrong.size} wrong: {[(hex(a[k]), hex(b[k])) for k in wrong[:3]]}"
    with np.errstate(over="ignore"):
        once = np.rint(as_float(a).astype(np.float64) + as_float(b))
    assert (np.clip(once, -1024, 1023) != expected).sum() > 1000, "the first rounding never matters"


def test_against_numpy():
    run_cocotb(AddRound(), __name__, simulator="verilator")
