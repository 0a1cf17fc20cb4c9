# SPDX-License-Identifier: Apache-2.0
"""The cocotb side of every decoder's test: jobs in, rows and the verdict out."""

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
from cocotb.triggers import FallingEdge
from numpy.typing import NDArray

from kiwicha.hw.sparse.contract import JOB, STREAM_FAULT, StreamError, beat_layout, row_layout

from ..support.streams import StreamSink, StreamSource, unpack

__all__ = ["Bench", "check_cases", "cut", "fuzzed", "sparse_matrix"]


def sparse_matrix(
    chooser: random.Random, length: int, columns: int, density: float
) -> NDArray[np.int8]:
    """Return a matrix with about that density of values of all kinds."""
    generator = np.random.default_rng(chooser.getrandbits(32))
    matrix = generator.integers(-128, 128, (length, columns), np.int8)
    return np.where(generator.random(matrix.shape) < density, matrix, 0).astype(np.int8)


def cut(octets: bytes, beat_bytes: int) -> list[dict[str, int]]:
    """Return the beats of a stream of whole beats."""
    assert octets
    assert len(octets) % beat_bytes == 0
    return [
        {
            "data": int.from_bytes(octets[at : at + beat_bytes], "little"),
            "last": int(at + beat_bytes == len(octets)),
        }
        for at in range(0, len(octets), beat_bytes)
    ]


def fuzzed(chooser: random.Random, octets: bytes, beat_bytes: int) -> bytes:
    """Return the stream with bits turned over, beats cut off, added, or altogether random."""
    kind = chooser.randrange(5)
    out = bytearray(octets)
    if kind == 0 and len(out) > beat_bytes:
        del out[beat_bytes * chooser.randrange(1, len(out) // beat_bytes) :]
    elif kind == 1:
        out += bytes(chooser.choice((0, chooser.randrange(256))) for _ in range(beat_bytes))
    elif kind == 2:
        out = bytearray(chooser.randbytes(len(out)))
    else:
        for _ in range(kind - 2):
            out[chooser.randrange(len(out))] ^= 1 << chooser.randrange(8)
    return bytes(out)


class Bench:
    """One decoder with its streams.

    Parameters
    ----------
    ready, offer : policies of the rows' consumer and of the beats' source.
    """

    def __init__(self, dut: Any, beat_bytes: int, lanes: int, ready: str, offer: str) -> None:
        self.dut, self.beat_bytes = dut, beat_bytes
        self.jobs = StreamSource(dut, "job", JOB)
        self.beats = StreamSource(dut, "i", beat_layout(beat_bytes), policy=offer, seed=3)
        self.rows = StreamSink(dut, "o", row_layout(lanes), policy=ready, seed=4)

    def _taken(self) -> list[dict[str, Any]]:
        rows = list(self.rows.words)
        self.rows.words.clear()
        return rows

    async def run(self, job: tuple[int, int], octets: bytes) -> tuple[Any, StreamError, int, int]:
        """Run one job; return rows, error, offset, and the cycles to its end."""
        dut, self.beats.sent = self.dut, 0
        self.jobs.put([{"columns": job[0], "rows": job[1]}])
        self.beats.put(cut(octets, self.beat_bytes))
        limit = 400 + 40 * (job[0] * job[1] + len(octets))
        for cycle in range(limit):
            await FallingEdge(dut.clk)
            if int(dut.done.value):
                assert not int(dut.error__valid.value)
                rows = self._taken()
                assert [row["last"] for row in rows] == [0] * (len(rows) - 1) + [1]
                return [row["lanes"] for row in rows], StreamError.NONE, 0, cycle
            if int(dut.error__valid.value):
                fault = unpack(STREAM_FAULT, dut.error__payload.value.to_unsigned())
                # The beats left are swallowed, and what was ready before may be waiting.
                for _ in range(4 * len(octets) // self.beat_bytes + 60):
                    await FallingEdge(dut.clk)
                    assert not int(dut.error__valid.value)
                    assert not int(dut.done.value)
                assert self.beats.sent == len(octets) // self.beat_bytes
                rows = [row["lanes"] for row in self._taken()]
                dut.rst.value = 1
                await FallingEdge(dut.clk)
                dut.rst.value = 0
                return rows, StreamError(fault["code"]), fault["offset"], cycle
        raise AssertionError(f"no end of the job after {limit} cycles")


async def check_cases(bench: Bench, cases: Iterable[Any]) -> set[StreamError]:
    """Run cases of (job, octets, expected) and return the errors that came up, NONE included."""
    seen = set()
    for number, (job, octets, (rows, error, offset)) in enumerate(cases):
        found = await bench.run(job, octets)
        what = f"case {number}: {error!r} at {offset} of {job} {octets.hex()}"
        assert found[1] == error, f"{found[1]!r}, not {what}"
        assert found[0] == rows, what
        assert not error or found[2] == offset, f"{found[2]}, not {what}"
        seen.add(error)
    return seen
