# SPDX-License-Identifier: Apache-2.0
"""When VECTOR's walker pauses: after each step of RAW, and around the blocks of BLOCK."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.vector.modes import block_pauses
from kiwicha.machine.blocks import scale_bytes
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VECTOR, VectorMode

__all__ = ["Pace"]

_RAW_PAUSE = 3  # the bytes of a step are four steps' worth of writing


class Pace(Component):
    """Holds the walker back where results take longer than steps, and walks the blocks' scales.

    Latency: none; a pause begins in the cycle after the step that causes it.

    Parameters
    ----------
    cfg : ``requantize_lanes``, ``output_bytes`` and what blocks there are.

    Members
    -------
    take : In(1); instruction : In(VECTOR)
        An instruction is taken.
    move : In(1); wide : In(1); last : In(1)
        A step is made; it is one of RAW; it is the last of its pixel.
    paused : Out(1)
        No step may be made.
    hold : In(1)
        Make no step but for the one that is made just now; this and what follows only with
        ``blocks.channels``.
    ended : Out(1)
        The step is the last of its block.
    scale : Out(range(2 * output_bytes))
        Where the scale of its block goes; beyond the output buffer for ``outside``.
    outside : Out(1)
        The instruction is one of BLOCK, and that scale does not fit into the output buffer.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        blocks = {
            "hold": In(1),
            "ended": Out(1),
            "scale": Out(range(2 * cfg.output_bytes)),
            "outside": Out(1),
        }
        super().__init__({
            "take": In(1),
            "instruction": In(VECTOR),
            "move": In(1),
            "wide": In(1),
            "last": In(1),
            "paused": Out(1),
            **(blocks if cfg.blocks.channels else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        writes, spacing = block_pauses(cfg) if cfg.blocks.channels else (0, 1)
        pause = Signal(range(max(writes, _RAW_PAUSE) + 1))
        m.d.comb += self.paused.eq(pause != 0)
        with m.If(pause != 0):
            m.d.sync += pause.eq(pause - 1)
        with m.If(self.move & self.wide):
            m.d.sync += pause.eq(_RAW_PAUSE)
        if not cfg.blocks.channels:
            return m

        place_bits = exact_log2(cfg.output_bytes)
        size, steps = scale_bytes(cfg), cfg.blocks.channels // cfg.requantize_lanes
        place, rest = Signal(range(steps)), Signal(range(spacing))
        blocks = Signal()
        m.d.comb += [
            self.paused.eq((pause != 0) | self.hold | (blocks & self.ended & (rest != 0))),
            self.ended.eq(self.last | (place == steps - 1)),
            self.outside.eq(
                blocks
                & (self.scale[-1] | (self.scale[:-1] + (size - 1))[place_bits:].any())
            ),
        ]
        with m.If(rest != 0):
            m.d.sync += rest.eq(rest - 1)
        with m.If(self.move):
            m.d.sync += place.eq(Mux(self.ended, 0, place + 1))
        with m.If(self.move & self.ended & blocks):
            m.d.sync += [
                pause.eq(writes),
                rest.eq(spacing - 1),
                self.scale.eq(self.scale + size),
            ]
        with m.If(self.take):
            m.d.sync += [
                place.eq(0),
                self.scale.eq(self.instruction.scales),
                blocks.eq(self.instruction.mode == VectorMode.BLOCK),
            ]
        return m
