# SPDX-License-Identifier: Apache-2.0
"""The fault collector keeps the first fault, and the most important of one cycle."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.parts.fault import FAULT, FaultCollector
from kiwicha.machine.isa import ErrorCode

from ..support.bench import run_cocotb
from ..support.streams import pack, start_clock_and_reset, unpack

SOURCES = 3


@cocotb.test(timeout_time=200, timeout_unit="us")
async def keeps_the_first(dut):
    chooser = random.Random(5)
    await start_clock_and_reset(dut)
    kept = None
    together = 0
    for _ in range(3000):
        valids = [chooser.random() < 0.1 for _ in range(SOURCES)]
        faults = [
            {"code": chooser.choice(list(ErrorCode)).value, "address": chooser.getrandbits(64)}
            for _ in range(SOURCES)
        ]
        clear = chooser.random() < 0.1
        dut.clear.value = clear
        for number, (valid, fault) in enumerate(zip(valids, faults, strict=True)):
            getattr(dut, f"i__{number}__valid").value = valid
            getattr(dut, f"i__{number}__payload").value = pack(FAULT, fault)
        if clear:
            kept = None
        elif kept is None and any(valids):
            kept = faults[valids.index(True)]
            together += sum(valids) > 1
        await FallingEdge(dut.clk)
        assert dut.valid.value == (kept is not None)
        expected = kept or {"code": 0, "address": 0}
        assert unpack(FAULT, dut.fault.value.to_unsigned()) == expected
    assert together > 10


def test_fault_collector():
    run_cocotb(FaultCollector(SOURCES), __name__)


def test_refuses_no_sources():
    with pytest.raises(ValueError, match="^sources is 0; legal: at least 1$"):
        FaultCollector(0)
