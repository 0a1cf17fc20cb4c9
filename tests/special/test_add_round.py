# SPDX-License-Identifier: Apache-2.0
"""The rounding addition against exact integers."""

import itertools

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from kiwicha.hw.special.add_round import AddRound

from ..parts.float_cases import bits_of
from ..support.bench import run_cocotb
from ..support.streams import start_clock_and_reset

SIGN = 1 << 31
INFINITY = 0x7F800000
UNIT = 149  # the least binary32 number is 2^-UNIT


def exact_sum(a, negative, shift, b):
    """±a * 2^shift + b in units of 2^-UNIT; None where b is not finite."""
    exponent, fraction = b >> 23 & 255, b & 0x7FFFFF
    if exponent == 255:
        return None
    number = (fraction | (exponent != 0) << 23) << max(exponent, 1) - 1
    return (-a if negative else a) * 2 ** (UNIT + shift) + (-number if b & SIGN else number)


def to_even(value, places):
    """Round an integer to a multiple of 2^places."""
    rest = value % (1 << places)
    value -= rest
    up = 2 * rest > 1 << places or (2 * rest == 1 << places and value >> places & 1)
    return value + (up << places)


def reference(a, negative, shift, b, single=True):
    """The result; ``single`` tells whether the sum is rounded to 24 bits first."""
    total = exact_sum(a, negative, shift, b)
    if total is None:
        return -1024
    if single:
        total = to_even(total, max(0, abs(total).bit_length() - 24))
    if total >= 1 << UNIT + 31:
        return -1024
    return max(-1024, min(1023, to_even(total, UNIT) >> UNIT))


def products(rng, count):
    """Products of a byte and a significand with corners of both, 0 among them."""
    byte = rng.choice([0, 1, 2, 3, 127, 128, 255], count)
    byte = np.where(rng.random(count) < 0.5, rng.integers(0, 256, count), byte)
    factor = rng.choice([1 << 23, (1 << 23) + 1, (1 << 24) - 1, 0xC00000, 0xAAAAAB], count)
    factor = np.where(rng.random(count) < 0.6, rng.integers(1 << 23, 1 << 24, count), factor)
    return byte * factor


def near(rng, a, shift, target, spread=3):
    """Bits of about target - a * 2^shift, up to some of its ulps apart."""
    b = bits_of(target - np.ldexp(a.astype(np.float64), shift))
    b = b + rng.integers(-spread, spread + 1, len(a))
    return np.where((b & INFINITY) == INFINITY, 1, b) & 0xFFFFFFFF


def near_halves(rng, count):
    """Sums within some ulps of a half, of terms of all sizes: also what only f() makes a half."""
    a, shift = products(rng, count), rng.integers(-60, 4, count)
    return a, shift, near(rng, a, shift, rng.integers(-2060, 2061, count) / 2)


def far_apart(rng, count):
    """A half up to an ulp or two, and a first term that is at most a few ulps of it."""
    a, shift = products(rng, count), rng.integers(-66, -30, count)
    half = bits_of((rng.integers(-1030, 1030, count) + 0.5).astype(np.float32))
    return a, shift, half + rng.integers(-2, 3, count)


def beside(rng, count):
    """A first term that is a half up to a few units, or up to half of a place that binary32 has,
    and a second that is less than some of its places, or much less."""
    half = 2 * rng.integers(0, 1024, count) + 1
    length = rng.integers(24, 33, count)
    up = length - np.ceil(np.log2(half + 1)).astype(int)
    apart = rng.integers(-2, 3, count)
    halfway = np.where(length > 24, 1 << np.maximum(0, length - 25), 0) * rng.choice([-1, 1], count)
    a, shift = (half << up) + np.where(rng.random(count) < 0.5, apart, halfway), -1 - up
    below = np.where(rng.random(count) < 0.5, rng.integers(-4, 15, count), 8 * apart**4)
    exponent = np.maximum(0, shift + 127 - below)
    fraction = rng.choice([0, 0, 1, 0x400000, 0x7FFFFF, 0x123456], count)
    return np.clip(a, 1 << 23, (1 << 32) - 1), shift, exponent << 23 | fraction


def ties(rng, count):
    """First terms that lie halfway between two binary32 numbers, beside a second of any size."""
    power = rng.integers(1, 9, count)
    a = (2 * rng.integers(1 << 23, 1 << 24, count) + 1) << power - 1
    a = np.where(rng.random(count) < 0.5, a & -1 << rng.integers(8, 20, count), a)
    shift = -24 - power + rng.integers(-1, 11, count)
    exponent = np.maximum(0, shift + 150 - rng.integers(-3, 80, count))
    fraction = np.where(rng.random(count) < 0.5, rng.choice([0, 1, 0x7FFFFF], count), 0x123456)
    return a, shift, exponent << 23 | fraction | rng.integers(0, 2, count) << 31


def cancelling(rng, count):
    """Opposite terms of any size, some places of the last bits apart."""
    a, shift = products(rng, count), rng.integers(-128, 96, count)
    b = near(rng, a, shift, 0.0)
    flips = rng.integers(0, 256, count) << rng.integers(0, 16, count)
    return a, shift, np.where(rng.random(count) < 0.5, b ^ flips, b)


def borrowing(rng, count):
    """Differences close below a power of two and to a half: they lose their first place."""
    power = 1 << rng.integers(1, 11, count)
    a, shift = products(rng, count), rng.integers(-40, -16, count)
    target = power - rng.integers(0, 4, count) / 2 + rng.integers(-8, 9, count) * power / 2.0**27
    return a, shift, near(rng, a, shift, target)


def reaching(rng, count):
    """Sums about the greatest integer, and much larger ones."""
    a, shift = products(rng, count), rng.integers(-8, 60, count)
    limit = 2.0**31 - rng.integers(-4, 5, count) * 32
    return a, shift, near(rng, a, shift, limit * rng.choice([1, 1, -1, 0.5, 2], count))


def anything(rng, count):
    b = rng.integers(0, 1 << 31, count)
    b = np.where(rng.random(count) < 0.6, rng.integers(110, 150, count) << 23 | b & 0x7FFFFF, b)
    shift = rng.integers(-128, 128, count)
    shift = np.where(rng.random(count) < 0.6, rng.integers(-60, 0, count), shift)
    return products(rng, count), shift, b | rng.integers(0, 2, count) << 31


def edges(rng, count):
    """Greatest and least of everything with each other, infinities and NaN."""
    fractions = [
        fraction | sign << 31 for fraction in (0, 1, 0x400000, 0x7FFFFF) for sign in (0, 1)
    ]
    cases = itertools.product(
        (0, 1 << 23, 1 << 24, 1 << 31, (1 << 32) - 1),
        (-128, -97, -72, -32, -24, -23, 0, 1, 12, 99, 104, 127),
        (0, 1, 2, 30, 126, 136, 137, 157, 158, 170, 254, 255),
        fractions,
    )
    a, shift, exponent, fraction = np.array(list(cases)).T
    return a, shift, exponent << 23 | fraction


MAKERS = (near_halves, far_apart, beside, ties, cancelling, borrowing, reaching, anything, edges)


@cocotb.test()
async def all_sums(dut):
    rng = np.random.default_rng(34)
    cases = []
    for make in MAKERS:
        a, shift, b = (part.tolist() for part in make(rng, 4_000))
        signs = rng.integers(0, 2, len(a)).tolist()
        # Both terms change their sign, so that what cancels still does.
        cases += [
            (x, sign, s, y ^ sign << 31) for x, sign, s, y in zip(a, signs, shift, b, strict=True)
        ]
    await start_clock_and_reset(dut)
    latency = AddRound.latency
    got, valid, offered = [], [], []
    for index, (a, negative, shift, b) in enumerate(cases + [cases[0]] * (latency - 1)):
        offered.append(index % 7 != 3)
        dut.i__payload.value = a | negative << 32 | (shift & 255) << 33 | b << 41
        dut.i__valid.value = offered[-1]
        await FallingEdge(dut.clk)
        valid.append(bool(dut.o__valid.value))
        got.append(dut.o__payload.value.to_signed() if valid[-1] else None)
    assert valid[latency - 1 :] == offered[: len(cases)]
    assert not any(valid[: latency - 1])
    expected = [reference(*case) for case in cases]
    wrong = [
        (case, right, result)
        for case, right, result in zip(cases, expected, got[latency - 1 :], strict=True)
        if result is not None and result != right
    ]
    assert not wrong, f"{len(wrong)} wrong: {wrong[:3]}"
    once = [reference(*case, single=False) for case in cases]
    assert sum(x != y for x, y in zip(once, expected, strict=True)) > 300, "f() never matters"
    for least, value in ((1000, -1024), (1000, 1023), (10_000, None)):
        count = sum(value is None and abs(each) < 1000 or each == value for each in expected)
        assert count > least, f"{count} results of kind {value}"


def test_against_exact_sums():
    run_cocotb(AddRound(), __name__, simulator="verilator")
