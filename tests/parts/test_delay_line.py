# SPDX-License-Identifier: Apache-2.0
"""What enters leaves so many cycles later, and nothing else does, also after a reset."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.parts.delay_line import DelayLine

from ..support.bench import bench_params, run_cocotb
from ..support.streams import start_clock_and_reset

WIDTH = 11


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def delays(dut):
    cycles = bench_params()["cycles"]
    chooser = random.Random(cycles)
    await start_clock_and_reset(dut)
    for _ in range(2):
        history = []
        for _ in range(5 * cycles + 40):
            history.append((chooser.randrange(2), chooser.getrandbits(WIDTH)))
            dut.i__valid.value, dut.i__payload.value = history[-1]
            await FallingEdge(dut.clk)
            valid, word = history[-cycles] if len(history) >= cycles else (0, 0)
            assert int(dut.o__valid.value) == valid
            if valid:
                assert int(dut.o__payload.value) == word
        # Nothing of what is on its way survives.
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        dut.rst.value = 0


@pytest.mark.parametrize("cycles", [1, 3, 4, 8, 23])
def test_delays(cycles):
    run_cocotb(DelayLine(WIDTH, cycles), __name__, params={"cycles": cycles})


def test_too_short():
    with pytest.raises(ValueError, match=r"^cycles is 0; legal: at least 1$"):
        DelayLine(8, 0)
