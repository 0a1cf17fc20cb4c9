# SPDX-License-Identifier: Apache-2.0
"""Runs a simulated SoC until its firmware is over; used inside the simulator, by cocotb."""

import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import First, RisingEdge, Timer

__all__ = ["run_firmware"]

_PERIOD = 2  # simulation steps of 1 ns in a clock


@cocotb.test()
async def run_firmware(dut: Any) -> None:
    """Reset, then sleep until the firmware says that it is over, or for as long as it may take."""
    limit = int(os.environ["KIWICHA_SOC_CYCLES"])
    dut.rst.value = 1
    await Timer(_PERIOD * 8, "ns")
    dut.rst.value = 0
    started = time.monotonic()
    await First(RisingEdge(dut.ended), Timer(_PERIOD * limit, "ns"))
    result = {
        "ended": bool(int(dut.ended.value)), "cycles": int(dut.cycles.value),
        "seconds": time.monotonic() - started,
    }
    Path("result.json").write_text(json.dumps(result), encoding="utf-8")
