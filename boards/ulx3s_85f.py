# SPDX-License-Identifier: Apache-2.0
"""ULX3S with an ECP5-85F: 25 MHz oscillator, serial port over USB (FTDI), eight lights."""

from functools import partial
from typing import Any

from kiwicha.boards.board import Board
from kiwicha.boards.ecp5 import PACK, SYNTHESIS, Ecp5Pins, place
from kiwicha.boards.resources import ECP5_85F
from kiwicha.machine.presets import preset

__all__ = ["ULX3S_85F"]


def _platform() -> Any:
    from amaranth_boards.ulx3s import ULX3S_85F_Platform

    platform = ULX3S_85F_Platform()
    platform.cells = True  # those that the machine's configuration names
    return platform


def _lights(platform: Any) -> list[Any]:
    return [platform.request("led", number, dir="-") for number in range(3)]


ULX3S_85F = Board(
    name="ulx3s-85f",
    title="ULX3S (Lattice ECP5 LFE5U-85F, speed 6)",
    device=ECP5_85F,
    machine=preset("ulx3s-85f"),
    clock_mhz=50,
    baud=1_000_000,
    memory_bytes=1 << 17,
    platform=_platform,
    wrap=partial(Ecp5Pins, oscillator=("clk25", 25), lights=_lights),
    synthesis=SYNTHESIS,
    place=place("85k", "CABGA381", 6),
    pack=PACK,
    bitstream="board.bit",
)
