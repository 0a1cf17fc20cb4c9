# SPDX-License-Identifier: Apache-2.0
"""The other side of the AXI masters: small subordinates with latency and faults, and a referee."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import cocotb
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge

__all__ = [
    "DECERR", "OKAY", "PREFIX", "SLVERR",
    "ReadSubordinate", "Referee", "WriteSubordinate", "pauses",
]

PREFIX = "axi_"
"""What cocotbext-axi has to know of a port called ``axi``: it adds an underscore of its own."""

OKAY, SLVERR, DECERR = 0, 2, 3

_PAYLOAD = {
    "ar": ("araddr", "arlen", "arsize", "arburst"),
    "aw": ("awaddr", "awlen", "awsize", "awburst"),
    "w": ("wdata", "wstrb", "wlast"),
}


def pauses(probability: float, seed: object) -> Iterator[bool]:
    """Yield, for each cycle, whether a channel pauses."""
    chooser = random.Random(f"{seed} pauses")
    while True:
        yield chooser.random() < probability


def _never(address: int) -> int:
    return OKAY


class Referee:
    """Watches a port called ``axi``: what is offered stays, and bursts are as they should be.

    Members
    -------
    reads, writes : (cycle, address, beats) of each address accepted.
    read_beats, write_beats : cycle of each beat.
    cycle : clock edges so far.
    """

    def __init__(self, dut: HierarchyObject, *, beat_bytes: int, burst_beats: int) -> None:
        self.dut = dut
        self.beat_bytes = beat_bytes
        self.burst_beats = burst_beats
        self.cycle = 0
        self.reads: list[tuple[int, int, int]] = []
        self.writes: list[tuple[int, int, int]] = []
        self.read_beats: list[int] = []
        self.write_beats: list[int] = []
        self._channels = {
            name: [self._signal(field) for field in (f"{name}valid", f"{name}ready", *fields)]
            for name, fields in _PAYLOAD.items()
            if hasattr(dut, f"axi__{name}valid")
        }
        cocotb.start_soon(self._run())

    def _signal(self, name: str) -> Any:
        return getattr(self.dut, f"axi__{name}")

    async def _run(self) -> None:
        waiting: dict[str, list[int]] = {}
        reading = "ar" in self._channels
        while True:
            await RisingEdge(self.dut.clk)
            self.cycle += 1
            for name, (valid, ready, *fields) in self._channels.items():
                offered = [int(field.value) for field in fields] if valid.value else None
                if name in waiting:
                    assert offered == waiting[name], f"{name}: {waiting[name]} became {offered}"
                    del waiting[name]
                if offered is None:
                    continue
                if not ready.value:
                    waiting[name] = offered
                elif name == "w":
                    self.write_beats.append(self.cycle)
                else:
                    self._burst(self.reads if name == "ar" else self.writes, offered)
            if reading and self._signal("rvalid").value and self._signal("rready").value:
                self.read_beats.append(self.cycle)

    def _burst(self, log: list[tuple[int, int, int]], fields: list[int]) -> None:
        address, length, size, kind = fields
        end = address + (length + 1) * self.beat_bytes
        assert kind == 1, "not INCR"
        assert 1 << size == self.beat_bytes
        assert address % self.beat_bytes == 0
        assert length + 1 <= self.burst_beats, f"{length + 1} beats"
        assert address // 4096 == (end - 1) // 4096, f"{address:#x} to {end:#x} crosses 4 KiB"
        log.append((self.cycle, address, length + 1))


class ReadSubordinate:
    """Answers reads from ``memory`` in order, one beat a cycle.

    Parameters
    ----------
    latency : cycles from an accepted address to its first beat.
    respond : gives RRESP for a beat's address.
    """

    def __init__(
        self,
        dut: HierarchyObject,
        memory: bytes | bytearray,
        *,
        beat_bytes: int,
        latency: int = 1,
        respond: Callable[[int], int] = _never,
    ) -> None:
        self.dut = dut
        self.memory = memory
        self.beat_bytes = beat_bytes
        self.latency = latency
        self.respond = respond
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut, size = self.dut, self.beat_bytes
        beats: deque[tuple[int, int, bool]] = deque()
        cycle = 0
        dut.axi__arready.value = 1
        dut.axi__rvalid.value = 0
        offering = False
        while True:
            await RisingEdge(dut.clk)
            cycle += 1
            if offering and dut.axi__rready.value:
                beats.popleft()
                offering = False
            if dut.axi__arvalid.value and dut.axi__arready.value:
                address, length = int(dut.axi__araddr.value), int(dut.axi__arlen.value)
                for index in range(length + 1):
                    due = cycle + self.latency
                    beats.append((due, address + index * size, index == length))
            if not offering and beats and beats[0][0] <= cycle + 1:
                _, address, last = beats[0]
                word = bytes(self.memory[address : address + size])
                dut.axi__rdata.value = int.from_bytes(word, "little")
                dut.axi__rlast.value = int(last)
                dut.axi__rresp.value = self.respond(address)
                offering = True
            dut.axi__rvalid.value = int(offering)


class WriteSubordinate:
    """Takes writes into ``memory``; responds ``latency`` cycles after a burst's last beat.

    Parameters
    ----------
    order : ``"any"`` takes both channels at once; ``"address"`` takes data only of bursts whose
        address it has, ``"data"`` an address only when all the data of its burst is there.
    respond : gives BRESP for a burst's address.
    """

    def __init__(
        self,
        dut: HierarchyObject,
        memory: bytearray,
        *,
        beat_bytes: int,
        latency: int = 1,
        order: str = "any",
        respond: Callable[[int], int] = _never,
    ) -> None:
        self.dut = dut
        self.memory = memory
        self.beat_bytes = beat_bytes
        self.latency = latency
        self.order = order
        self.respond = respond
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut = self.dut
        addresses: deque[tuple[int, int]] = deque()
        bursts: deque[list[tuple[int, int]]] = deque()
        part: list[tuple[int, int]] = []
        responses: deque[tuple[int, int]] = deque()
        beats_due = 0
        cycle = 0
        dut.axi__awready.value = int(self.order != "data")
        dut.axi__wready.value = int(self.order != "address")
        while True:
            await RisingEdge(dut.clk)
            cycle += 1
            if dut.axi__bvalid.value and dut.axi__bready.value:
                responses.popleft()
            if dut.axi__awvalid.value and dut.axi__awready.value:
                addresses.append((int(dut.axi__awaddr.value), int(dut.axi__awlen.value)))
                beats_due += addresses[-1][1] + 1
            if dut.axi__wvalid.value and dut.axi__wready.value:
                part.append((int(dut.axi__wdata.value), int(dut.axi__wstrb.value)))
                beats_due -= 1
                if dut.axi__wlast.value:
                    bursts.append(part)
                    part = []
            while addresses and bursts:
                address, length = addresses.popleft()
                beats = bursts.popleft()
                assert len(beats) == length + 1, "wlast is not at the last beat"
                responses.append((cycle + self.latency, self.respond(address)))
                if responses[-1][1] == OKAY:
                    self._write(address, beats)
            if self.order == "data":
                dut.axi__awready.value = int(len(bursts) > 0)
            if self.order == "address":
                # Only when a beat is due after the one that may be taken at the next edge.
                dut.axi__wready.value = int(beats_due > 0)
            answer = bool(responses) and responses[0][0] <= cycle + 1
            dut.axi__bvalid.value = int(answer)
            if answer:
                dut.axi__bresp.value = responses[0][1]

    def _write(self, address: int, beats: list[tuple[int, int]]) -> None:
        for index, (word, strobe) in enumerate(beats):
            for lane in range(self.beat_bytes):
                if strobe >> lane & 1:
                    place = address + index * self.beat_bytes + lane
                    self.memory[place] = word >> (8 * lane) & 0xFF
