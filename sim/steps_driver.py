# SPDX-License-Identifier: Apache-2.0
"""What runs inside the simulator for many runs of one program: patch memory, start, read back.

The job comes as JSON in the environment variable KIWICHA_JOB (`sim.steps` writes it). Between start
and interrupt Python sleeps.
"""

import json
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import First, RisingEdge, Timer

from kiwicha.sim.driver import AxiLite
from kiwicha.sim.memory_file import hex_words, read_hex

__all__ = ["run_steps"]


class _Memory:
    """The board's memory, a range of beats at a time, by way of files."""

    def __init__(self, dut: Any, beat: int, patch: Path, result: Path) -> None:
        self.dut, self.beat, self.patch, self.result = dut, beat, patch, result

    async def _pulse(self, name: str, address: int, size: int) -> None:
        dut = self.dut
        dut.first_word.value = address // self.beat
        dut.last_word.value = (address + size) // self.beat - 1
        await RisingEdge(dut.clk)
        getattr(dut, name).value = 1
        await RisingEdge(dut.clk)
        getattr(dut, name).value = 0
        await RisingEdge(dut.clk)

    async def write(self, address: int, octets: np.ndarray) -> None:
        """Write whole beats."""
        self.patch.write_text(hex_words(octets, self.beat), encoding="ascii")
        await self._pulse("load", address, octets.size)

    async def read(self, address: int, size: int) -> bytes:
        """Read whole beats."""
        await self._pulse("dump", address, size)
        return read_hex(self.result, self.beat).tobytes()


@cocotb.test()
async def run_steps(dut: Any) -> None:
    """Reset, write the job's registers; for each step patch, start, wait, and append the result."""
    job = json.loads(os.environ["KIWICHA_JOB"])
    with np.load(job["patches"]) as file:
        patches, variant, programs = file["patches"], file["variant"], file["programs"]
        values = file["values"].tolist()
    bus = AxiLite(dut)
    memory = _Memory(dut, job["beat"], Path("patch.hex"), Path("result.hex"))
    dut.dump.value = dut.load.value = 0
    dut.rst.value = 1
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)  # the board's register passes it on
    await RisingEdge(dut.clk)
    for address, value in job["writes"]:
        await bus.write(address, value)
    loaded, stop = None, Path("stop")
    with Path(job["results"]).open("ab") as results:
        for step, (patch, wanted) in enumerate(zip(patches, variant, strict=True)):
            if stop.exists():  # nobody reads on
                return
            if wanted != loaded:
                await memory.write(job["program"], programs[wanted])
                loaded = wanted
            await memory.write(job["patch"], patch)
            if job["written"] is not None:
                await bus.write(job["written"], values[step])
            await bus.write(*job["start"])
            while not int(dut.interrupt.value):
                await First(RisingEdge(dut.interrupt), Timer(job["limit"], "ns"))
                if not int(dut.interrupt.value):
                    raise TimeoutError(f"no interrupt after {job['limit'] // 2} cycles")
            await RisingEdge(dut.clk)
            if code := await bus.read(job["error"][0]):
                halves = [await bus.read(offset) for offset in job["error"][1:]]
                Path("stopped.json").write_text(json.dumps([code, *halves]), encoding="utf-8")
                return
            await bus.write(*job["clear"])
            results.write(await memory.read(job["address"], job["size"]))
            if job["read"] is not None:
                results.write((await bus.read(job["read"])).to_bytes(4, "little"))
            results.flush()
