# SPDX-License-Identifier: Apache-2.0
"""Run-length streams, right and wrong ones."""

import random

import cocotb
import numpy as np
import pytest

from kiwicha.golden import run_length
from kiwicha.hw.sparse.contract import StreamError
from kiwicha.hw.sparse.run_length import RunLengthDecoder

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, start_clock_and_reset
from .reference import read_entries
from .run import Bench, check_cases, fuzzed, sparse_matrix


def cases(beat, lanes, bits, seed):
    chooser = random.Random(seed)
    for number in range(30):
        columns, rows = chooser.randint(1, 6), chooser.randint(1, max(1, 32 // lanes))
        density = chooser.choice((0, 0.05, 0.3, 1))
        matrix = sparse_matrix(chooser, rows * lanes, columns, density)
        octets = run_length.encode(matrix, index_bits=bits, beat_bytes=beat).tobytes()
        if wrong := number % 3 != 0:
            octets = fuzzed(chooser, octets, beat)
        expected = read_entries(
            octets, columns, rows, lanes, beat_bytes=beat, index_bits=bits, counted=False
        )
        if not wrong:
            dense = matrix.T.reshape(-1, lanes).view(np.uint8).tolist()
            assert expected[:2] == (dense, StreamError.NONE)
        yield (columns, rows), octets, expected


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(ready=READY_POLICIES)
async def decodes(dut, ready):
    beat, lanes, bits = (bench_params()[name] for name in ("beat", "lanes", "bits"))
    await start_clock_and_reset(dut)
    offer = {"always": "random", "bursty": "bursty"}.get(ready, "always")
    bench = Bench(dut, beat, lanes, ready, offer)
    seen = await check_cases(bench, cases(beat, lanes, bits, ready))
    assert StreamError.NONE in seen
    assert len(seen) >= 3


@pytest.mark.parametrize(("beat", "lanes"), [(16, 16), (8, 4)])
def test_decodes(beat, lanes):
    decoder = RunLengthDecoder(beat, lanes, entries=3)
    params = {"beat": beat, "lanes": lanes, "bits": 4}
    run_cocotb(decoder, __name__, params=params)
