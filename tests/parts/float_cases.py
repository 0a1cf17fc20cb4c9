# SPDX-License-Identifier: Apache-2.0
"""Binary32 bit patterns that are hard to add, sum and divide, and a bench for such units."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from ..support.streams import start_clock_and_reset

__all__ = ["as_float", "bits_of", "corners", "run_pipeline", "wide_of"]


def as_float(bits):
    """Patterns (any integers) as binary32."""
    return np.asarray(bits).astype(np.uint32).view(np.float32)


def bits_of(values):
    """Binary32 values as patterns, int64."""
    return np.asarray(values, np.float32).view(np.uint32).astype(np.int64)


def wide_of(values):
    """Finite binary32 values as wide numbers (`hw.parts.float_units`), sign in bit 32."""
    fraction, exponent = np.frexp(np.abs(np.asarray(values, np.float32)).astype(np.float64))
    with np.errstate(invalid="ignore"):
        size = ((exponent + 158).astype(np.int64) << 23) + ((2 * fraction - 1) * 2**23)
    size = np.where(fraction == 0, 0, np.nan_to_num(size, posinf=0, neginf=0)).astype(np.int64)
    return size | np.signbit(values).astype(np.int64) << 32


def corners(exponents):
    """Every pair of patterns of these biased exponents and telling fractions, and +0: (a, b)."""
    fractions = (0, 1, 2, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFE, 0x7FFFFF)
    patterns = np.array([0] + [e << 23 | f for e in exponents for f in fractions], np.int64)
    a, b = np.meshgrid(patterns, patterns)
    return a.ravel(), b.ravel()


async def run_pipeline(dut, latency, a, b):
    """Feed a pair each cycle into ports a and b; return what o held ``latency`` cycles later."""
    await start_clock_and_reset(dut)
    results = []

    async def collect():
        for _ in range(latency):
            await RisingEdge(dut.clk)
        for _ in range(len(a)):
            await FallingEdge(dut.clk)
            results.append(dut.o.value.to_unsigned())

    collector = cocotb.start_soon(collect())
    for left, right in zip(a.tolist(), b.tolist(), strict=True):
        dut.a.value, dut.b.value = left, right
        await FallingEdge(dut.clk)
    dut.a.value, dut.b.value = 0, 0
    await collector
    return np.array(results)
