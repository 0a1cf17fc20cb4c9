# SPDX-License-Identifier: Apache-2.0
"""A delay of any length is exactly as long as it says."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.parts.delay import Delay

from ..support.bench import bench_params, run_cocotb
from ..support.streams import start_clock_and_reset


@cocotb.test()
async def is_late(dut):
    cycles, chooser = bench_params()["cycles"], random.Random(3)
    await start_clock_and_reset(dut)
    words = [chooser.getrandbits(9) for _ in range(200)]
    for index, word in enumerate(words):
        dut.i.value = word
        await FallingEdge(dut.clk)
        if index >= cycles - 1 and cycles:
            assert dut.o.value.to_unsigned() == words[index - cycles + 1]


@pytest.mark.parametrize("cycles", [1, 3, 4, 5, 16])
def test_delay(cycles):
    run_cocotb(Delay(9, cycles), __name__, params={"cycles": cycles})


def test_negative():
    with pytest.raises(ValueError, match=r"^cycles is -1; legal: at least 0$"):
        Delay(9, -1)
