# SPDX-License-Identifier: Apache-2.0
"""Reads of any alignment, one a cycle, while other beats are written."""

import random

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import FallingEdge

from kiwicha.hw.compute.activation_scratchpad import ActivationScratchpad
from kiwicha.machine.config import PIPELINE, AcceleratorConfig

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset, unpack

BYTES = 256


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reads_and_writes(dut):
    params = bench_params()
    rows, beat, latency = params["rows"], params["beat"], params["latency"]
    chooser = random.Random(f"scratchpad {rows} {beat}")
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
    dut.write__valid.value = 0
    await FallingEdge(dut.clk)

    expected, before = [], set()
    for cycle in range(600):
        address = cycle if cycle < BYTES else chooser.randrange(BYTES)
        lanes = {(address + lane) % BYTES for lane in range(rows)}
        dut.address.value = address
        expected.append([memory[(address + lane) % BYTES] for lane in range(rows)])
        dut.write__valid.value = 0
        dut.write__payload.value = chooser.getrandbits(layout.size)
        written = chooser.randrange(BYTES)
        touched = {written - written % beat + k for k in range(beat)}
        if chooser.random() < 0.5 and not touched & lanes:
            write(written)
            # The address of the cycle before reaches the banks just now: nothing is promised.
            if touched & before:
                expected[-2] = None
        before = lanes
        await FallingEdge(dut.clk)
        if cycle >= latency - 1 and (wanted := expected[cycle - latency + 1]) is not None:
            assert unpack(data.ArrayLayout(8, rows), dut.lanes.value.to_unsigned()) == wanted


def run(rows, beat, pipeline, latency):
    cfg = AcceleratorConfig(
        rows=rows, columns=1, axi_data_width=8 * beat, activation_bytes=BYTES, requantize_lanes=1,
        pipeline=pipeline,
    )
    unit = ActivationScratchpad(cfg)
    assert unit.read_latency == latency
    run_cocotb(unit, __name__, params={"rows": rows, "beat": beat, "latency": latency})


@pytest.mark.parametrize(
    ("rows", "beat"), [(1, 8), (3, 32), (4, 8), (8, 8), (9, 8), (16, 16), (33, 16), (64, 8)]
)
def test_reads_and_writes(rows, beat):
    run(rows, beat, PIPELINE, 5)


@pytest.mark.parametrize(("rows", "beat"), [(1, 8), (3, 32), (33, 16)])
def test_without_registers(rows, beat):
    run(rows, beat, (), 4)
