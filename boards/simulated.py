# SPDX-License-Identifier: Apache-2.0
"""The wire to a simulated board, and its clock; used inside the simulator, by cocotb."""

from collections.abc import Callable
from typing import Any

from cocotb.task import resume
from cocotb.triggers import First, RisingEdge, Timer
from cocotb.utils import get_sim_time

__all__ = ["SimulatedTransport", "reset_board"]

_PERIOD = 2  # simulation steps of 1 ns in a clock


async def reset_board(dut: Any) -> None:
    """Reset the board; the wire is idle afterwards."""
    dut.outgoing_length.value = dut.send.value = dut.take.value = 0
    dut.rst.value = 1
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


class SimulatedTransport:
    """A `boards.link.transport.Transport` to `testbench.sv`.

    Its methods block, so the client runs in a thread of its own: `cocotb.task.bridge`. Simulated
    time passes only in them.

    Parameters
    ----------
    clock_hz : of the simulated board, by which seconds become cycles.
    spoil : what happens to bytes on their way to the board; nothing by default.
    """

    def __init__(
        self, dut: Any, clock_hz: int, spoil: Callable[[bytes], bytes] | None = None
    ) -> None:
        self._dut, self._clock_hz, self._spoil = dut, clock_hz, spoil
        self._capacity = len(dut.outgoing) // 8

    def clock(self) -> float:
        """Return the seconds that the simulated board has run."""
        return float(get_sim_time("ns")) / _PERIOD / self._clock_hz

    def write(self, data: bytes) -> None:
        """Send ``data``; returns when the last stop bit is on the wire."""
        data = self._spoil(data) if self._spoil else data
        for start in range(0, len(data), self._capacity):
            resume(self._write)(data[start : start + self._capacity])

    async def _write(self, data: bytes) -> None:
        dut = self._dut
        dut.outgoing.value = int.from_bytes(data, "little")
        dut.outgoing_length.value = len(data)
        target = 1 - int(dut.send.value)
        dut.send.value = target
        while int(dut.sent.value) != target:
            await dut.sent.value_change

    def read(self, timeout: float) -> bytes:
        """Return what has arrived; waits for the end of a frame, ``timeout`` seconds at most."""
        found: bytes = resume(self._read)(timeout)
        return found

    async def _read(self, timeout: float) -> bytes:
        dut = self._dut
        cycles = max(1, int(timeout * self._clock_hz))
        if not int(dut.arrived.value):
            await First(RisingEdge(dut.arrived), Timer(_PERIOD * cycles, "ns"))
            await RisingEdge(dut.clk)
        length = int(dut.incoming_length.value)
        if not length:
            return b""
        data = int(dut.incoming.value) & (1 << 8 * length) - 1
        dut.take.value = 1 - int(dut.take.value)
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        return data.to_bytes(length, "little")
