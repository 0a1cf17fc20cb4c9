# SPDX-License-Identifier: Apache-2.0
"""Rows narrower than a beat, as wide, and wider; a read and a write in each cycle."""

import random

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import FallingEdge

from hw.config import AcceleratorConfig
from hw.memory.weight_scratchpad import WeightScratchpad
from tests.support.bench import bench_params, run_cocotb
from tests.support.streams import pack, start_clock_and_reset, unpack

BYTES = 512


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reads_and_writes(dut):
    params = bench_params()
    columns, beat, pitch = params["columns"], params["beat"], params["pitch"]
    latency, wide = WeightScratchpad.read_latency, max(beat, pitch)
    chooser = random.Random(f"scratchpad {columns} {beat}")
    layout = data.StructLayout({"address": range(BYTES), "data": 8 * beat})
    await start_clock_and_reset(dut)
    memory = bytearray(BYTES)

    def write(address):
        word = chooser.randbytes(beat)
        base = address - address % beat
        memory[base : base + beat] = word
        fields = {"address": address, "data": int.from_bytes(word, "little")}
        dut.write__payload.value = pack(layout, fields)
        dut.write__valid.value = 1

    for address in range(0, BYTES, beat):
        write(address)
        await FallingEdge(dut.clk)

    expected = []
    for cycle in range(400):
        row = chooser.randrange(BYTES // pitch)
        dut.row.value = row
        expected.append(list(memory[row * pitch : row * pitch + columns]))
        dut.write__valid.value = 0
        dut.write__payload.value = chooser.getrandbits(layout.size)
        address = chooser.randrange(BYTES)
        if chooser.random() < 0.5 and address // wide != row * pitch // wide:
            write(address)
        await FallingEdge(dut.clk)
        if cycle >= latency - 1:
            found = unpack(data.ArrayLayout(8, columns), dut.lanes.value.to_unsigned())
            assert found == expected[cycle - latency + 1]


@pytest.mark.parametrize(
    ("columns", "beat"), [(1, 8), (4, 8), (5, 8), (7, 32), (16, 8), (16, 16), (33, 16), (64, 8)]
)
def test_reads_and_writes(columns, beat):
    cfg = AcceleratorConfig(
        rows=1, columns=columns, axi_data_width=8 * beat, weight_bytes=BYTES, requantize_lanes=1
    )
    params = {"columns": columns, "beat": beat, "pitch": cfg.weight_pitch}
    run_cocotb(WeightScratchpad(cfg), __name__, params=params)
