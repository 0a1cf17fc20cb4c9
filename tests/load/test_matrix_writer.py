# SPDX-License-Identifier: Apache-2.0
"""The matrix writer alone: each byte once, in pieces as large as they may be, up to the edge."""

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from kiwicha.hw.load.matrix_writer import MatrixWriter
from kiwicha.hw.parts.format_rules import format_job
from kiwicha.hw.parts.realign import part_layout
from kiwicha.hw.parts.writes import WriteKind, weight_write
from kiwicha.machine.isa import WeightFormat
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.netlist import assert_structure
from ..support.streams import StreamSource, start_clock_and_reset, unpack
from .formats import spots

TINY = preset("tiny").replace(transposer=True, weight_bytes=1024)
MACHINES = {
    "square": TINY.replace(columns=8, rows=8),
    "narrow": TINY.replace(columns=3),
    "wide": TINY.replace(columns=21),
    "one column": TINY.replace(columns=1, rows=1, weight_bytes=256),
}


def piece_ends(cfg, fields, count):
    """Return the numbers of the bytes that pieces of ``count`` bytes end before."""
    ends, size = [], 0
    for number in range(count):
        line_ends = number % fields["extent"] == fields["extent"] - 1
        byte = number % fields["extent"] % cfg.columns
        tile_ends = fields["format"] == WeightFormat.ROWS and byte == cfg.columns - 1
        size += 1
        if line_ends or tile_ends or size == cfg.beat_bytes:
            ends.append(number + 1)
            size = 0
    return ends + [count] * (size > 0)


def random_job(cfg, chooser, *, inside=True):
    """Return a job's fields and the number of its bytes, all inside the scratchpad or not."""
    pitch, rows = cfg.weight_pitch, cfg.weight_bytes // cfg.weight_pitch
    while True:
        longest = chooser.choice((15, 40, 400))
        # A line much longer than the job never ends in it, whichever bits of its length are set.
        endless = (1 << chooser.randint(11, 15)) + chooser.randint(0, 15)
        extent = chooser.choice((cfg.columns, chooser.randint(1, longest), endless))
        count = chooser.choice((1, min(extent, longest), chooser.randint(1, 4 * longest)))
        fields = {
            "format": chooser.choice((WeightFormat.ROWS, WeightFormat.COLUMNS)),
            "extent": extent,
            "local": chooser.randrange(rows) * pitch,
            "local_pitch": chooser.randint(-rows, rows) * pitch,
        }
        if all(0 <= row < rows for row, _ in spots(cfg, fields, count)) == inside:
            return fields, count


def job(cfg, fields):
    """Return the payload of ``job``."""
    pitch = cfg.weight_pitch
    return dict.fromkeys(format_job(cfg).members, 0) | {
        "format": fields["format"], "extent": fields["extent"],
        "row": fields["local"] // pitch, "row_pitch": fields["local_pitch"] // pitch,
    }


def beats_of(chooser, octets, beat):
    """Return parts of beats that make up ``octets``."""
    at, beats = 0, []
    while at < len(octets):
        head = chooser.choice((0, chooser.randrange(beat)))
        tail = chooser.choice((beat - 1, chooser.randrange(head, beat)))
        tail = min(tail, head + len(octets) - at - 1)
        data = chooser.randbytes(head) + octets[at : at + tail - head + 1]
        at += tail - head + 1
        word = int.from_bytes(data, "little")
        beats.append({"data": word, "head": head, "tail": tail, "last": at == len(octets)})
    return beats


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def writes_pieces(dut):
    params = bench_params()
    cfg = MACHINES[params["machine"]]
    chooser = random.Random(3)
    beat = cfg.beat_bytes
    await start_clock_and_reset(dut)
    jobs = StreamSource(dut, "job", format_job(cfg))
    source = StreamSource(dut, "i", part_layout(beat), policy=params["offer"])
    shape = weight_write(cfg)
    for _ in range(25):
        fields, count = random_job(cfg, chooser)
        octets = chooser.randbytes(count)
        jobs.put([job(cfg, fields)])
        source.put(beats_of(chooser, octets, beat))
        written, sizes, done = [], [], False
        while not done:
            await RisingEdge(dut.clk)
            assert not int(dut.outside.value)
            done = bool(dut.done.value)
            if dut.write__valid.value:
                write = unpack(shape, int(dut.write__payload.value))
                down = fields["format"] == WeightFormat.COLUMNS
                assert write["kind"] == (WriteKind.COLUMN if down else WriteKind.ROW)
                for index in range(write["live"] + 1):
                    row, column = write["row"] + index * down, write["column"] + index * (not down)
                    written.append((row, column, write["data"][index]))
                sizes.append(len(written))
            else:
                assert not done, "done without the last write"
        places = spots(cfg, fields, count)
        assert written == [(*place, octet) for place, octet in zip(places, octets, strict=True)]
        assert sizes == piece_ends(cfg, fields, count)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def stops_at_the_edge(dut):
    """Pieces inside come out, the first one outside and all after it do not."""
    cfg = MACHINES[bench_params()["machine"]]
    chooser = random.Random(4)
    rows = cfg.weight_bytes // cfg.weight_pitch
    await start_clock_and_reset(dut)
    jobs = StreamSource(dut, "job", format_job(cfg))
    source = StreamSource(dut, "i", part_layout(cfg.beat_bytes))
    far = [
        # The second tile begins a power of two of rows away: no bit of a row is overlooked.
        {"format": WeightFormat.ROWS, "extent": cfg.columns + 1, "local": 0,
         "local_pitch": sign * (cfg.weight_pitch << bit)}
        for bit in range(rows.bit_length() - 1, 16)
        for sign in (1, -1)
    ]
    others = (random_job(cfg, chooser, inside=False) for _ in range(12))
    for fields, count in (*((fields, cfg.columns + 1) for fields in far), *others):
        places = list(spots(cfg, fields, count))
        expected, start = 0, 0
        for end in piece_ends(cfg, fields, count):
            if not all(0 <= row < rows for row, _ in places[start:end]):
                break
            expected, start = expected + 1, end
        jobs.put([job(cfg, fields)])
        source.put(beats_of(chooser, chooser.randbytes(count), cfg.beat_bytes))
        written, outside = 0, []
        for _ in range(count + 40):
            await RisingEdge(dut.clk)
            if dut.outside.value:
                outside.append(written)
            written += int(dut.write__valid.value)
            assert not dut.done.value
        assert outside == [expected], fields
        assert written == expected
        source._queue.clear()
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        dut.rst.value = 0


@pytest.mark.parametrize("offer", ["always", "random"])
@pytest.mark.parametrize("machine", list(MACHINES))
def test_writes_pieces(machine, offer):
    params = {"machine": machine, "offer": offer}
    run_cocotb(MatrixWriter(MACHINES[machine]), __name__, params=params, testcase="writes_pieces")


@pytest.mark.parametrize("machine", ["square", "narrow"])
def test_stops_at_the_edge(machine):
    unit = MatrixWriter(MACHINES[machine])
    run_cocotb(unit, __name__, params={"machine": machine}, testcase="stops_at_the_edge")


def test_structure():
    assert_structure(MatrixWriter(MACHINES["square"]))
