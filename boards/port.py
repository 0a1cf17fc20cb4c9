# SPDX-License-Identifier: Apache-2.0
"""A board's serial link as a way to its machine: a `drivers.driver.Port`."""

from kiwicha.boards.link.client import HostLink

__all__ = ["LinkPort"]


class LinkPort:
    """Registers and memory of a board.

    Parameters
    ----------
    link : opened already; its LinkErrors come from every method.
    """

    def __init__(self, link: HostLink) -> None:
        self.link, self.base, self.memory_bytes = link, 0, link.identity.memory_bytes

    def read32(self, offset: int) -> int:
        """Return a register."""
        return self.link.read_registers(offset, 1)[0]

    def write32(self, offset: int, value: int) -> None:
        """Write a register."""
        self.link.write_registers(offset, [value])

    def read(self, address: int, size: int) -> bytes:
        """Return memory."""
        return self.link.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Write memory."""
        self.link.write(address, data)

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt; return whether it is raised."""
        return self.link.wait(seconds)
