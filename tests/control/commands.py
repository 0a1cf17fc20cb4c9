# SPDX-License-Identifier: Apache-2.0
"""In the simulator: ABORT at every distance from START, by any order of the write channels."""

import cocotb
from cocotb.triggers import FallingEdge

from kiwicha.machine.isa import ErrorCode
from kiwicha.machine.presets import preset
from kiwicha.machine.register_map import RegisterMap

from ..support.streams import start_clock_and_reset

__all__: list[str] = []

OFFSETS = {register.name: register.offset for register in RegisterMap(preset("tiny"))}
START, ABORT = 1, 2
IDLE, RUNNING, DRAINING, ERROR = 1, 2, 4, 16
ORDERS = {"together": (0, 0), "address first": (0, 1), "data first": (1, 0), "late data": (0, 3)}
"""Cycles that address and data of a write wait."""


class Software:
    """Writes and reads a cycle at a time, so that distances are exact."""

    def __init__(self, dut):
        self.dut = dut

    def port(self, name):
        return getattr(self.dut, f"s_axil__{name}")

    async def begin(self):
        await start_clock_and_reset(self.dut)
        self.port("wstrb").value = 15
        self.port("bready").value = self.port("rready").value = 1
        self.dut.masters_idle.value = 1
        while not self.port("awready").value:
            await FallingEdge(self.dut.clk)
        await self.write("interrupt_enable", 3)
        await self.write("program_length", 64)  # whose fetch no memory answers

    async def write(self, name, value, order="together"):
        """Return in the cycle of the answer, in which the next write may be offered."""
        self.port("awaddr").value, self.port("wdata").value = OFFSETS[name], value
        waits = dict(zip(("aw", "w"), ORDERS[order], strict=True))
        while waits or not self.port("bvalid").value:
            taken = []
            for channel, wait in waits.items():
                self.port(f"{channel}valid").value = int(wait == 0)
                if wait == 0 and self.port(f"{channel}ready").value:
                    taken.append(channel)
            await FallingEdge(self.dut.clk)
            waits = {c: max(0, wait - 1) for c, wait in waits.items() if c not in taken}
            for channel in taken:
                self.port(f"{channel}valid").value = 0
        assert self.port("bresp").value == 0

    async def read(self, name):
        while not self.port("arready").value:
            await FallingEdge(self.dut.clk)
        self.port("araddr").value, self.port("arvalid").value = OFFSETS[name], 1
        await FallingEdge(self.dut.clk)
        self.port("arvalid").value = 0
        while not self.port("rvalid").value:
            await FallingEdge(self.dut.clk)
        return self.port("rdata").value.to_unsigned()

    async def expect_abort(self, what):
        for _ in range(60):
            await FallingEdge(self.dut.clk)
        assert await self.read("status") & 0x1F == ERROR, what
        assert await self.read("error_code") == ErrorCode.ABORTED, what
        assert await self.read("error_address_low") == 0
        assert self.dut.interrupt.value == 1, what
        assert await self.read("interrupt_status") == 2
        await self.write("interrupt_status", 2)


@cocotb.test(timeout_time=400, timeout_unit="us")
@cocotb.parametrize(order=list(ORDERS))
async def abort_stops_at_any_distance(dut, order):
    software = Software(dut)
    await software.begin()
    for _ in range(2):  # from IDLE, then from ERROR
        await software.write("control", START | ABORT, order)
        await software.expect_abort("in one write")
        for gap in range(16):
            await software.write("control", START, order)
            for _ in range(gap):
                await FallingEdge(dut.clk)
            await software.write("control", ABORT, order)
            await software.expect_abort(f"{gap} cycles after the answer")


@cocotb.test(timeout_time=50, timeout_unit="us")
async def nothing_to_abort_and_nothing_to_start(dut):
    software = Software(dut)
    await software.begin()
    await software.write("control", ABORT)
    for _ in range(20):
        await FallingEdge(dut.clk)
    assert await software.read("status") & 0x1F == IDLE
    assert dut.interrupt.value == 0
    # An ABORT before START is none of the program that follows.
    await software.write("control", ABORT)
    await software.write("control", START)
    for _ in range(40):
        await FallingEdge(dut.clk)
    assert await software.read("status") & 0x1F == RUNNING
    # START of a program that runs is ignored, beside ABORT as well; so are both in DRAINING.
    await software.write("control", START)
    dut.masters_idle.value = 0
    await software.write("control", START | ABORT)
    for command in (START, ABORT, START | ABORT):
        await software.write("control", command)
        assert await software.read("status") & 0x1F == DRAINING | ERROR
    dut.masters_idle.value = 1
    await software.expect_abort("aborted with START")
    # An interrupt that is pending is no obstacle, and stays pending.
    await software.write("control", START | ABORT)
    for _ in range(40):
        await FallingEdge(dut.clk)
    await software.write("control", START)
    assert dut.interrupt.value == 1
    assert await software.read("interrupt_status") == 2
    await software.write("control", ABORT)
    await software.expect_abort("with an interrupt pending")
