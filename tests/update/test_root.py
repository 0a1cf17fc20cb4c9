# SPDX-License-Identifier: Apache-2.0
"""The reciprocal root against the golden recipe, bit by bit."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.golden.optimizer import inverse_root
from kiwicha.hw.update.root import ReciprocalRoot
from kiwicha.machine.modes import CellFamily

from ..support.bench import run_cocotb
from ..support.streams import start_clock_and_reset

UNITS = {
    "whole": ReciprocalRoot(), "ecp5": ReciprocalRoot(18, CellFamily.ECP5),
    "narrow": ReciprocalRoot(9),
}


@cocotb.test()
async def all_lengths(dut):
    rng = np.random.default_rng(181)
    edges = [(1 << k) + d for k in range(33) for d in (-1, 0, 1)]
    steps = [(i << 24) + d for i in range(64, 256) for d in (-1, 0)]
    given = np.array([*range(40), *edges, *steps], np.int64)
    lengths = rng.integers(1, 33, 1500)
    given = np.concatenate([given, rng.integers(1, 1 << 32, 1500) >> (32 - lengths)])
    given = given[(given >= 0) & (given < 1 << 32)]
    await start_clock_and_reset(dut)
    pause = rng.random(given.size) < 0.2
    got, left = [], list(given)
    while len(got) < given.size:
        offer = bool(left) and not pause[len(left) - 1]
        if left and pause[len(left) - 1]:
            pause[len(left) - 1] = False
        dut.i__valid.value = int(offer)
        dut.i__payload.value = int(left.pop(0)) if offer else int(rng.integers(1 << 32))
        await FallingEdge(dut.clk)
        if dut.o__valid.value:
            got.append(dut.o__payload.value.to_unsigned())
    y, places = inverse_root(given)
    expected = y | places.astype(np.int64) << 31
    wrong = np.flatnonzero(np.array(got) != expected)
    assert wrong.size == 0, [(hex(given[k]), hex(got[k]), hex(expected[k])) for k in wrong[:3]]


@pytest.mark.parametrize("unit", UNITS)
def test_against_golden(unit):
    run_cocotb(UNITS[unit], __name__, simulator="verilator")
