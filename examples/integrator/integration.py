# SPDX-License-Identifier: Apache-2.0
"""An integrator's bench: a machine and a program, known by their files alone.

Nothing of Kiwicha is imported. From FILES, the folder that the environment variable names, come

- ``accelerator.v`` and ``registers.json``, as ``kiwicha verilog`` writes them;
- ``program.json``, ``image.bin`` and ``relocations.bin``, as ``kiwicha compile`` does;
- ``cases.npz``: for each graph input and output by name, arrays of one case after the other.

cocotbext-axi is the bus and the memory. docs/programs.md says what the manifest means.
"""

import json
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam
from numpy.typing import NDArray

FILES = Path(os.environ["FILES"])
BASE = 0x0004_1000  # where the image goes: any multiple of the manifest's alignment
MEMORY_BYTES = 1 << 20


class Machine:
    """The design in a simulator: its registers by name, and a memory behind its port."""

    def __init__(self, dut: Any) -> None:
        described = json.loads((FILES / "registers.json").read_text(encoding="utf-8"))
        self.registers = {each["name"]: each for each in described["registers"]}
        self.errors = {each["code"]: each["name"] for each in described["errors"]}
        self.dut = dut
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=MEMORY_BYTES)

    async def reset(self) -> None:
        """Start the clock and reset."""
        Clock(self.dut.clk, 10, "ns").start()
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def read(self, name: str) -> int:
        """Read a register."""
        return int(await self.bus.read_dword(self.registers[name]["offset"]))

    async def write(self, name: str, value: int) -> None:
        """Write a register; of those with two halves, both."""
        for half in (name,) if name in self.registers else (f"{name}_low", f"{name}_high"):
            await self.bus.write_dword(self.registers[half]["offset"], value & 0xFFFF_FFFF)
            value >>= 32

    def mask(self, name: str, *fields: str) -> int:
        """Return the bits of fields of one bit."""
        lows = {field["name"]: field["low"] for field in self.registers[name]["fields"]}
        return sum(1 << lows[field] for field in fields)

    async def load(self, manifest: dict[str, Any]) -> None:
        """Put the image at BASE, moved there, and tell the machine where everything is."""
        assert await self.read("identity") == int.from_bytes(b"KIWI", "big")
        assert await self.read("fingerprint") == manifest["machine"]["fingerprint"]
        assert BASE % manifest["alignment"]["legal"] == 0
        image = bytearray((FILES / "image.bin").read_bytes())
        assert BASE + len(image) <= MEMORY_BYTES
        for place in np.fromfile(FILES / "relocations.bin", "<u4").tolist():
            word = int.from_bytes(image[place : place + 8], "little") + BASE
            image[place : place + 8] = word.to_bytes(8, "little")
        self.ram.write(BASE, bytes(image))
        for window in ("read", "write"):
            base, limit = manifest[f"{window}_window"]
            await self.write(f"{window}_base", BASE + base)
            await self.write(f"{window}_limit", BASE + limit)
        await self.write("program_address", BASE + manifest["program"]["address"])
        await self.write("program_length", manifest["program"]["bytes"])
        await self.write("interrupt_enable", self.mask("interrupt_enable", "done", "error"))

    async def run(self, limit: int) -> int:
        """Start, wait for the interrupt, ``limit`` cycles at most, and return the cycles."""
        await self.write("control", self.mask("control", "start"))
        await First(RisingEdge(self.dut.interrupt), ClockCycles(self.dut.clk, limit))
        events = await self.read("interrupt_status")
        error = self.errors[await self.read("error_code")]
        assert events == self.mask("interrupt_status", "done"), f"{events=}, {error}"
        await self.write("interrupt_status", events)
        return await self.read("cycles_low") | await self.read("cycles_high") << 32


def ordered(array: NDArray[Any], steps: list[dict[str, list[int]]]) -> NDArray[Any]:
    """Return an array in ONNX order as it lies in memory."""
    for step in steps:
        ((kind, argument),) = step.items()
        array = array.reshape(argument) if kind == "reshape" else array.transpose(argument)
    return array.reshape(-1)


def quantized(value: NDArray[Any], made: dict[str, Any]) -> bytes:
    """Return the codes of a graph input, as the manifest says."""
    assert made["kind"] == "quantize"
    tensor = made["tensor"]
    real = ordered(value, made["view"]) / np.float32(tensor["scale"])
    bounds = np.iinfo(tensor["dtype"])
    codes = np.clip(np.rint(real) + tensor["zero_point"], bounds.min, bounds.max)
    shaped = codes.astype(tensor["dtype"]).reshape(tensor["shape"])
    return ordered(shaped, tensor["layout"]).tobytes()


def dequantized(octets: bytes, output: dict[str, Any]) -> NDArray[Any]:
    """Return what a graph output is, as the manifest says."""
    assert output["kind"] == "dequantize"
    tensor = output["tensor"]
    places = ordered(np.arange(len(octets)).reshape(tensor["shape"]), tensor["layout"])
    codes = np.empty(len(octets), np.int32)
    codes[places] = np.frombuffer(octets, tensor["dtype"])
    real = (codes - tensor["zero_point"]).astype(np.float32) * np.float32(tensor["scale"])
    return real.reshape(output["shape"])


@cocotb.test()
async def every_case_is_right(dut: Any) -> None:
    """Run each case, and compare every bit of each output; guard bytes stay as they are."""
    manifest = json.loads((FILES / "program.json").read_text(encoding="utf-8"))
    machine, guard = Machine(dut), bytes(range(1, 65))
    await machine.reset()
    await machine.load(manifest)
    end = BASE + manifest["image"]["bytes"]
    for place in (BASE - len(guard), end):
        machine.ram.write(place, guard)
    with np.load(FILES / "cases.npz") as archive:
        cases = dict(archive)
    for case in range(len(cases[manifest["inputs"][0]["name"]])):
        for value in manifest["inputs"]:
            for made in value["tensors"]:
                octets = quantized(cases[value["name"]][case], made)
                machine.ram.write(BASE + made["tensor"]["address"], octets)
        cycles = await machine.run(4 * manifest["predicted_cycles"])
        for output in manifest["outputs"]:
            tensor = output["tensor"]
            octets = machine.ram.read(BASE + tensor["address"], tensor["bytes"])
            found = dequantized(bytes(octets), output)
            np.testing.assert_array_equal(found, cases[output["name"]][case])
        dut._log.info("case %d: every bit right, %d cycles", case, cycles)
    for place in (BASE - len(guard), end):
        assert machine.ram.read(place, len(guard)) == guard
