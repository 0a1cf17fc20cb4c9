# SPDX-License-Identifier: Apache-2.0
"""Blocks of channels that have a scale of their own: its bytes, and the pauses that it takes."""

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.modes import BlockCriterion, BlockScale

__all__ = ["WINDOW", "block_pauses", "exact_width", "scale_bytes"]

WINDOW = 16
"""Exponents that the super-accumulator tells apart unless another window is asked for. With it and
up to 512 blocks it has 56 bits."""
_DIVISION = 14  # cycles from one free scale to the next


def scale_bytes(cfg: AcceleratorConfig) -> int:
    """Return the bytes of a block's scale: its shift, or that and its way, or its magnitude."""
    return {BlockScale.POT: 1, BlockScale.MULTIWAY: 2, BlockScale.FREE: 4}[cfg.blocks.scale]


def exact_width(blocks: int, window: int = WINDOW) -> int:
    """Return the bits, sign included, that the super-accumulator needs for so many blocks:
    ``32 + (window - 1) + ceil(log2(blocks))``.

    Raises
    ------
    ValueError
        For fewer than one block, a window below 1, or more than 64 bits.
    """
    width = 32 + window - 1 + (blocks - 1).bit_length()
    if blocks < 1 or window < 1 or width > 64:
        raise ValueError(f"{blocks} blocks, a window of {window}; legal: from 1, 64 bits together")
    return width


def block_pauses(cfg: AcceleratorConfig) -> tuple[int, int]:
    """Return (cycles after a block to write its scale, cycles from block end to block end).

    The latter is at least a division for free scales, and a choice between ways for the best of
    several; `hw.vector.modes` asserts that the units take so long.
    """
    writes = -(-scale_bytes(cfg) // cfg.requantize_lanes)
    if cfg.blocks.scale is BlockScale.POT:
        return writes, 1
    if cfg.blocks.scale is BlockScale.FREE:
        return writes, _DIVISION
    bits = (cfg.blocks.channels << 38).bit_length()
    factor = {BlockCriterion.COSINE: bits, BlockCriterion.QEM: 17}.get(cfg.blocks.criterion, 1)
    product, ways = 4 + -(-factor // 8), len(cfg.blocks.ways)
    if cfg.blocks.criterion is BlockCriterion.COSINE:
        return writes, max(4 * ways + 2, (2 + product) * ways + 2 * product * (ways - 1) + 2)
    return writes, 4 * ways + 2 + product * (cfg.blocks.criterion is BlockCriterion.QEM)
