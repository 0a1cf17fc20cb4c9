# SPDX-License-Identifier: Apache-2.0
"""Runs over borders of lines with exponents of their own, at every offset."""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.golden.line_align import aligned_lanes
from kiwicha.hw.compute.line_align import LineAlign

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset, unpack

LINES = 32
CORNERS = (-128, -127, -65, -64, -3, -1, 0, 1, 2, 3, 63, 64, 65, 126, 127)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def matches_golden(dut):
    """Every offset twice, then random ones; whole passes with another unit, or none."""
    params = bench_params()
    rows, beat, after = params["rows"], params["beat"], params["after"]
    unit = LineAlign(rows, beat, LINES, after)
    chooser, size = random.Random(f"align {rows} {beat}"), LINES * beat
    layout = unit.write.payload.shape()
    exponents, codes = np.zeros(LINES, np.int8), np.zeros(size, np.uint8)
    await start_clock_and_reset(dut)

    async def fill():
        for line in range(0, LINES, beat):
            for k in range(beat):
                exponents[line + k] = chooser.choice(
                    (-128, 127, 0, 1, 2, 3, -4, chooser.randint(-9, 9))
                )
            part = exponents[line : line + beat].tolist()
            dut.write__payload.value = pack(layout, {"line": line, "exponents": part})
            dut.write__valid.value = 1
            await FallingEdge(dut.clk)
        dut.write__valid.value = 0
        for k in range(size):
            codes[k] = chooser.choice(CORNERS) & 255
        await FallingEdge(dut.clk)

    # What is asked for in a cycle has its bytes `after` cycles later, its lanes 2 cycles behind.
    asked, count = [], 0
    for number in range(12):
        await fill()
        on = number % 4 != 3
        power = chooser.choice((-128, 127, 0, 1, 2, -3, chooser.randint(-9, 9)))
        addresses = [*range(size)] if number < 2 else [chooser.randrange(size) for _ in range(40)]
        begun = len(asked)
        for step in range(len(addresses) + after + 3):
            if step < len(addresses):
                dut.address.value = addresses[step]
                dut.begin.value = step == 0
                dut.on.value = on if step == 0 else not on
                dut.unit.value = power if step == 0 else chooser.randint(-128, 127)
                places = (addresses[step] + np.arange(rows)) % size
                given = codes[places].copy()
                lanes = aligned_lanes(given, exponents[places // beat], power) if on else given
                asked.append((given, lanes))
            else:
                dut.begin.value = 0
            late = begun + step - after
            if begun <= late < len(asked):
                dut.bytes.value = pack(unit.bytes.shape(), asked[late][0].tolist())
            done = late - 2
            if begun <= done < len(asked):
                found = unpack(unit.lanes.shape(), dut.lanes.value.to_unsigned())
                assert [*found] == asked[done][1].tolist(), (number, done - begun)
                count += 1
            await FallingEdge(dut.clk)
    assert count == len(asked) == 2 * size + 400


@pytest.mark.parametrize(
    ("rows", "beat", "after"),
    [(4, 4, 4), (16, 8, 5), (1, 4, 4), (5, 8, 4), (8, 2, 5), (9, 2, 4), (2, 16, 4)],
)
def test(rows: int, beat: int, after: int) -> None:
    params = {"rows": rows, "beat": beat, "after": after}
    run_cocotb(LineAlign(rows, beat, LINES, after), __name__, params=params)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 4, 4, 4), "lines is 4; legal: a power of two, at least 8"),
        ((4, 4, 24, 4), "lines is 24; legal: a power of two, at least 8"),
        ((40, 4, 16, 4), "lines is 16; legal: a power of two, at least 32"),
        ((4, 4, 8, 3), "bytes_after is 3; legal: at least 4"),
    ],
)
def test_refusals(arguments, message) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        LineAlign(*arguments)
