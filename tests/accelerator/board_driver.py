# SPDX-License-Identifier: Apache-2.0
"""Inside the simulator: the jobs of `tests.accelerator.board`, one after the other."""

import json
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, First, RisingEdge, Timer

from kiwicha.machine.isa import Engine
from kiwicha.sim.driver import AxiLite

__all__ = ["run_jobs"]

_READ = (
    "status", "error_code", "error_address_low", "error_address_high", "interrupt_status",
    "cycles_low", "read_beats", "written_beats", "steps",
    *(f"{e.name.lower()}_{k}" for e in Engine if e is not Engine.UPDATE
      for k in ("busy", "stalled")),
)
_OPTIONAL = ("update_busy", "update_saturated")
_ADDRESSES = ("program_address", "read_base", "read_limit", "write_base", "write_limit")
_OUTPUTS = ("interrupt", "s_axil_awready", "s_axil_wready", "s_axil_bvalid", "s_axil_arready",
            "s_axil_rvalid", "arvalid", "rready", "awvalid", "wvalid", "bready")
_PAYLOADS = (
    ("arvalid", "araddr", "arlen"), ("awvalid", "awaddr", "awlen"), ("wvalid", "wstrb", "wlast"),
    ("s_axil_rvalid", "s_axil_rdata", "s_axil_rresp"), ("s_axil_bvalid", "s_axil_bresp"),
)


class Machine:
    """The board seen from software."""

    def __init__(self, dut: Any, setup: dict[str, Any]) -> None:
        self.dut, self.setup = dut, setup
        self.beat = setup["beat"]
        self.bus = AxiLite(dut)

    async def reset(self) -> None:
        """Reset machine and memory."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def write(self, name: str, value: int) -> None:
        """Write a register by name."""
        await self.bus.write(self.setup["registers"][name], value)

    async def read(self, name: str) -> int:
        """Read a register by name."""
        return await self.bus.read(self.setup["registers"][name])

    def _words(self, image: np.ndarray) -> np.ndarray:
        return np.pad(image, (0, -len(image) % self.beat)).reshape(-1, self.beat)

    def fill(self, image: np.ndarray) -> None:
        """Put ``image`` into memory at address 0."""
        for index, word in enumerate(self._words(image)):
            self.dut.memory[index].value = int.from_bytes(word.tobytes(), "little")

    def content(self, length: int) -> np.ndarray:
        """Return the first ``length`` bytes of memory."""
        words = [int(self.dut.memory[i].value) for i in range(-(-length // self.beat))]
        data = b"".join(word.to_bytes(self.beat, "little") for word in words)
        return np.frombuffer(data, np.uint8)[:length]

    async def registers(self) -> dict[str, int]:
        """Read the registers that the machine has."""
        there = [name for name in _OPTIONAL if name in self.setup["registers"]]
        return {name: await self.read(name) for name in (*_READ, *there)}

    async def run(self, job: dict[str, Any], image: np.ndarray) -> dict[str, Any]:
        """Do one job; return its registers and whether there was an interrupt."""
        dut = self.dut
        self.fill(image)
        dut.latency.value, dut.stall.value = job["latency"], job["stall"]
        values = (job["program"][0], *job["read_window"], *job["write_window"])
        for name, value in zip(_ADDRESSES, values, strict=True):
            await self.write(f"{name}_low", value & 0xFFFFFFFF)
            await self.write(f"{name}_high", value >> 32)
        await self.write("program_length", job["program"][1])
        await self.write("watchdog", job["watchdog"])
        names = ("random_seed", "random_step", "update_rate")
        for name, value in zip(names, (*job["random"], job["rate"]), strict=True):
            if name in self.setup["registers"]:
                await self.write(name, value)
        await self.write("interrupt_enable", 3)
        assert not int(dut.interrupt.value), "the interrupt is pending before START"
        await self.write("control", 1)
        if job["reset"]:
            await ClockCycles(dut.clk, job["reset"])
            await self.reset()
            found = await self.registers()
            assert not int(dut.interrupt.value), "an interrupt after reset"
            return {"registers": found, "interrupted": False}
        if job["abort"] and not int(dut.interrupt.value):
            await First(RisingEdge(dut.interrupt), ClockCycles(dut.clk, job["abort"]))
            await self.write("control", 2)
        if not int(dut.interrupt.value):
            await First(RisingEdge(dut.interrupt), Timer(2 * job["limit"], "ns"))
        await RisingEdge(dut.clk)
        found = await self.registers()
        assert int(dut.interrupt.value), f"no interrupt after {job['limit']} cycles: {found}"
        await self.write("interrupt_status", 3)
        await FallingEdge(dut.clk)
        assert not int(dut.interrupt.value), "the interrupt was not cleared"
        return {"registers": found, "interrupted": True}


async def _watch(dut: Any) -> None:
    """Fail where an output that somebody looks at is X; only a four-state simulator has one."""
    handshakes = [getattr(dut, name) for name in _OUTPUTS]
    payloads = [(getattr(dut, v), [getattr(dut, f) for f in fields]) for v, *fields in _PAYLOADS]
    while True:
        await FallingEdge(dut.clk)
        seen = list(handshakes)
        for valid, fields in payloads:
            if valid.value == 1:
                seen += fields
        for signal in seen:
            assert signal.value.is_resolvable, f"{signal._name} is {signal.value}"
        if dut.wvalid.value == 1:
            data, strobe = str(dut.wdata.value), str(dut.wstrb.value)
            for lane, written in enumerate(strobe):
                byte = data[8 * lane : 8 * lane + 8]
                assert written == "0" or set(byte) <= set("01"), f"wdata is {data}, strobe {strobe}"


@cocotb.test()
async def run_jobs(dut: Any) -> None:
    """Run every job and write down what came of it."""
    setup = json.loads(Path("jobs.json").read_text())
    machine = Machine(dut, setup)
    dut.dump.value = 0
    await machine.reset()
    if cocotb.SIM_NAME.lower().startswith("icarus"):
        cocotb.start_soon(_watch(dut))
    results = []
    for index, job in enumerate(setup["jobs"]):
        image = np.load(f"image{index}.npy")
        dut._log.info("job %d: %s", index, job)
        results.append(await machine.run(job, image))
        np.save(f"memory{index}.npy", machine.content(len(image)))
    Path("results.json").write_text(json.dumps(results))
