# SPDX-License-Identifier: Apache-2.0
"""The rounding division against NumPy's binary32, and the rule that it rests on."""

import cocotb
import numpy as np
import pytest

from kiwicha.hw.parts.divide import DivideRound

from ..support.bench import bench_params, run_cocotb
from .float_cases import as_float, corners, run_pipeline, wide_of

INFINITY = 0x7F800000
NORMAL = 1 << 23


def reference(a, b):
    with np.errstate(all="ignore"):
        quotient = np.nan_to_num(as_float(a) / as_float(b), nan=511, posinf=511)
        return np.minimum(np.rint(quotient), 511).astype(np.int64)


def recipe(a, b):
    """The unit's rule, in integers: ten quotient bits, then remainder against half an ulp."""
    dividend, divisor = (a & 0x7FFFFF) | NORMAL, (b & 0x7FFFFF) | NORMAL
    less = dividend < divisor
    power = (a >> 23) - (b >> 23) + 1 - less
    rest = np.where(less, 2 * dividend, dividend) - divisor
    quotient = np.ones_like(a)
    for left in range(8, -1, -1):
        active, difference = power > left, 2 * rest - divisor
        quotient = np.where(active, 2 * quotient + (difference >= 0), quotient)
        rest = np.where(active, np.where(difference >= 0, difference, 2 * rest), rest)
    half, whole = quotient & 1, quotient >> 1
    tie = np.where(half, rest, divisor - rest) <= divisor >> np.clip(24 - power, 0, 63)
    rounded = np.minimum(whole + np.where(tie, whole & 1, half), 511)
    return np.where((power < 0) | (a == 0), 0, np.where(power > 9, 511, rounded))


def near_halves(rng, count):
    """Dividends within three ulps of a multiple of half the divisor, mostly odd ones."""
    divisor = rng.integers(NORMAL, 2 * NORMAL, count)
    divisor = np.where(rng.random(count) < 0.3, 2 * NORMAL - rng.integers(1, 200, count), divisor)
    halves = rng.integers(0, 1030, count)
    halves = np.where(rng.random(count) < 0.3, 1023 - (halves & 7), halves)
    halves |= rng.random(count) < 0.7
    product = halves * divisor
    excess = np.maximum(np.frexp(product.astype(np.float64))[1] - 24, 0)
    dividend = np.maximum((product >> excess) + rng.integers(-1, 3, count), 0)
    scale = 2.0 ** (rng.integers(40, 200, count) - 127)
    # Both are exact: 24 bits, and the exponents of binary32.
    a = (dividend * 2.0 ** (excess - 1) * scale).astype(np.float32)
    b = (divisor * scale).astype(np.float32)
    return a.view(np.uint32).astype(np.int64), b.view(np.uint32).astype(np.int64)


def anything(rng, count):
    """Quotients from 1/8 to 2^11, and of any size; no denormals."""
    b = rng.integers(NORMAL, INFINITY, count)
    a = b + rng.integers(-3 << 23, 11 << 23, count)
    a = np.where(rng.random(count) < 0.2, rng.integers(0, INFINITY, count), a)
    return np.where((a >= NORMAL) & (a < INFINITY), a, 0), b


def small(rng, count):
    """Dividends and divisors that are denormal, or nearly; quotients on halves, and any."""
    b = rng.integers(0, 1 << 25, count) >> rng.integers(0, 26, count)
    halves = rng.integers(0, 1030, count) * b >> 1
    a = np.where(rng.random(count) < 0.3, rng.integers(0, 1 << 25, count), halves)
    denormal = rng.random(count) < 0.8
    a = np.minimum(a, np.where(denormal, NORMAL, INFINITY) - 1)
    return a, b


@cocotb.test()
async def all_quotients(dut):
    rng = np.random.default_rng(32)
    wide = bench_params()["wide"]
    if wide:
        edges = corners((0, 1, 2, 8, 9, 10, 254))
        cases = edges, near_halves(rng, 3000), anything(rng, 1000), small(rng, 8000)
    else:
        edges = corners((1, 2, 100, 101, 108, 109, 110, 111, 253, 254))
        edges = [pattern[edges[1] != 0] for pattern in edges]
        cases = edges, near_halves(rng, 20_000), anything(rng, 6_000)
    a, b = (np.concatenate(parts) for parts in zip(*cases, strict=True))
    given = [wide_of(as_float(side)) if wide else side for side in (a, b)]
    got = await run_pipeline(dut, DivideRound.latency, *given)
    wrong = np.flatnonzero(got != reference(a, b))
    assert wrong.size == 0, f"{wrong.size} wrong: {[(hex(a[k]), hex(b[k])) for k in wrong[:3]]}"


@pytest.mark.parametrize("wide", [False, True])
def test_against_numpy(wide):
    run_cocotb(
        DivideRound(wide=wide), __name__, params={"wide": wide}, simulator="verilator"
    )


def test_recipe_is_the_division():
    rng = np.random.default_rng(33)
    a, b = near_halves(rng, 500_000)
    assert (recipe(a, b) == reference(a, b)).all()
    exact = as_float(a).astype(np.float64) / as_float(b)
    assert (np.minimum(np.rint(exact), 511) != reference(a, b)).sum() > 10_000
    a, b = anything(rng, 500_000)
    assert (recipe(a, b) == reference(a, b)).all()
