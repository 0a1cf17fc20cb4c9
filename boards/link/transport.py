# SPDX-License-Identifier: Apache-2.0
"""How the client's bytes get to a board and back: a serial port, or anything with two methods."""

import contextlib
from types import TracebackType
from typing import Protocol

__all__ = ["LinkError", "SerialTransport", "Transport"]


class LinkError(Exception):
    """The board cannot be reached, or does not do what it was told; the message says what."""


class Transport(Protocol):
    """A wire in both directions, without any promise that bytes arrive as they were sent."""

    def write(self, data: bytes) -> None:
        """Send ``data``."""

    def read(self, timeout: float) -> bytes:
        """Return what has arrived, at least a byte of it; nothing after ``timeout`` seconds."""


class SerialTransport:
    """A serial port of this computer, through pyserial.

    Parameters
    ----------
    port : its name, as /dev/ttyUSB0 or COM3.
    baud : bits a second.

    Raises
    ------
    LinkError
        pyserial is not installed, or the port cannot be opened; names the port and the reason.
    """

    def __init__(self, port: str, baud: int) -> None:
        try:
            import serial
        except ImportError:
            raise LinkError(
                "pyserial is not installed: python -m pip install -e '.[fpga]'"
            ) from None
        self._error: type[Exception] = serial.SerialException
        try:
            self._port = serial.serial_for_url(port, baudrate=baud, timeout=0)
        except (serial.SerialException, ValueError) as error:
            raise LinkError(f"{port} cannot be opened at {baud} baud: {error}") from None
        self.name = port

    def __enter__(self) -> "SerialTransport":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._port.close()

    def write(self, data: bytes) -> None:
        """Send ``data``; raises LinkError when the port is gone."""
        try:
            self._port.write(data)
        except (self._error, OSError) as error:
            raise LinkError(f"{self.name} is gone: {error}") from None

    def read(self, timeout: float) -> bytes:
        """Return what has arrived; raises LinkError when the port is gone."""
        try:
            self._port.timeout = timeout
            return bytes(self._port.read(max(1, self._port.in_waiting)))
        except (self._error, OSError) as error:
            raise LinkError(f"{self.name} is gone: {error}") from None
