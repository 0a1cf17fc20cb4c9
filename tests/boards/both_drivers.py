# SPDX-License-Identifier: Apache-2.0
"""Inside the simulator: the drivers in Python and in C run a program on the board, over its link.

The job is a folder, the working directory: `program`, as `kiwicha compile --c` writes it, with the
C driver in `driver.so`, and `inputs.npz`; the answers are `outputs.npz`, by driver and name.
"""

import ctypes
import json
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge

import kiwicha
from kiwicha.boards.link.client import HostLink
from kiwicha.boards.port import LinkPort
from kiwicha.boards.simulated import SimulatedTransport, reset_board
from kiwicha.boards.simulation import CLOCK_HZ
from kiwicha.drivers import Driver
from tests.drivers.c_driver import CACHE, CDriver
from tests.drivers.c_networks import outputs, put

__all__ = ["run_both"]

PYTHON_BASE, C_BASE = 0x1000, 0xC000


class Cached(CDriver):
    """The C driver with memory of its own; its hooks for caches copy it to the board and back."""

    def __init__(self, library: Path, symbol: str, port: LinkPort, size: int) -> None:
        super().__init__(library, symbol, port)
        self.copy, self.inputs = np.full(size, 0xA5, np.uint8), dict[str, Any]()  # for `put`
        first = self.copy.ctypes.data

        def flush(_: int, start: int, size: int) -> None:
            data = self.copy[start - first : start - first + size].tobytes()
            port.write(C_BASE + start - first, data)

        def invalidate(_: int, start: int, size: int) -> None:
            data = port.read(C_BASE + start - first, size)
            self.copy[start - first : start - first + size] = np.frombuffer(data, np.uint8)

        self._cached = CACHE(flush), CACHE(invalidate)
        self.port.flush, self.port.invalidate = self._cached


def _run(dut: Any, symbol: str) -> dict[str, Any]:
    transport = SimulatedTransport(dut, CLOCK_HZ)
    port = LinkPort(HostLink(transport, clock=transport.clock))
    with np.load("inputs.npz") as archive:
        inputs = dict(archive)
    program = kiwicha.load("program")
    found = dict[str, Any]()
    driver = Driver(port)
    driver.load(program, PYTHON_BASE)
    found |= {f"python {name}": array for name, array in driver.run(inputs).items()}
    found["python cycles"] = np.array(driver.counters()["cycles"])
    layers = driver.layer_counters()
    found["python layers"] = np.array([layer["cycles"] for layer in layers.values()])
    machine = Cached(Path("program/driver.so").resolve(), symbol, port, program.image.size)
    machine.inputs = inputs
    assert machine.probe() == "OK"
    assert machine.load(machine.copy, C_BASE) == "OK"
    put(machine, machine)
    status = machine.call("run", 1000)
    assert status == "OK", machine.text(status)
    found |= {f"c {name}": array for name, array in outputs(machine).items()}
    counters = (ctypes.c_uint32 * 15)()
    machine.library.kiwicha_read_counters(ctypes.byref(machine.device), counters)
    found["c cycles"] = np.array(counters[0])
    # What is below the base is the other program still.
    found["kept"] = np.frombuffer(port.read(PYTHON_BASE, program.image.size), np.uint8)
    return found


@cocotb.test()
async def run_both(dut: Any) -> None:
    """Reset, run, write down what came of it."""
    symbol = json.loads(Path("job.json").read_text(encoding="utf-8"))["symbol"]
    await reset_board(dut)
    np.savez("outputs.npz", **await bridge(_run)(dut, symbol))
