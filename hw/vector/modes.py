# SPDX-License-Identifier: Apache-2.0
"""Which modes of VECTOR a machine has, and what they mean for its walker."""

from amaranth.hdl import Cat, Const, Value
from amaranth.lib import data

from hw.config import AcceleratorConfig, BlockScale
from hw.isa import VectorMode
from hw.statistics.reciprocal import division_cycles

__all__ = [
    "DIGIT", "block_pauses", "check_blocks", "foreign_fields", "scale_bytes", "vector_modes",
]  # fmt: skip

DIGIT = 4
"""Quotient bits a cycle of the division for a free scale."""


def vector_modes(cfg: AcceleratorConfig) -> tuple[VectorMode, ...]:
    """Return the modes of a machine; RAW comes with any feature that has a use for it."""
    modes = [VectorMode.REQUANTIZE]
    if cfg.dynamic or cfg.block_channels:
        modes.append(VectorMode.RAW)
    if cfg.dynamic:
        modes += [VectorMode.MEASURE, VectorMode.QUANTIZE]
    if cfg.block_channels:
        modes.append(VectorMode.BLOCK)
    return tuple(modes)


def scale_bytes(cfg: AcceleratorConfig) -> int:
    """Return the bytes of a block's scale: its shift, or its greatest magnitude."""
    return 1 if cfg.block_scale is BlockScale.POT else 4


def block_pauses(cfg: AcceleratorConfig) -> tuple[int, int]:
    """Return (cycles after a block to write its scale, cycles from block end to block end)."""
    writes = -(-scale_bytes(cfg) // cfg.requantize_lanes)
    if cfg.block_scale is BlockScale.POT:
        return writes, 1
    return writes, division_cycles(DIGIT)


def check_blocks(cfg: AcceleratorConfig) -> None:
    """Check that blocks and column tiles consist of whole steps.

    Raises
    ------
    ValueError
        With ``block_channels``, when ``requantize_lanes`` does not divide it or ``columns``.
    """
    lanes = cfg.requantize_lanes
    if cfg.block_channels and (cfg.block_channels % lanes or cfg.columns % lanes):
        raise ValueError(
            f"requantize_lanes is {lanes}; legal with block_channels: a divisor of "
            f"{cfg.block_channels} (block_channels) and {cfg.columns} (columns)"
        )


def foreign_fields(cfg: AcceleratorConfig, asked: data.View) -> Value:
    """Return whether a mode or field is in use that this machine, or this mode, has not.

    No machine takes statistics of VECTOR's results: that flag is refused.
    """
    mode = asked.mode
    blocks = (mode == VectorMode.BLOCK) if cfg.block_channels else Const(0, 1)
    measures = (mode == VectorMode.MEASURE) if cfg.dynamic else Const(0, 1)
    dynamic = measures | (mode == VectorMode.QUANTIZE) if cfg.dynamic else Const(0, 1)
    forbidden: list[Value] = [
        ~Cat(mode == known for known in vector_modes(cfg)).any(),
        ~blocks & asked.scales.any(),
        ~dynamic & Cat(asked.slot, asked.target, asked.relu).any(),
        ~measures & (asked.settle | asked.begin),
        asked.statistics,
    ]
    if not cfg.block_channels:
        forbidden += [asked.tiles.any(), asked.tile_entries.any()]
    return Cat(forbidden).any()
