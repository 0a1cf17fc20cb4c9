# SPDX-License-Identifier: Apache-2.0
"""CSC streams of all widths, right and wrong ones, and how fast they are."""

import random

import cocotb
import numpy as np
import pytest

from golden import csc
from hw.sparse.contract import StreamError
from hw.sparse.csc import CscDecoder
from tests.sparse.reference import read_entries
from tests.sparse.run import Bench, check_cases, fuzzed, sparse_matrix
from tests.support.bench import bench_params, run_cocotb
from tests.support.streams import READY_POLICIES, start_clock_and_reset

BOOK = np.array([0, -128, 127, -1, 1, 5, -5, 9, 20, -20, 33, -33, 60, -60, 7, 3], np.int8)

#: beat_bytes, lanes and the format
SHAPES = [
    (16, 16, {"index_bits": 4, "entries": 8}),
    (16, 8, {"index_bits": 5, "entries": 4, "columns": 64}),
    (8, 16, {"index_bits": 8, "entries": 3}),
    (4, 4, {"index_bits": 4, "codebook": True, "entries": 2}),
    (16, 16, {"index_bits": 10, "relative": False, "entries": 4}),
    (32, 1, {"index_bits": 6, "relative": False, "codebook": True, "entries": 1}),
]


def cases(params, seed, count):
    beat, lanes = params["beat"], params["lanes"]
    form = {k: v for k, v in params["form"].items() if k in ("index_bits", "relative", "codebook")}
    chooser = random.Random(seed)
    for number in range(count):
        columns, rows = chooser.randint(1, 9), chooser.randint(1, max(1, 40 // lanes))
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
    assert {StreamError.NONE, StreamError.TRUNCATED, StreamError.TRAILING} <= seen
    if params["cases"] > 60:
        assert {StreamError.PADDING, StreamError.POINTER, StreamError.INDEX} <= seen


def decoder(beat, lanes, form):
    return CscDecoder(beat, lanes, **form)


@pytest.mark.parametrize(("beat", "lanes", "form"), SHAPES)
def test_decodes(beat, lanes, form):
    params = {"beat": beat, "lanes": lanes, "form": form, "cases": 90}
    run_cocotb(decoder(beat, lanes, form), __name__, params=params)
