# SPDX-License-Identifier: Apache-2.0
"""The rounding addition against NumPy's binary32."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from hw.vector.add_round import AddRound
from tests.support.bench import run_cocotb
from tests.support.streams import start_clock_and_reset
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


def borrowing(rng, count):
    """Differences close below a power of two and to a half: they lose their first place."""
    power = 1 << rng.integers(1, 11, count)
    a = power + rng.integers(0, 1 << 12, count) / 2.0**13
    target = power - rng.integers(1, 4, count) / 2 + rng.integers(-8, 9, count) * power / 2.0**27
    return bits_of(a), bits_of(target - a)


def anything(rng, count):
    a, b = rng.integers(0, INFINITY, (2, count))
    b = np.where(rng.random(count) < 0.7, (a & INFINITY) | (b & 0x7FFFFF), b)
    small = rng.integers(115, 140, count) << 23
    a = np.where(rng.random(count) < 0.7, small | (a & 0x7FFFFF), a)
    signs = rng.integers(0, 2, (2, count)) << 31
    return a | signs[0], b | signs[1]


def edges(rng, count):
    a, b = corners((0, 1, 2, 103, 104, 105, 125, 126, 127, 135, 136, 137, 158, 160, 161, 162, 254))
    chosen = rng.choice(a.size, count)
    return a[chosen], b[chosen] | rng.integers(0, 2, count) << 31


@cocotb.test()
async def all_sums(dut):
    rng = np.random.default_rng(34)
    makers = (edges, near_halves, spread, cancelling, borrowing, anything)
    cases = [make(rng, 5_000) for make in makers]
    a, b = (np.concatenate(parts) for parts in zip(*cases, strict=True))
    swap = rng.random(a.size) < 0.5
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    await start_clock_and_reset(dut)
    latency = AddRound.latency
    words = (b << 32 | a).tolist() + [0] * (latency - 1)
    offered = [k % 7 != 3 for k in range(len(words))]
    got, valid = [], []
    for word, offer in zip(words, offered, strict=True):
        dut.i__payload.value, dut.i__valid.value = word & (1 << 64) - 1, offer
        await FallingEdge(dut.clk)
        valid.append(bool(dut.o__valid.value))
        got.append(dut.o__payload.value.to_signed() if valid[-1] else 0)
    assert valid[latency - 1 :] == offered[: a.size]
    assert not any(valid[: latency - 1])
    got, offered = np.array(got[latency - 1 :]), np.array(offered[: a.size])
    expected = reference(a, b)
    wrong = np.flatnonzero(offered & (got != expected))
    assert wrong.size == 0, f"{wrong.size} wrong: {[(hex(a[k]), hex(b[k])) for k in wrong[:3]]}"
    with np.errstate(over="ignore"):
        once = np.rint(as_float(a).astype(np.float64) + as_float(b))
    assert (np.clip(once, -1024, 1023) != expected).sum() > 300, "the first rounding never matters"


def test_against_numpy():
    run_cocotb(AddRound(), __name__, simulator="verilator")
