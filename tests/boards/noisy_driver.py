# SPDX-License-Identifier: Apache-2.0
"""Inside the simulator: the client over a real serial port to the real top, with noise on it."""

import random
from typing import Any

import cocotb
from cocotb.task import bridge

from kiwicha.boards.link.client import HostLink
from kiwicha.boards.simulated import SimulatedTransport, reset_board

__all__ = ["survives_noise"]

_SIZE = 3000


class _Noise:
    """Spoils some of the messages: changes, drops and adds bytes, cuts, repeats, swaps."""

    def __init__(self, seed: int) -> None:
        self.chooser = random.Random(seed)
        self.clean = 1  # identify, and every second message
        self.last = b""
        self.spoilt: set[str] = set()

    def __call__(self, data: bytes) -> bytes:
        before, self.last = self.last, data
        self.clean -= 1
        if self.clean >= 0:
            return data
        self.clean = 1
        kind = self.chooser.choice(("change", "drop", "add", "cut", "twice", "old", "noise"))
        self.spoilt.add(kind)
        place = self.chooser.randrange(1, len(data) - 1)
        first, rest = data[:place], data[place:]
        return {
            "change": first + bytes((rest[0] ^ 1 << self.chooser.randrange(8),)) + rest[1:],
            "drop": first + rest[1:],
            "add": first + b"\x55" + rest,
            "cut": first,
            "twice": data + data,
            "old": before + data,
            "noise": self.chooser.randbytes(20) + data,
        }[kind]


def _exercise(dut: Any) -> set[str]:
    noise = _Noise(3)
    transport = SimulatedTransport(dut, 1_000_000, lambda data: noise(data))
    link = HostLink(transport, clock=transport.clock, timeout=0.05)
    expected = bytearray(_SIZE)
    link.write(0, bytes(expected))
    for _ in range(12):
        data = noise.chooser.randbytes(noise.chooser.randint(1, 300))
        start = noise.chooser.randrange(100, _SIZE - 100 - len(data))
        link.write(start, data)
        expected[start : start + len(data)] = data
        assert link.read(0, _SIZE) == expected, "memory is not what was written"
    link.write_registers(0x090, [0x12345678])
    assert link.read_registers(0x08C, 2)[1] == 0x12345678
    assert link.read_registers(0x000, 1) == [int.from_bytes(b"KIWI", "big")]
    assert link.wait(0.0001) is False
    assert link.statistics.repeats > 3
    return noise.spoilt


@cocotb.test()
async def survives_noise(dut: Any) -> None:
    """Write and read memory and registers while messages are spoilt."""
    await reset_board(dut)
    spoilt = await bridge(_exercise)(dut)
    assert len(spoilt) == 7, f"only {spoilt}"
