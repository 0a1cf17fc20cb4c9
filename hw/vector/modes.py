# SPDX-License-Identifier: Apache-2.0
"""Which modes of VECTOR a machine has, and what they mean for its walker."""


from kiwicha.hw.parts.reciprocal import division_cycles
from kiwicha.hw.statistics.multiway_arbiter import arbiter_cycles
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode
from kiwicha.machine.modes import BlockScale

__all__ = [
    "DIGIT", "block_pauses", "ends_pixels", "scale_bytes", "vector_modes",
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


def scale_bytes(cfg: AcceleratorConfig) -> int:
    """Return the bytes of a block's scale: its shift, or that and its way, or its magnitude."""
    return {BlockScale.POT: 1, BlockScale.MULTIWAY: 2, BlockScale.FREE: 4}[cfg.blocks.scale]


def ends_pixels(cfg: AcceleratorConfig) -> bool:
    """Return whether anybody looks at where a pixel ends."""
    return bool(cfg.statistics.elements) or cfg.blocks.random


def block_pauses(cfg: AcceleratorConfig) -> tuple[int, int]:
    """Return (cycles after a block to write its scale, cycles from block end to block end)."""
    writes = -(-scale_bytes(cfg) // cfg.requantize_lanes)
    if cfg.blocks.scale is BlockScale.POT:
        return writes, 1
    if cfg.blocks.scale is BlockScale.FREE:
        return writes, division_cycles(DIGIT)
    return writes, arbiter_cycles(len(cfg.blocks.ways), cfg.blocks.channels, cfg.blocks.criterion)
