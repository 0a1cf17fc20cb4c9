# SPDX-License-Identifier: Apache-2.0
"""Tiles of all heights at all places, back to back and apart, and tiles that reach too far."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge, ReadOnly

from kiwicha.hw.compute.weight_loader import WEIGHT_OPERAND, WeightLoader

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset, unpack

DEPTH = 64


def nine_bits(value):
    return (value + 256) % 512 - 256


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def loads(dut):
    columns, bytes_after = (bench_params()[name] for name in ("columns", "bytes_after"))
    unit = WeightLoader(DEPTH, columns, bytes_after=bytes_after)
    chooser = random.Random(columns)
    memory = [chooser.randbytes(columns) for _ in range(DEPTH)]
    word = unit.o.payload.shape()
    await start_clock_and_reset(dut)
    rows_read = [0] * bytes_after
    operand, due, faults = {}, {}, set()
    begun, wait = -9, 0
    for cycle in range(1500):
        dut.tile__valid.value, dut.tile__payload.value = 0, chooser.getrandbits(24)
        noise = dict(unpack(WEIGHT_OPERAND, chooser.getrandbits(WEIGHT_OPERAND.size)))
        if wait == 0:
            begun = cycle
            operand = {
                "weight_signed": chooser.randrange(2),
                "weight_zero": chooser.choice((-256, 0, 255, chooser.randrange(-256, 256))),
                "rows": chooser.choice((1, 2, chooser.randint(1, 20))),
            }
            inside = DEPTH - operand["rows"]
            tile = chooser.choice((0, inside, chooser.randint(0, inside)))
            outside = (inside + 1, DEPTH, 2 * DEPTH - operand["rows"], 2 * DEPTH, (1 << 24) - 1)
            if chooser.random() < 0.3:
                tile = chooser.choice(outside)
                faults.add(cycle + 1)
            else:
                for row in range(operand["rows"]):
                    weights = [
                        nine_bits(
                            (byte - 256 if byte > 127 and operand["weight_signed"] else byte)
                            - operand["weight_zero"]
                        )
                        for byte in memory[tile + row]
                    ]
                    due[cycle + unit.latency + row] = weights, int(row == 0)
            dut.tile__valid.value, dut.tile__payload.value = 1, tile
            wait = max(operand["rows"], 3) + chooser.choice((0, 0, chooser.randrange(9)))
            noise["rows"] = operand["rows"]
        elif cycle == begun + unit.operand_after:
            noise |= {name: operand[name] for name in ("weight_signed", "weight_zero")}
        wait -= 1
        dut.operand.value = pack(WEIGHT_OPERAND, noise)
        dut.bytes.value = int.from_bytes(memory[rows_read[0]], "little")
        await ReadOnly()
        rows_read = [*rows_read[1:], dut.row.value.to_unsigned()]
        assert int(dut.fault.value) == (cycle in faults)
        # A tile that was refused comes all the same; whoever heard of the fault ignores it.
        if cycle in due:
            assert int(dut.o__valid.value)
            found = unpack(word, dut.o__payload.value.to_unsigned())
            assert (found["lanes"], found["first"]) == due[cycle]
        await FallingEdge(dut.clk)


@pytest.mark.parametrize("bytes_after", [2, 3])
@pytest.mark.parametrize("columns", [1, 5, 16])
def test_loads(columns, bytes_after):
    unit = WeightLoader(DEPTH, columns, bytes_after=bytes_after)
    assert (unit.operand_after, unit.latency) == (bytes_after - 1, bytes_after + 2)
    params = {"columns": columns, "bytes_after": bytes_after}
    run_cocotb(unit, __name__, testcase="loads", params=params)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def stays_quiet(dut):
    """Nothing but the rows asked for comes out."""
    await start_clock_and_reset(dut)
    for rows in (1, 3, 20):
        dut.operand.value = pack(WEIGHT_OPERAND, {"rows": rows})
        dut.tile__valid.value, dut.tile__payload.value = 1, 5
        seen = []
        for _ in range(40):
            await FallingEdge(dut.clk)
            dut.tile__valid.value = 0
            seen.append(int(dut.o__valid.value))
        quiet = WeightLoader(DEPTH, 2, bytes_after=3).latency - 1
        assert seen == [0] * quiet + [1] * rows + [0] * (40 - quiet - rows)


def test_stays_quiet():
    run_cocotb(WeightLoader(DEPTH, 2, bytes_after=3), __name__, testcase="stays_quiet")


def test_illegal_parameters():
    with pytest.raises(ValueError, match=r"^depth is 48; legal: a power of two, at least 2$"):
        WeightLoader(48, 4, bytes_after=3)
    with pytest.raises(ValueError, match=r"^columns is 0; legal: 1 to 128$"):
        WeightLoader(64, 0, bytes_after=3)
    with pytest.raises(ValueError, match=r"^bytes_after is 1; legal: at least 2$"):
        WeightLoader(64, 4, bytes_after=1)
