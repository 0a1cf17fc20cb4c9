# SPDX-License-Identifier: Apache-2.0
"""Reads of any alignment, one a cycle, while other beats, or a byte a bank, are written."""

import random

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import FallingEdge

from kiwicha.hw.compute.activation_scratchpad import ActivationScratchpad
from kiwicha.hw.parts.writes import bank_write
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
    cfg = machine(rows, beat, interleave=params["interleave"])
    banks, apart = cfg.activation_banks, bank_write(cfg)

    def write_bytes(free):
        """Write up to a byte a bank, none of those that are read."""
        fields = []
        for bank in range(banks):
            word, octet = chooser.randrange(BYTES // banks), chooser.randrange(256)
            place = word * banks + bank
            live = place in free and chooser.random() < 0.7
            fields.append({"word": word, "octet": octet, "live": live})
            if live:
                memory[place] = octet
                free.discard(place)
        dut.byte_write__payload.value = pack(apart, fields)
        dut.byte_write__valid.value = 1
        return {byte["word"] * banks + bank for bank, byte in enumerate(fields) if byte["live"]}

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
        if params["interleave"]:
            dut.byte_write__valid.value = 0
            dut.byte_write__payload.value = chooser.getrandbits(apart.size)
        written = chooser.randrange(BYTES)
        touched = {written - written % beat + k for k in range(beat)}
        if params["interleave"] and chooser.random() < 0.5:
            if write_bytes(set(range(BYTES)) - lanes) & before:
                expected[-2] = None
        elif chooser.random() < 0.5 and not touched & lanes:
            write(written)
            # The address of the cycle before reaches the banks just now: nothing is promised.
            if touched & before:
                expected[-2] = None
        before = lanes
        await FallingEdge(dut.clk)
        if cycle >= latency - 1 and (wanted := expected[cycle - latency + 1]) is not None:
            assert unpack(data.ArrayLayout(8, rows), dut.lanes.value.to_unsigned()) == wanted


def machine(rows, beat, pipeline=PIPELINE, interleave=()):
    return AcceleratorConfig(
        rows=rows, columns=1, axi_data_width=8 * beat, activation_bytes=BYTES, requantize_lanes=1,
        pipeline=pipeline, interleave={"rows": interleave},
    )


def run(rows, beat, pipeline, latency, interleave=()):
    unit = ActivationScratchpad(machine(rows, beat, pipeline, interleave))
    assert unit.read_latency == latency
    params = {"rows": rows, "beat": beat, "latency": latency, "interleave": interleave}
    run_cocotb(unit, __name__, params=params)


@pytest.mark.parametrize(
    ("rows", "beat"), [(1, 8), (3, 32), (4, 8), (8, 8), (9, 8), (16, 16), (33, 16), (64, 8)]
)
def test_reads_and_writes(rows, beat):
    run(rows, beat, PIPELINE, 5)


@pytest.mark.parametrize(("rows", "beat"), [(3, 8), (16, 16), (33, 16)])
def test_bytes_apart(rows, beat):
    run(rows, beat, PIPELINE, 5, (3, 5))


@pytest.mark.parametrize(("rows", "beat"), [(1, 8), (3, 32), (33, 16)])
def test_without_registers(rows, beat):
    run(rows, beat, (), 4)
