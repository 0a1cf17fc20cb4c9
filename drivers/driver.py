# SPDX-License-Identifier: Apache-2.0
"""Driver of a machine, in Python; its functions have the names of those in C, ``drivers/c``."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kiwicha.drivers import registers as r
from kiwicha.drivers.program import Program
from kiwicha.drivers.sequence import EVENTS, error_text, start_registers
from kiwicha.errors import KiwichaError, ProgramError

__all__ = ["Driver", "DriverError", "Port", "Probe"]

_WORKING = r.STATUS_RUNNING_MASK | r.STATUS_DRAINING_MASK
_WAIT_SECONDS = 0.25


class DriverError(KiwichaError):
    """The machine is not the right one, does not answer, or has stopped.

    Members
    -------
    code, address : of the machine's error, if it is one.
    """

    def __init__(self, text: str, code: int = 0, address: int = 0) -> None:
        self.code, self.address = code, address
        super().__init__(text)


class Port(Protocol):
    """A way to a machine: its registers, by byte offset, and memory, as the machine sees it.

    Members
    -------
    base : address of the memory that programs may have; ``memory_bytes`` : how much there is.
    """

    base: int
    memory_bytes: int

    def read32(self, offset: int) -> int:
        """Return a register."""

    def write32(self, offset: int, value: int) -> None:
        """Write a register."""

    def read(self, address: int, size: int) -> bytes:
        """Return memory, as the machine left it."""

    def write(self, address: int, data: bytes) -> None:
        """Write memory; the machine sees it when this returns."""

    def wait(self, seconds: float) -> bool:
        """Sleep until an interrupt, ``seconds`` at most; return whether there may be one. Without
        interrupts: sleep for a moment, return true."""


@dataclass(frozen=True)
class Probe:
    """What a machine says of itself: fingerprint, (major, minor) of its interface, and bits of
    an address."""

    fingerprint: int
    version: tuple[int, int]
    address_width: int


class Driver:
    """One machine.

    Parameters
    ----------
    port : the way to it.

    Members
    -------
    found : what the machine says of itself.
    program, base : what is loaded, and where; None before.

    Raises
    ------
    DriverError
        When there is no machine, or one of another major version.
    """

    def __init__(self, port: Port) -> None:
        self.port, self.found = port, probe(port)
        self.program: Program | None = None
        self.base = 0

    def load(self, program: Program, base: int | None = None) -> None:
        """Put a program into memory, at the port's beginning or at ``base``.

        Raises
        ------
        DriverError
            For a program for another machine, or while a program runs.
        ProgramError
            For memory that is too small, or a base that cannot be; nothing has been written.
        """
        place = self.port.base if base is None else base
        if program.version[0] != self.found.version[0]:
            raise DriverError(
                f"the machine has version {self.found.version[0]} of the interface, "
                f"{program.name} is for version {program.version[0]}"
            )
        if program.fingerprint != self.found.fingerprint:
            raise DriverError(
                f"the machine has fingerprint {self.found.fingerprint:#010x}, {program.name} is "
                f"for {program.fingerprint:#010x} ({program.manifest['machine']['name']})"
            )
        if place < self.port.base:
            raise ProgramError(
                f"{program.name}: base {place:#x} is before the memory at {self.port.base:#x}"
            )
        image = program.relocate(place, self.port.base + self.port.memory_bytes - place)
        self._idle()
        self.port.write(place, image.tobytes())
        self.program, self.base = program, place

    def start(self, inputs: Mapping[str, Any] | None = None) -> None:
        """Put inputs into memory, grant the windows, and start.

        Parameters
        ----------
        inputs : arrays by name; None where they are there already.

        Raises
        ------
        DriverError
            When nothing is loaded, or a program runs.
        InputError
            For an array that is not as it must be; nothing has been written.
        """
        program = self._loaded()
        pieces = [] if inputs is None else program.pack(inputs)
        self._idle()
        for address, octets in pieces:
            self.port.write(self.base + address, octets)
        for offset, value in start_registers(
            program.program, program.read_window, program.write_window, self.base
        ).items():
            self.port.write32(offset, value)
        self.port.write32(r.CONTROL_OFFSET, r.CONTROL_START_MASK)

    def wait(self, limit: float = 10.0) -> None:
        """Wait until the program has ended, ``limit`` seconds at most.

        Raises
        ------
        DriverError
            When the machine stops with an error, or has not ended; it runs on then.
        """
        self._loaded()
        end = time.monotonic() + limit
        while not (events := self.port.read32(r.INTERRUPT_STATUS_OFFSET) & EVENTS):
            if (left := end - time.monotonic()) <= 0:
                draining = self.port.read32(r.STATUS_OFFSET) & r.STATUS_DRAINING_MASK
                why = ": it waits for a bus that does not answer, reset both" if draining else ""
                raise DriverError(f"no end and no error after {limit:g} s{why}")
            self.port.wait(min(left, _WAIT_SECONDS))
        self.port.write32(r.INTERRUPT_STATUS_OFFSET, events)
        if code := self.port.read32(r.ERROR_CODE_OFFSET):
            low, high = r.ERROR_ADDRESS_LOW_OFFSET, r.ERROR_ADDRESS_HIGH_OFFSET
            address = self.port.read32(low) | self.port.read32(high) << 32
            raise DriverError(error_text(code, address), code, address)

    def run(
        self, inputs: Mapping[str, Any] | None = None, limit: float = 10.0
    ) -> dict[str, NDArray[Any]]:
        """`start`, `wait`, and return the outputs by name."""
        self.start(inputs)
        self.wait(limit)
        return self.outputs()

    def outputs(self) -> dict[str, NDArray[Any]]:
        """Return the outputs of the program that has run, by name."""
        program, base = self._loaded(), self.base
        return program.unpack(lambda address, size: self.port.read(base + address, size))

    def abort(self) -> None:
        """Stop the program that runs; `wait` then raises, with the code of ABORTED."""
        self.port.write32(r.CONTROL_OFFSET, r.CONTROL_ABORT_MASK)

    def counters(self) -> dict[str, int]:
        """Return the counters of the last program, by name; ``cycles`` in place of its halves."""
        return _counters({name: self.port.read32(at) for name, at in r.COUNTERS.items()})

    def layer_counters(self) -> dict[str, dict[str, int]]:
        """Return what the counters were at the end of each layer, by its name."""
        program, found = self._loaded(), dict[str, dict[str, int]]()
        for layer in program.manifest["layers"]:
            record = np.frombuffer(self.port.read(self.base + layer["counters"], 64), "<u4")
            found[layer["name"]] = _counters({
                name: int(record[(at - r.COUNTERS_OFFSET) // 4]) for name, at in r.COUNTERS.items()
            })
        return found

    def _loaded(self) -> Program:
        if self.program is None:
            raise DriverError("no program is loaded")
        return self.program

    def _idle(self) -> None:
        if self.port.read32(r.STATUS_OFFSET) & _WORKING:
            raise DriverError("a program runs, or is being stopped")


def probe(port: Port) -> Probe:
    """Return what a machine says of itself.

    Raises
    ------
    DriverError
        When there is none, or one of another major version.
    """
    if (identity := port.read32(r.IDENTITY_OFFSET)) != r.IDENTITY:
        raise DriverError(
            f"no machine: the identity register reads {identity:#010x}, not {r.IDENTITY:#010x}"
        )
    version = port.read32(r.VERSION_OFFSET)
    major = (version & r.VERSION_MAJOR_MASK) >> r.VERSION_MAJOR_SHIFT
    minor = (version & r.VERSION_MINOR_MASK) >> r.VERSION_MINOR_SHIFT
    if major != r.VERSION_MAJOR:
        raise DriverError(
            f"the machine has version {major} of the interface, this driver knows "
            f"{r.VERSION_MAJOR}"
        )
    memory = port.read32(r.MEMORY_PORT_OFFSET)
    width = (memory & r.MEMORY_PORT_ADDRESS_WIDTH_MASK) >> r.MEMORY_PORT_ADDRESS_WIDTH_SHIFT
    return Probe(port.read32(r.FINGERPRINT_OFFSET), (major, minor), width)


def _counters(found: dict[str, int]) -> dict[str, int]:
    cycles = found.pop("cycles_low") | found.pop("cycles_high") << 32
    return {"cycles": cycles, **found}
