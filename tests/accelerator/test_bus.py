# SPDX-License-Identifier: Apache-2.0
"""The machine among bus models of other authors: cocotbext-axi on both ports, with pauses."""

from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp

from kiwicha.hw.accelerator import Accelerator
from kiwicha.hw.verilog.emit import emit_verilog
from kiwicha.machine.presets import preset
from kiwicha.machine.register_map import IDENTITY, RegisterMap

from ..compiler.test_emit import random_work
from ..parts.bus import Referee, pauses
from ..support.bench import bench_params, build_verilog, run_build
from ..support.slow import slow
from .layers import compile_layer

GUARDED = 0x1000  # bytes of guard behind the image
SHAPES = {
    "conv": (1, 5, 4, 3, 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "fc": (1, 3, 1, 20, 9, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
}


class _Renamed:
    """The ports called ``m_axi_...`` under the names that the referee looks for."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dut, name.replace("axi__", "m_axi_"))


class Software:
    """Registers by name, through an AXI4-Lite master that checks the answers."""

    def __init__(self, dut: Any, pause: float) -> None:
        bus = AxiLiteBus.from_prefix(dut, "s_axil")
        self.master = AxiLiteMaster(bus, dut.clk, dut.rst)
        self.registers = RegisterMap(preset("tiny"))
        if pause:
            write, read = self.master.write_if, self.master.read_if
            for name, channel in (("aw", write.aw_channel), ("w", write.w_channel),
                                  ("b", write.b_channel), ("ar", read.ar_channel),
                                  ("r", read.r_channel)):
                channel.set_pause_generator(pauses(pause, f"software {name}"))

    async def write(self, name: str, value: int) -> None:
        answer = await self.master.write(self.registers[name].offset, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY, f"{name}: {answer.resp}"

    async def read(self, name: str) -> int:
        answer = await self.master.read(self.registers[name].offset, 4)
        assert answer.resp == AxiResp.OKAY, f"{name}: {answer.resp}"
        return int.from_bytes(answer.data, "little")


@cocotb.test()
async def from_software(dut):
    """What a driver does: identify, program, start, sleep until the interrupt, look, clear."""
    params = bench_params()
    made = [
        compile_layer(name, *random_work(np.random.default_rng(7), *shape), preset("tiny"))
        for name, shape in SHAPES.items()
    ]
    cocotb.start_soon(Clock(dut.clk, 2, "ns").start())
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=1 << 18)
    software = Software(dut, params["pause"])
    if params["pause"]:
        write, read = ram.write_if, ram.read_if
        for name, channel in (("aw", write.aw_channel), ("w", write.w_channel),
                              ("b", write.b_channel), ("ar", read.ar_channel),
                              ("r", read.r_channel)):
            channel.set_pause_generator(pauses(params["pause"], name))
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    referee = Referee(
        _Renamed(dut), beat_bytes=8, burst_beats=preset("tiny").axi_burst_beats
    )
    assert await software.read("identity") == IDENTITY
    assert await software.read("fingerprint") == preset("tiny").fingerprint
    assert await software.read("status") == 1
    for layer in made:
        await run_layer(dut, ram, software, layer)
    assert referee.reads
    assert referee.writes
    with_hole = await software.master.read(0xFFC, 4)
    assert with_hole.resp == AxiResp.SLVERR


async def run_layer(dut, ram, software, layer):
    """Run one layer and look at everything; inside its image guard bytes are around each buffer."""
    job = layer.job
    size = len(job.image)
    guard = bytes([0x5A]) * GUARDED
    ram.write(0, job.image.tobytes() + guard)
    settings = {
        "program_address": job.program[0], "read_base": job.read_window[0],
        "read_limit": job.read_window[1], "write_base": job.write_window[0],
        "write_limit": job.write_window[1],
    }
    for name, value in settings.items():
        await software.write(f"{name}_low", value & 0xFFFFFFFF)
        await software.write(f"{name}_high", value >> 32)
    await software.write("program_length", job.program[1])
    await software.write("watchdog", 20_000)
    await software.write("interrupt_enable", 3)
    assert not dut.interrupt.value
    await software.write("control", 1)
    if not dut.interrupt.value:
        await First(RisingEdge(dut.interrupt), Timer(200, "us"))
    assert dut.interrupt.value, "no interrupt"
    assert await software.read("interrupt_status") == 1
    assert await software.read("error_code") == 0
    assert await software.read("status") == 1 << 3
    cycles, read = await software.read("cycles_low"), await software.read("read_beats")
    assert cycles >= read >= job.program[1] // 8
    for name in ("load", "compute", "vector", "store"):
        assert 0 < await software.read(f"{name}_busy") <= cycles, name
    assert await software.read("steps") > 0
    assert await software.read("written_beats") > 0
    await software.write("interrupt_status", 1)
    assert not dut.interrupt.value
    assert bytes(ram.read(0, size)) == layer.memory.tobytes(), layer.name
    assert bytes(ram.read(size, GUARDED)) == guard


@slow("0")
@pytest.mark.parametrize("pause", [0, 0.5])
def test_bus(pause):
    build = build_verilog(
        emit_verilog(Accelerator(preset("tiny")), "accelerator"),
        name="accelerator-bus", toplevel="accelerator",
    )
    run_build(build, __name__, params={"pause": pause})
