# SPDX-License-Identifier: Apache-2.0
"""What there is to know of a board before anything is built for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable

from kiwicha.boards.resources import Device
from kiwicha.boards.top import BoardTop
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["Board"]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board, and how a bitstream for it is made.

    Members
    -------
    machine : what it gets by default.
    clock_mhz : of the machine by default.
    baud : bits a second on its serial port.
    memory_bytes, payload_bytes : see `boards.top.BoardTop`; less memory if the machine can
        address no more.
    platform : makes its `amaranth.build.Platform`; imported only when called.
    wrap : puts the top between the board's pins, at so many MHz.
    synthesis : Yosys commands after reading, flattening and cleaning, which make ``board.json``.
    place, pack : (tool, arguments) for ``board.json``, and for making ``bitstream``.
    """

    name: str
    title: str
    device: Device
    machine: AcceleratorConfig
    clock_mhz: int
    baud: int
    memory_bytes: int
    payload_bytes: int = 1024
    platform: Callable[[], Any]
    wrap: Callable[[BoardTop, int], Elaboratable]
    synthesis: str
    place: tuple[str, Sequence[str]]
    pack: tuple[str, Sequence[str]]
    bitstream: str

    def folder(self, above: Path = Path("build/boards")) -> Path:
        """Return where its bitstream goes."""
        return above / self.name
