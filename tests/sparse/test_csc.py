# SPDX-License-Identifier: Apache-2.0
"""CSC streams of all widths, right and wrong ones, and how fast they are."""

import random

import cocotb
import numpy as np
import pytest

from kiwicha.golden import csc
from kiwicha.hw.sparse.contract import StreamError
from kiwicha.hw.sparse.csc import CscDecoder

from ..support.bench import bench_params, run_cocotb
from ..support.netlist import assert_structure
from ..support.streams import READY_POLICIES, start_clock_and_reset
from .reference import read_entries
from .run import Bench, check_cases, fuzzed, sparse_matrix

BOOK = np.array([0, -128, 127, -1, 1, 5, -5, 9, 20, -20, 33, -33, 60, -60, 7, 3], np.int8)

#: beat_bytes, lanes and the format
SHAPES = [
    (16, 16, {"index_bits": 4, "entries": 8}),
    (16, 8, {"index_bits": 5, "entries": 4, "columns": 64}),
    (8, 16, {"index_bits": 8, "entries": 3}),
    (4, 4, {"index_bits": 4, "codebook": True, "entries": 2}),
    (16, 16, {"index_bits": 10, "relative": False, "entries": 4}),
    (32, 1, {"index_bits": 6, "relative": False, "codebook": True, "entries": 1}),
    (8, 128, {"index_bits": 5, "entries": 3}),
]


def cases(params, seed, count):
    beat, lanes = params["beat"], params["lanes"]
    form = {k: v for k, v in params["form"].items() if k in ("index_bits", "relative", "codebook")}
    chooser = random.Random(seed)
    for number in range(count):
        columns, rows = chooser.randint(1, 6), chooser.randint(1, max(2, 32 // lanes))
        matrix = sparse_matrix(chooser, rows * lanes, columns, chooser.choice((0, 0.05, 0.3, 1)))
        book = None
        if form.get("codebook"):
            book, matrix = BOOK, BOOK[matrix.view(np.uint8) % 16 * (matrix != 0)]
        octets = csc.encode(matrix, **form | {"codebook": book}, beat_bytes=beat).tobytes()
        if wrong := number % 3 != 0:
            octets = fuzzed(chooser, octets, beat)
        expected = read_entries(octets, columns, rows, lanes, beat_bytes=beat, **form)
        if not wrong:
            dense = matrix.T.reshape(-1, lanes).view(np.uint8).tolist()
            assert expected[:2] == (dense, StreamError.NONE)
        yield (columns, rows), octets, expected


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(ready=READY_POLICIES)
async def decodes(dut, ready):
    params = bench_params()
    await start_clock_and_reset(dut)
    offer = {"always": "random", "random": "always", "bursty": "bursty"}.get(ready, "always")
    bench = Bench(dut, params["beat"], params["lanes"], ready, offer)
    seen = await check_cases(bench, cases(params, ready, params["cases"]))
    assert StreamError.NONE in seen
    assert len(seen) >= 3


#: Streams of a job of two columns of 8 elements: 4-bit relative indices, 8 bytes of pointers.
WRONG = [
    ([1, 0, 0, 0, 0, 0, 0, 0, 0x12], StreamError.POINTER, 2),
    ([9, 0, 9, 0, 0, 0, 0, 0, 0x12], StreamError.POINTER, 0),
    ([1, 0, 1, 0, 0, 0, 0, 0, 0x18], StreamError.INDEX, 8),
    ([2, 0, 2, 0, 0, 0, 0, 0, 0x10, 0x80, 0x01], StreamError.INDEX, 9),
    ([1, 0, 1, 0, 0, 0, 0, 0, 0x02, 0], StreamError.PADDING, 8),
    ([1, 0, 1, 0, 1, 0, 0, 0, 0x12, 0], StreamError.PADDING, 0),
    ([1, 0, 1, 0, 0, 0, 0, 0, 0x12, 0x80], StreamError.PADDING, 9),
    ([1, 0, 1, 0, 0, 0, 0, 0, 0x12, *[0] * 8], StreamError.TRAILING, 9),
    ([8, 0, 8, 0, 0, 0, 0, 0, *[0x10, 0x00, 0x01] * 2, 0, 0], StreamError.PADDING, 14),
    ([8, 0, 8, 0, 0, 0, 0, 0, *[0x10, 0x01, 0x01] * 2, 0x10], StreamError.TRUNCATED, 15),
]


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def refuses(dut):
    await start_clock_and_reset(dut)
    bench = Bench(dut, 8, 8, "always", "always")
    for octets, error, offset in WRONG:
        padded = bytes(octets) + bytes(-len(octets) % 8)
        _, found, at, _ = await bench.run((2, 1), padded)
        assert (found, at) == (error, offset), f"{octets}: {found!r} at {at}"
        assert read_entries(padded, 2, 1, 8, beat_bytes=8, index_bits=4)[1:] == (error, offset)
    for job in ((0, 1), (1, 0), (1025, 1), (1, 8192)):
        assert (await bench.run(job, bytes(8)))[:3] == ([], StreamError.JOB, 0)


def test_refuses():
    run_cocotb(CscDecoder(8, 8, entries=2), __name__, testcase="refuses")


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def is_fast(dut):
    """A row a cycle up to a quarter of values; never a cycle with neither a row nor an entry."""
    entries = bench_params()["entries"]
    await start_clock_and_reset(dut)
    bench = Bench(dut, 16, 16, "always", "always")
    for density in (0, 0.05, 0.1, 0.25, 0.5, 1):
        matrix = sparse_matrix(random.Random(7), 512, 8, density)
        stored = int(csc.entries(matrix, 4)[2][-1])
        octets = csc.encode(matrix).tobytes()
        rows, error, _, cycles = await bench.run((8, 32), octets)
        assert (len(rows), error) == (256, StreamError.NONE)
        cocotb.log.info("density %s: %d cycles, 256 rows, %d entries", density, cycles, stored)
        assert cycles <= 256 + stored // entries + 16
        if density <= 0.25 and entries >= 8:
            assert cycles <= 1.05 * 256 + 12


@pytest.mark.parametrize("entries", [1, 8])
def test_is_fast(entries):
    decoder = CscDecoder(16, 16, entries=entries)
    run_cocotb(decoder, __name__, testcase="is_fast", params={"entries": entries})


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def keeps_up(dut):
    """Rows that take a beat a cycle on average, and their largest pieces more than that."""
    await start_clock_and_reset(dut)
    bench = Bench(dut, 8, 32, "always", "always")
    matrix = sparse_matrix(random.Random(7), 4096, 2, 0.12)
    octets = csc.encode(matrix, index_bits=5, beat_bytes=8).tobytes()
    rows, error, _, cycles = await bench.run((2, 128), octets)
    assert (len(rows), error) == (256, StreamError.NONE)
    cocotb.log.info("%d cycles, 256 rows, %d beats", cycles, len(octets) // 8)
    assert cycles <= 1.08 * max(256, len(octets) // 8) + 12


def test_keeps_up():
    run_cocotb(CscDecoder(8, 32, index_bits=5, entries=8), __name__, testcase="keeps_up")


@pytest.mark.parametrize(("beat", "lanes", "form"), SHAPES)
def test_decodes(beat, lanes, form):
    params = {"beat": beat, "lanes": lanes, "form": form, "cases": 30 if lanes < 128 else 6}
    decoder = CscDecoder(beat, lanes, **form)
    run_cocotb(decoder, __name__, testcase="decodes", params=params)


def test_structure():
    assert_structure(CscDecoder(8, 8, entries=2, codebook=True))


def test_illegal_parameters():
    for name, value, legal in (
        ("index_bits", 0, "1 to 16"), ("entries", 17, "1 to 16"), ("columns", 0, "1 to 32768"),
    ):
        with pytest.raises(ValueError, match=f"^{name} is {value}; legal: {legal}$"):
            CscDecoder(8, 8, **{name: value})
    with pytest.raises(ValueError, match=r"^lanes is 12; legal: powers of two from 1 to 128$"):
        CscDecoder(8, 12)
