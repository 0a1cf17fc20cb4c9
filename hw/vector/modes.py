# SPDX-License-Identifier: Apache-2.0
"""Which modes of VECTOR a machine has, and what they mean for its walker."""

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import wiring

from kiwicha.hw.parts.reciprocal import division_cycles
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.statistics.multiway_arbiter import arbiter_cycles
from kiwicha.machine import blocks
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode
from kiwicha.machine.modes import BlockScale

__all__ = [
    "DIGIT", "admit_one_mode", "block_pauses", "ends_pixels", "vector_modes",
]

DIGIT = 4
"""Quotient bits a cycle of the division for a free scale."""


def vector_modes(cfg: AcceleratorConfig) -> tuple[VectorMode, ...]:
    """Return the modes of a machine; RAW comes with any feature that has a use for it."""
    modes = [VectorMode.REQUANTIZE]
    if cfg.dynamic or cfg.blocks.channels or cfg.statistics.elements:
        modes.append(VectorMode.RAW)
    if cfg.dynamic:
        modes += [VectorMode.MEASURE, VectorMode.QUANTIZE]
    if cfg.blocks.channels:
        modes.append(VectorMode.BLOCK)
    return tuple(modes)


def admit_one_mode(
    m: Module, cfg: AcceleratorConfig, asked: wiring.PureInterface, walker: wiring.PureInterface,
    count: Value,
) -> Value:
    """Let instructions of one mode at a time on to the walker; return their mode.

    Where the mode changes, and before and after MEASURE and QUANTIZE, none of ``count`` may be
    under way.
    """
    if len(vector_modes(cfg)) == 1:
        wiring.connect(m, walker, wiring.flipped(asked))
        return Const(VectorMode.REQUANTIZE)
    mode, free = Signal(asked.payload.mode.shape(), name="mode"), Signal(name="free")
    alone: Value = Const(0)
    if cfg.dynamic:
        alone = (mode == VectorMode.MEASURE) | (mode == VectorMode.QUANTIZE)
    m.d.comb += [
        free.eq((count == 0) | ((mode == asked.payload.mode) & ~alone)),
        walker.payload.eq(asked.payload),
        walker.valid.eq(asked.valid & free),
        asked.ready.eq(walker.ready & free),
    ]
    with m.If(asked.valid & asked.ready):
        m.d.sync += mode.eq(asked.payload.mode)
    return mode


def ends_pixels(cfg: AcceleratorConfig) -> bool:
    """Return whether anybody looks at where a pixel ends."""
    return bool(cfg.statistics.elements) or cfg.blocks.random


def block_pauses(cfg: AcceleratorConfig) -> tuple[int, int]:
    """Return (cycles after a block to write its scale, cycles from block end to block end)."""
    writes, spacing = blocks.block_pauses(cfg)
    own = 1
    if cfg.blocks.scale is BlockScale.FREE:
        own = division_cycles(DIGIT)
    elif cfg.blocks.scale is BlockScale.MULTIWAY:
        own = arbiter_cycles(len(cfg.blocks.ways), cfg.blocks.channels, cfg.blocks.criterion)
    require_stated("the time between blocks", own, spacing)
    return writes, spacing
