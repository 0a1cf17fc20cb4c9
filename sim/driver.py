# SPDX-License-Identifier: Apache-2.0
"""What runs inside the simulator: programs the registers, sleeps until the interrupt, reads back.

The job comes as JSON in the environment variable KIWICHA_JOB; the result goes to the file that it
names. Between start and interrupt Python wakes up only to report progress.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import First, ReadOnly, RisingEdge, Timer

__all__ = ["AxiLite", "run_program"]

_PROGRESS_CYCLES = 20_000


class AxiLite:
    """The register port of the simulated board; one access at a time."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
            getattr(dut, f"s_axil_{name}").value = 0

    async def _until(self, name: str) -> None:
        """Wait for the clock edge at which ``name`` is high."""
        signal = getattr(self.dut, f"s_axil_{name}")
        while True:
            await ReadOnly()
            high = int(signal.value)
            await RisingEdge(self.dut.clk)
            if high:
                return

    async def write(self, address: int, value: int) -> None:
        """Write a register; raises RuntimeError when the machine refuses."""
        dut = self.dut
        for channel, signal, content in (("aw", "awaddr", address), ("w", "wdata", value)):
            getattr(dut, f"s_axil_{signal}").value = content
            getattr(dut, f"s_axil_{channel}valid").value = 1
            await self._until(f"{channel}ready")
            getattr(dut, f"s_axil_{channel}valid").value = 0
        dut.s_axil_bready.value = 1
        await self._until("bvalid")
        dut.s_axil_bready.value = 0
        if int(dut.s_axil_bresp.value):
            raise RuntimeError(f"register {address:#x} refuses {value:#x}")

    async def read(self, address: int) -> int:
        """Read a register."""
        dut = self.dut
        dut.s_axil_araddr.value = address
        dut.s_axil_arvalid.value = 1
        await self._until("arready")
        dut.s_axil_arvalid.value = 0
        dut.s_axil_rready.value = 1
        signal = dut.s_axil_rvalid
        while True:
            await ReadOnly()
            high, value = int(signal.value), dut.s_axil_rdata.value
            await RisingEdge(dut.clk)
            if high:
                dut.s_axil_rready.value = 0
                return int(value)


@cocotb.test()
async def run_program(dut: Any) -> None:
    """Reset, write the job's registers, start, wait, read the registers asked for, dump memory."""
    job = json.loads(os.environ["KIWICHA_JOB"])
    bus = AxiLite(dut)
    dut.dump.value = 0
    dut.rst.value = 1
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)  # the board's register passes it on
    await RisingEdge(dut.clk)
    for address, value in job["writes"]:
        await bus.write(address, value)
    started, busy = time.monotonic(), time.process_time()
    await bus.write(*job["start"])
    progress, cycles = Path(job["progress"]), 0
    done = RisingEdge(dut.interrupt)
    while not int(dut.interrupt.value):
        if cycles > job["limit"]:
            raise TimeoutError(f"no interrupt after {cycles} cycles")
        await First(done, Timer(2 * _PROGRESS_CYCLES, "ns"))
        cycles += _PROGRESS_CYCLES
        progress.write_text(f"{cycles}\n", encoding="utf-8")
    seconds, busy = time.monotonic() - started, time.process_time() - busy
    await RisingEdge(dut.clk)
    registers = {name: await bus.read(address) for name, address in job["reads"].items()}
    dut.dump.value = 1
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    result = {"registers": registers, "seconds": seconds, "processor": busy}
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")
