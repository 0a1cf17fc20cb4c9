# SPDX-License-Identifier: Apache-2.0
"""The running sum's binary32 addition against NumPy's."""

import cocotb
import numpy as np

from kiwicha.hw.parts.float_sum import FloatSum

from ..support.bench import run_cocotb
from .float_cases import as_float, bits_of, corners, run_pipeline

INFINITY = 0x7F800000


def operands(count):
    """Pairs whose exponents are 0 to 30 apart, most of them close; then everything else."""
    rng = np.random.default_rng(31)
    a = rng.integers(0, INFINITY, count)
    apart = rng.integers(0, 31, count) << 23
    b = np.clip((a & ~0x7FFFFF) - apart | rng.integers(0, 1 << 23, count), 0, INFINITY - 1)
    # Few bits set: halves and their neighbours.
    mask = -1 << rng.integers(0, 24, count)
    b = np.where(rng.random(count) < 0.3, b & mask, b)
    a = np.where(rng.random(count) < 0.3, a | 0x7FFFFF >> rng.integers(0, 24, count), a)
    a = np.where(rng.random(count) < 0.1, rng.integers(0, INFINITY, count), a)
    swap = rng.random(count) < 0.5
    pairs = np.where(swap, b, a), np.where(swap, a, b)
    near = corners((0, 1, 2, 24, 25, 26, 27, 120, 127, 252, 253, 254))
    return [np.append(*both) for both in zip(near, pairs, strict=True)]


@cocotb.test()
async def all_sums(dut):
    a, b = operands(25_000)
    got = await run_pipeline(dut, FloatSum.latency, a, b)
    with np.errstate(over="ignore"):
        expected = bits_of(as_float(a) + as_float(b))
    wrong = np.flatnonzero(np.where(expected == INFINITY, got < INFINITY, got != expected))
    assert wrong.size == 0, f"{wrong.size} wrong: {[(hex(a[k]), hex(b[k])) for k in wrong[:3]]}"
    assert (got <= 0x7FFFFFFF).all()


def test_against_numpy():
    run_cocotb(FloatSum(), __name__, simulator="verilator")
