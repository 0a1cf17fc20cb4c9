# SPDX-License-Identifier: Apache-2.0
"""Sums and products in fixed point against the golden model, number for number."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from kiwicha.golden.fixed_pair import multiply_by
from kiwicha.hw.special.fixed_pair import TERMS, FixedPair
from kiwicha.machine.fixed_pairs import product_tables, sum_tables

from ..support.bench import run_cocotb
from ..support.streams import pack, start_clock_and_reset


def batches(rng):
    """Yield a, b, whether they are factors, multiplier and shift: terms of ADD and MUL as the
    compiler makes them, near halves above all, and any others that fit int32."""
    for turn in range(60):
        scales = np.float32(rng.uniform(1, 2, 2) * 2.0 ** rng.integers(-6, 2, 2))
        kinds = [(scale, int(rng.integers(-128, 128)), np.int8) for scale in scales]
        product = turn % 2
        if turn % 3 == 0:
            kinds[1] = (kinds[0][0], *kinds[1][1:])
        y_scale = np.float32(kinds[0][0] * (2 if turn % 3 == 0 else rng.uniform(0.5, 4)))
        tables = (product_tables if product else sum_tables)(*kinds, y_scale)
        first, second = (table.view(np.int32).astype(np.int64) for table in tables[:2])
        a, b = rng.integers(0, 256, (2, 400))
        yield first[a], second[b], product, *tables[2:]
    for shift in range(-31, 31):
        multiplier = int(rng.choice([1 << 30, (1 << 31) - 1, rng.integers(1 << 30, 1 << 31), 0]))
        room = 30 - max(shift, 0)
        size = 1 << rng.integers(0, room + 1, 60)
        yield (*rng.integers(-size, size, (2, 60)) // 2, 0, multiplier, shift)
        if shift <= 13:
            yield (*rng.integers(-255, 256, (2, 60)), 1, multiplier, shift)


@cocotb.test()
async def all_pairs(dut):
    rng = np.random.default_rng(7)
    await start_clock_and_reset(dut)
    latency, seen, ties = FixedPair().latency, set(), 0
    for number, (a, b, product, multiplier, shift) in enumerate(batches(rng)):
        total = a * b if product else a + b
        expected = np.clip(multiply_by(total, multiplier, shift), -256, 255)
        dut.multiplier.value, dut.shift.value = multiplier, shift
        got, offered = [], []
        for index in range(len(a) + latency):
            live = index < len(a) and (number + index) % 5 != 2
            offered.append(live)
            if index < len(a):
                terms = {"a": int(a[index]), "b": int(b[index]), "product": int(product)}
                dut.i__payload.value = pack(TERMS, terms)
            dut.i__valid.value = live
            await FallingEdge(dut.clk)
            got.append(dut.o__payload.value.to_signed() if dut.o__valid.value else None)
        got, offered = got[latency - 1 :], offered[: len(a)]
        right = [int(e) if live else None for e, live in zip(expected, offered, strict=True)]
        assert got[: len(a)] == right, f"batch {number}: {multiplier} {shift}"
        seen |= set(expected.tolist())
        if shift < 0:
            rest = (total * multiplier) % (1 << (31 - shift))
            ties += np.count_nonzero(rest == 1 << (30 - shift))
    assert len(seen) > 300, "few results"
    assert ties > 300, "no halves"


def test_against_the_golden_model():
    run_cocotb(FixedPair(), __name__, simulator="verilator")
