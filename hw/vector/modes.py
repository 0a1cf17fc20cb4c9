# SPDX-License-Identifier: Apache-2.0
"""Which modes of VECTOR a machine has, and what they mean for its walker."""

from kiwicha.hw.parts.reciprocal import division_cycles
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.statistics.multiway_arbiter import arbiter_cycles
from kiwicha.machine import blocks
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode
from kiwicha.machine.modes import BlockScale

__all__ = [
    "DIGIT", "block_pauses", "ends_pixels", "vector_modes",
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
