# SPDX-License-Identifier: Apache-2.0
"""Ways to a machine on Linux: /dev/mem, a UIO device, PYNQ; a `drivers.driver.Port` each."""

import mmap
import os
import select
import time
from pathlib import Path
from typing import Any

import numpy as np

from kiwicha.drivers import registers as r
from kiwicha.drivers.driver import DriverError

__all__ = ["UIO", "DevMem", "Pynq"]

_POLL_SECONDS = 0.0002


class _Mapped:
    """Registers and memory in the process's own address space.

    Parameters
    ----------
    registers : (file, byte offset in it); memory : the same.
    base : where the machine sees that memory; memory_bytes : how much there is.
    """

    def __init__(
        self, registers: tuple[str | Path, int], memory: tuple[str | Path, int], base: int,
        memory_bytes: int,
    ) -> None:
        self.base, self.memory_bytes = base, memory_bytes
        # Arrays of words: a register is one access of 32 bits.
        self._registers = _map(*registers, r.APERTURE_BYTES).view("<u4")
        self._memory = _map(*memory, memory_bytes)

    def read32(self, offset: int) -> int:
        return int(self._registers[offset // 4])

    def write32(self, offset: int, value: int) -> None:
        self._registers[offset // 4] = value

    def read(self, address: int, size: int) -> bytes:
        start = self._place(address, size)
        return self._memory[start : start + size].tobytes()

    def write(self, address: int, data: bytes) -> None:
        start = self._place(address, len(data))
        self._memory[start : start + len(data)] = np.frombuffer(data, np.uint8)

    def wait(self, seconds: float) -> bool:
        time.sleep(min(seconds, _POLL_SECONDS))
        return True

    def _place(self, address: int, size: int) -> int:
        return _place(self.base, self.memory_bytes, address, size)


def _place(base: int, memory_bytes: int, address: int, size: int) -> int:
    """Return where in memory an address is; it and what follows must be there."""
    start = address - base
    if start < 0 or start + size > memory_bytes:
        raise DriverError(
            f"memory {address:#x} to {address + size:#x}: the port has {base:#x} to "
            f"{base + memory_bytes:#x}"
        )
    return start


def _map(path: str | Path, offset: int, size: int) -> np.ndarray:
    """Map a part of a file, at any offset that is a multiple of a word."""
    start = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    try:
        file = os.open(path, os.O_RDWR | os.O_SYNC)
        try:
            mapped = mmap.mmap(file, offset - start + size, offset=start)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DriverError(f"{path}: {reason}") from None
    return np.frombuffer(mapped, np.uint8)[offset - start :]


class DevMem(_Mapped):
    """Registers and memory by their physical addresses; by polling.

    Parameters
    ----------
    registers, memory : physical addresses, the memory's being also where the machine sees it.
    memory_bytes : a part of memory that Linux does not use (``mem=`` or reserved-memory).
    path : what maps physical memory; opened with O_SYNC, so that it is not cached.
    """

    def __init__(
        self, registers: int, memory: int, memory_bytes: int, path: str | Path = "/dev/mem"
    ) -> None:
        super().__init__((path, registers), (path, memory), memory, memory_bytes)


class UIO(_Mapped):
    """A UIO device, with its interrupt, and memory from another device, such as u-dma-buf.

    Parameters
    ----------
    path : such as /dev/uio0; its first map are the registers.
    memory : the other device or file, and ``offset`` in it.
    base : where the machine sees that memory.
    """

    def __init__(
        self, path: str | Path, memory: str | Path, base: int, memory_bytes: int, offset: int = 0
    ) -> None:
        super().__init__((path, 0), (memory, offset), base, memory_bytes)
        self.events = os.open(path, os.O_RDWR)

    def wait(self, seconds: float) -> bool:
        # The kernel masks the interrupt when it comes; a word of 1 lets it come again.
        os.write(self.events, (1).to_bytes(4, "little"))
        ready, _, _ = select.select([self.events], [], [], seconds)
        if ready:
            os.read(self.events, 4)
        return bool(ready)


class Pynq:
    """An overlay of PYNQ, with memory from its allocator; by polling.

    Parameters
    ----------
    bitstream : path of the .bit file.
    memory_bytes : to allocate.
    core : the machine's name in the block design; may be left out where it is the only one.

    Raises
    ------
    DriverError
        When there is no core of this name.
    """

    def __init__(self, bitstream: str | Path, memory_bytes: int, core: str | None = None) -> None:
        import pynq

        self._overlay: Any = pynq.Overlay(str(bitstream))
        cores = self._overlay.ip_dict
        if core is None and len(cores) == 1:
            (core,) = cores
        if core not in cores:
            raise DriverError(
                f"{bitstream}: core {core or '?'} is not one of {', '.join(cores) or 'none'}"
            )
        self._registers: Any = pynq.MMIO(cores[core]["phys_addr"], r.APERTURE_BYTES)
        self._memory: Any = pynq.allocate(shape=(memory_bytes,), dtype=np.uint8)
        self.base, self.memory_bytes = int(self._memory.physical_address), memory_bytes

    def read32(self, offset: int) -> int:
        """Return a register."""
        return int(self._registers.read(offset))

    def write32(self, offset: int, value: int) -> None:
        """Write a register."""
        self._registers.write(offset, value)

    def read(self, address: int, size: int) -> bytes:
        """Return memory, as the machine left it."""
        start = _place(self.base, self.memory_bytes, address, size)
        self._memory.invalidate()
        return bytes(np.asarray(self._memory[start : start + size]))

    def write(self, address: int, data: bytes) -> None:
        """Write memory."""
        start = _place(self.base, self.memory_bytes, address, len(data))
        self._memory[start : start + len(data)] = np.frombuffer(data, np.uint8)
        self._memory.flush()

    def wait(self, seconds: float) -> bool:
        """Sleep for a moment."""
        time.sleep(min(seconds, _POLL_SECONDS))
        return True
