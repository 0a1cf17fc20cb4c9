# SPDX-License-Identifier: Apache-2.0
"""Which decoder a machine gets for a format, and that its rows go where the job says."""

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from kiwicha.hw.load.sparse_writer import SparseWriter, make_decoder
from kiwicha.hw.parts.format_rules import MATRICES, format_job, machine_formats
from kiwicha.hw.parts.writes import WriteKind, weight_write
from kiwicha.hw.sparse.contract import beat_layout
from kiwicha.machine.capabilities import WEIGHT_FORMATS
from kiwicha.machine.isa import WeightFormat
from kiwicha.machine.presets import preset

from ..sparse.run import cut
from ..support.bench import run_cocotb
from ..support.netlist import assert_structure
from ..support.streams import StreamSource, start_clock_and_reset, unpack
from .formats import compressed

CFG = preset("tiny").replace(
    columns=8, weight_bytes=1024, transposer=True, sparse={"formats": WEIGHT_FORMATS, "entries": 3},
)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def writes_rows(dut):
    chooser = random.Random(2)
    await start_clock_and_reset(dut)
    jobs = StreamSource(dut, "job", format_job(CFG))
    source = StreamSource(dut, "i", beat_layout(CFG.beat_bytes), policy="random")
    names = [name for name in machine_formats(CFG) if name not in MATRICES]
    assert len(names) == len(WEIGHT_FORMATS)
    for name in chooser.choices(names, k=10) + names:
        load = compressed(CFG, chooser, name)
        row, pitch = load.fields["local"] // CFG.weight_pitch, load.fields["pitch"]
        job = {"format": name, "row": row, "columns": pitch & 0xFFFF, "rows": pitch >> 16}
        jobs.put([dict.fromkeys(format_job(CFG).members, 0) | job])
        (octets,) = load.memory.values()
        source.put(cut(octets, CFG.beat_bytes))
        written, done = [], False
        while not done:
            await RisingEdge(dut.clk)
            assert not dut.outside.value
            assert not dut.malformed.value
            done = bool(dut.done.value)
            if dut.write__valid.value:
                write = unpack(weight_write(CFG), int(dut.write__payload.value))
                assert (write["kind"], write["column"], write["live"]) == (WriteKind.ROW, 0, 7)
                written.append((write["row"], write["data"]))
        assert written == [(row + index, dense) for index, dense in enumerate(load.rows)]


def test_writes_rows():
    run_cocotb(SparseWriter(CFG), __name__, testcase="writes_rows")


def test_structure():
    assert_structure(SparseWriter(CFG.replace(sparse={"formats": ("csc4",)})))


def test_needs_a_format():
    with pytest.raises(ValueError, match=r"^sparse.formats is empty; legal: at least one format$"):
        SparseWriter(CFG.replace(sparse={"formats": ()}))


def test_rows_of_a_mask_are_whole_bytes():
    narrow = CFG.replace(columns=4, sparse={"formats": ()})
    with pytest.raises(ValueError, match=r"^lanes is 4; legal: 8 to 128$"):
        make_decoder(narrow, WeightFormat.BITMASK)


def test_rows_beside_each_other_are_not_compressed():
    """That LOAD lays image rows beside each other brings no decoder."""
    both = CFG.replace(sparse={"formats": ("csc4",)}, interleave={"rows": (3,)})
    assert SparseWriter(both).formats == (WeightFormat.CSC4,)
