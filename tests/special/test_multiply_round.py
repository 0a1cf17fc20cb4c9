# SPDX-License-Identifier: Apache-2.0
"""The rounded product against exact integers."""

import itertools

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from kiwicha.hw.special.add_round import OPERANDS
from kiwicha.hw.special.multiply_round import FACTORS, MultiplyRound

from ..support.bench import run_cocotb
from ..support.streams import pack, start_clock_and_reset
from .test_add_round import to_even

FRACTIONS = (0, 1, 2, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFE, 0x7FFFFF, 0x2AAAAB, 0x555555)
BYTES = (0, 1, 2, 3, 127, 128, 129, 253, 255)


def cases(rng, count):
    """All corners with each other; then any, products below powers of two and ties among them."""
    fixed = itertools.product(BYTES, BYTES, FRACTIONS)
    a, b = rng.integers(1, 256, (2, count))
    fraction = rng.integers(0, 1 << 23, count)
    # The significand with which the product is some units from an odd multiple of half a place.
    size = a * b
    places = np.array([int(s).bit_length() for s in size])
    wanted = ((2 * rng.integers(1 << 23, 1 << 24, count) + 1) << np.maximum(places - 2, 0)) // size
    near = (wanted + rng.integers(-1, 2, count)) & 0x7FFFFF
    below = (1 << places + 23) // size  # the largest with which it is less than a power of two
    short = fraction & -1 << rng.integers(8, 20, count)
    fraction = np.choose(rng.integers(0, 4, count), [fraction, near, short, below & 0x7FFFFF])
    return [*fixed, *zip(a.tolist(), b.tolist(), fraction.tolist(), strict=True)]


@cocotb.test()
async def all_products(dut):
    rng = np.random.default_rng(35)
    await start_clock_and_reset(dut)
    latency = MultiplyRound().latency
    for shift, count in ((-40, 30_000), (-128, 500), (119, 500)):
        dut.shift.value = shift
        offered, wanted = [], []
        seen = ties = ups = 0
        for index, (a, b, fraction) in enumerate([*cases(rng, count), *[(0, 0, 0)] * latency]):
            a_negative, b_negative, offset = (int(rng.integers(n)) for n in (2, 2, 1 << 16))
            fields = {
                "a": a, "a_negative": a_negative, "b": b, "b_negative": b_negative,
                "fraction": fraction, "offset": offset,
            }
            dut.i__payload.value = pack(FACTORS, fields)
            offered.append(index % 7 != 3)
            dut.i__valid.value = offered[-1]
            exact = a * b * ((1 << 23) + fraction)
            drop = max(0, exact.bit_length() - 24)
            size = to_even(exact, drop)
            ties += drop > 0 and exact % (1 << drop) == 1 << (drop - 1)
            ups += size > exact
            wanted.append((size, a_negative ^ b_negative, offset << 16))
            await FallingEdge(dut.clk)
            if index < latency - 1:
                assert not dut.o__valid.value or shift != -40
                continue
            before = index - latency + 1
            assert bool(dut.o__valid.value) == offered[before]
            if offered[before]:
                made = OPERANDS.from_bits(dut.o__payload.value.to_unsigned())
                moved = made["shift"] - shift
                got = (made["a"] << moved, made["negative"], made["b"])
                assert moved in (0, 8)
                assert made["a"] == 0 or made["a"] >= 1 << 23
                assert got == wanted[before], f"case {before}: {got}, not {wanted[before]}"
                seen += 1
        assert seen > 0.8 * count
        assert count < 1000 or (ties > 300 and ups > 10_000)


def test_against_exact_products():
    run_cocotb(MultiplyRound(), __name__, simulator="verilator")
