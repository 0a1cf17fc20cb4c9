# SPDX-License-Identifier: Apache-2.0
"""What `sim.driver` does, on a top whose clock cocotb drives, as in cocotb's own examples."""

import os
from typing import Any

import cocotb
from cocotb.clock import Clock

from kiwicha.sim import driver

__all__ = ["run_clocked"]

_RUN = driver.run_program.func  # the coroutine itself, not the test made of it


@cocotb.test()
async def run_clocked(dut: Any) -> None:
    """Start the clock, in C++ unless KIWICHA_BENCH_CLOCK says "py", and run the program."""
    kind: Any = os.environ.get("KIWICHA_BENCH_CLOCK")
    Clock(dut.clk, 2, "ns", impl=kind).start()
    await _RUN(dut)
