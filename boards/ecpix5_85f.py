# SPDX-License-Identifier: Apache-2.0
"""ECPIX-5 with an ECP5-5G-85F: 100 MHz oscillator, serial port over USB (FTDI), RGB lights."""

from functools import partial
from typing import Any

from kiwicha.boards.board import Board
from kiwicha.boards.ecp5 import PACK, SYNTHESIS, Ecp5Pins, place
from kiwicha.boards.resources import ECP5_85F
from kiwicha.machine.presets import preset

__all__ = ["ECPIX5_85F"]


def _platform() -> Any:
    from amaranth_boards.ecpix5 import ECPIX585Platform

    platform = ECPIX585Platform()
    platform.cells = True  # those that the machine's configuration names
    return platform


def _lights(platform: Any) -> list[Any]:
    colours = platform.request("rgb_led", 0, dir=dict.fromkeys("rgb", "-"))
    return [colours.r, colours.g, colours.b]


ECPIX5_85F = Board(
    name="ecpix5-85f",
    title="ECPIX-5 (Lattice ECP5 LFE5UM5G-85F, speed 8)",
    device=ECP5_85F,
    machine=preset("ulx3s-85f"),
    clock_mhz=50,
    baud=1_000_000,
    memory_bytes=1 << 17,
    platform=_platform,
    wrap=partial(Ecp5Pins, oscillator=("clk100", 100), lights=_lights),
    synthesis=SYNTHESIS,
    place=place("um5g-85k", "CABGA554", 8),
    pack=PACK,
    bitstream="board.bit",
)
