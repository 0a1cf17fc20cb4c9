# SPDX-License-Identifier: Apache-2.0
"""Bitmask streams of several widths, right and wrong ones, and how fast they are."""

import random

import cocotb
import numpy as np
import pytest

from kiwicha.golden import bitmask
from kiwicha.hw.sparse.bitmask import BitmaskDecoder
from kiwicha.hw.sparse.contract import StreamError

from ..support.bench import bench_params, run_cocotb
from ..support.netlist import assert_structure
from ..support.slow import slow
from ..support.streams import READY_POLICIES, start_clock_and_reset
from .reference import read_bitmask
from .run import Bench, check_cases, fuzzed, sparse_matrix


def cases(beat, lanes, seed, count):
    chooser = random.Random(seed)
    for number in range(count):
        columns, rows = chooser.randint(1, 4), chooser.randint(1, 5)
        density = chooser.choice((0, 0.05, 0.3, 1))
        dense = sparse_matrix(chooser, columns * rows, lanes, density)
        octets = bitmask.encode(dense, beat_bytes=beat).tobytes()
        if wrong := number % 3 != 0:
            octets = fuzzed(chooser, octets, beat)
        expected = read_bitmask(octets, columns * rows, lanes, beat_bytes=beat)
        if not wrong:
            assert expected[:2] == (dense.view(np.uint8).tolist(), StreamError.NONE)
        yield (columns, rows), octets, expected


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(ready=READY_POLICIES)
async def decodes(dut, ready):
    beat, lanes = bench_params()["beat"], bench_params()["lanes"]
    await start_clock_and_reset(dut)
    offer = {"always": "random", "bursty": "bursty"}.get(ready, "always")
    bench = Bench(dut, beat, lanes, ready, offer)
    seen = await check_cases(bench, cases(beat, lanes, ready, 30 if lanes < 128 else 6))
    assert StreamError.NONE in seen
    assert len(seen) >= 3


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def refuses_empty_jobs(dut):
    beat, lanes = bench_params()["beat"], bench_params()["lanes"]
    await start_clock_and_reset(dut)
    bench = Bench(dut, beat, lanes, "always", "always")
    empty = ([], StreamError.JOB, 0)
    await check_cases(bench, [((0, 1), bytes(beat), empty), ((1, 0), bytes(3 * beat), empty)])


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def is_fast(dut):
    """A row a cycle where a beat carries a row, else what the beats carry."""
    beat, lanes = bench_params()["beat"], bench_params()["lanes"]
    await start_clock_and_reset(dut)
    bench = Bench(dut, beat, lanes, "always", "always")
    for density in (0, 0.1, 0.25, 0.5, 0.75, 1):
        dense = sparse_matrix(random.Random(7), 300, lanes, density)
        octets = bitmask.encode(dense, beat_bytes=beat).tobytes()
        *_, cycles = await bench.run((1, 300), octets)
        cocotb.log.info("density %s: %d cycles for 300 rows", density, cycles)
        best = max(300, len(octets) // beat)
        assert cycles <= (1.05 if density <= 0.5 else 1.5) * best + 12


@slow("16-128")
@pytest.mark.parametrize(("beat", "lanes"), [(16, 16), (8, 8), (16, 128)])
def test_decodes(beat, lanes):
    run_cocotb(BitmaskDecoder(beat, lanes), __name__, params={"beat": beat, "lanes": lanes})


def test_structure():
    assert_structure(BitmaskDecoder(8, 8))


def test_illegal_parameters():
    with pytest.raises(ValueError, match=r"^lanes is 4; legal: 8 to 128$"):
        BitmaskDecoder(16, 4)
    with pytest.raises(ValueError, match=r"^beat_bytes is 6; legal: powers of two from 4 to 64$"):
        BitmaskDecoder(6, 16)
