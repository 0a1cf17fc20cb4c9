# SPDX-License-Identifier: Apache-2.0
"""The running maximum against NumPy, over corners and windows of every length."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from kiwicha.golden.window_maximum import window_maximum
from kiwicha.hw.vector.window_maximum import WindowMaximum

from ..support.bench import run_cocotb
from ..support.streams import start_clock_and_reset

CORNERS = [-(1 << 31), -(1 << 31) + 1, -(1 << 30), -256, -1, 0, 1, 255, (1 << 30), (1 << 31) - 1]


@cocotb.test()
async def equals_golden(dut):
    rng = np.random.default_rng(5)
    await start_clock_and_reset(dut)
    windows = [list(pair) for a in CORNERS for b in CORNERS for pair in [(a, b)]]
    windows += [list(rng.integers(-(1 << 31), 1 << 31, n)) for n in (1, 2, 3, 9, 100) * 4]
    windows += [list(rng.integers(-3, 3, 4)) for _ in range(50)]
    for window in windows:
        entries = np.array(window, np.int64).astype(np.int32)[:, None]
        for place, value in enumerate(window):
            dut.i.value = int(value)
            dut.opens.value = int(place == 0)
            await RisingEdge(dut.clk)
            if place:  # up to the value before
                expected = window_maximum(entries, np.arange(place)[None])[0, 0]
                assert dut.o.value.to_signed() == expected
        dut.i.value, dut.opens.value = int(rng.integers(-(1 << 31), 1 << 31)), 1
        await RisingEdge(dut.clk)
        expected = window_maximum(entries, np.arange(len(window))[None])[0, 0]
        assert dut.o.value.to_signed() == expected, window


def test_equals_golden():
    run_cocotb(WindowMaximum(), __name__, testcase="equals_golden")
