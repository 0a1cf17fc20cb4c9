# SPDX-License-Identifier: Apache-2.0
"""Beats, rows and columns at every place, and a read in each cycle, against plain bytes."""

import random

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import FallingEdge

from kiwicha.hw.compute.weight_scratchpad import WeightScratchpad
from kiwicha.hw.parts.writes import WriteKind, weight_banks, weight_write
from kiwicha.machine.config import PIPELINE, AcceleratorConfig

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import pack, start_clock_and_reset, unpack

BYTES = 512

PLAIN = [(1, 8), (4, 8), (5, 8), (7, 32), (16, 8), (16, 16), (33, 16), (64, 8)]
DECODING = [(1, 8), (5, 8), (8, 8), (16, 8), (7, 32)]
SKEWED = [(1, 8), (2, 8), (3, 8), (8, 8), (16, 8), (16, 16), (33, 8), (64, 32), (3, 32)]


def machine(columns, beat, transposer=False, formats=(), pipeline=PIPELINE):
    """Return a machine with a scratchpad of 512 bytes."""
    return AcceleratorConfig(
        rows=1, columns=columns, axi_data_width=8 * beat, weight_bytes=BYTES, requantize_lanes=1,
        transposer=transposer, sparse={"formats": formats}, pipeline=pipeline,
    )


def places(cfg):
    """Return every (kind, row, column) that a write of this machine may begin at."""
    pitch = cfg.weight_pitch
    found = [(WriteKind.BEAT, *divmod(byte, pitch)) for byte in range(0, BYTES, cfg.beat_bytes)]
    rows = range(BYTES // pitch)
    if cfg.transposer or cfg.sparse.formats:
        columns = range(pitch) if cfg.transposer else [0]
        found += [(WriteKind.ROW, row, column) for row in rows for column in columns]
    if cfg.transposer:
        found += [(WriteKind.COLUMN, row, column) for row in rows for column in range(pitch)]
    return found


def random_write(cfg, place, chooser):
    """Return (fields, {byte address: value}) of a write there."""
    kind, row, column = place
    pitch = cfg.weight_pitch
    most, step = {
        WriteKind.BEAT: (cfg.beat_bytes, 1),
        WriteKind.ROW: (pitch - column, 1),
        WriteKind.COLUMN: (min(cfg.beat_bytes, BYTES // pitch - row), pitch),
    }[kind]
    live = chooser.choice((most, most, chooser.randint(1, most)))
    content = chooser.randbytes(weight_banks(cfg))
    fields = {"kind": kind, "row": row, "column": column, "live": live - 1, "data": list(content)}
    if kind == WriteKind.BEAT:
        live, fields["live"] = most, chooser.randrange(weight_banks(cfg))
    start = row * pitch + column
    return fields, {start + step * index: content[index] for index in range(live)}


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reads_and_writes(dut):
    params = bench_params()
    cfg = machine(**params)
    unit = WeightScratchpad(cfg)
    layout, pitch = weight_write(cfg), cfg.weight_pitch
    # Bytes that must not be written while a row of them is read.
    block = pitch if cfg.transposer else weight_banks(cfg)
    chooser = random.Random(f"scratchpad {params}")
    await start_clock_and_reset(dut)
    memory = bytearray(BYTES)
    underway = [{} for _ in range(unit.write_latency)]
    due = []

    async def cycle(write, row):
        """Write (or not), read (or not), and look at what was read ``read_latency`` ago."""
        dut.write__valid.value = int(write is not None)
        dut.write__payload.value = chooser.getrandbits(layout.size)
        if write is not None:
            dut.write__payload.value = pack(layout, write[0])
        for address, value in underway.pop(0).items():
            memory[address] = value
        underway.append({} if write is None else write[1])
        dut.row.value = chooser.randrange(BYTES // pitch) if row is None else row
        busy = {byte // block for byte in underway[0]}
        clear = row is not None and row * pitch // block not in busy
        due.append(list(memory[row * pitch : row * pitch + cfg.columns]) if clear else None)
        await FallingEdge(dut.clk)
        if len(due) >= unit.read_latency and (expected := due[-unit.read_latency]) is not None:
            found = unpack(data.ArrayLayout(8, cfg.columns), dut.lanes.value.to_unsigned())
            assert found == expected
            return 1
        return 0

    begins = places(cfg)
    for place in begins:
        if place[0] == WriteKind.BEAT:
            await cycle(random_write(cfg, place, chooser), None)
    checked = 0
    chooser.shuffle(begins)
    for place in begins:
        while chooser.random() < 0.2:
            checked += await cycle(None, chooser.randrange(BYTES // pitch))
        # Rows near the write are the likely ones to be hit by mistake.
        row = chooser.choice((chooser.randrange(BYTES // pitch), place[1]))
        checked += await cycle(random_write(cfg, place, chooser), row)
    for row in [*range(BYTES // pitch), *[0] * unit.read_latency]:
        checked += await cycle(None, row)
    assert checked > BYTES // pitch + len(begins) // 3


def run(columns, beat, transposer, formats, pipeline=PIPELINE, **options):
    params = {"columns": columns, "beat": beat, "transposer": transposer, "formats": formats,
              "pipeline": pipeline}
    run_cocotb(WeightScratchpad(machine(**params)), __name__, params=params, **options)


@slow("5-8", "33-16")
@pytest.mark.parametrize(("columns", "beat"), PLAIN)
def test_beats(columns, beat):
    run(columns, beat, False, ())


@slow("5-8")
@pytest.mark.parametrize(("columns", "beat"), DECODING)
def test_decoded_rows(columns, beat):
    run(columns, beat, False, ("csr",))


@slow("2-8", "8-8", "16-16", "64-32")
@pytest.mark.parametrize(("columns", "beat"), SKEWED)
def test_transposer(columns, beat):
    run(columns, beat, True, ())


@slow("False-formats0-16", "True-formats2-16")
@pytest.mark.parametrize("columns", [5, 16])
@pytest.mark.parametrize(("transposer", "formats"), [(False, ()), (False, ("csr",)), (True, ())])
def test_without_registers(columns, transposer, formats):
    run(columns, 8, transposer, formats, pipeline=())


@pytest.mark.parametrize(("transposer", "formats"), [(False, ()), (False, ("csr",)), (True, ())])
def test_nothing_undefined_is_read(transposer, formats, icarus):
    run(5, 8, transposer, formats, uninitialized=True, simulator=icarus)


def test_latencies():
    plain, skewed = (WeightScratchpad(machine(4, 8, transposer)) for transposer in (False, True))
    assert (plain.write_latency, plain.read_latency) == (1, 3)
    assert (skewed.write_latency, skewed.read_latency) == (3, 3)
    assert WeightScratchpad(machine(4, 8, pipeline=())).read_latency == 2
