# SPDX-License-Identifier: Apache-2.0
"""Weights and requantization parameters as the bytes that LOAD brings on chip."""

import numpy as np

from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.tiling import ColumnTile, Tiling
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import PARAMETER_BYTES
from kiwicha.machine.records import OFFSET_PLACE, PARAMETER_RECORD

__all__ = [
    "pack_factors", "pack_identity", "pack_parameters", "pack_tile", "pack_zero_rows",
    "parameter_bytes",
]


def pack_tile(
    work: Contraction, tile: ColumnTile, tiling: Tiling, config: AcceleratorConfig, channel: int
) -> np.ndarray:
    """Return one column tile's weights, uint8 of shape (kernel rows, columns, runs, rows, pitch).

    ``channel`` is the first of the ``tiling.channels`` input channels. What lies outside the
    tile, a group or a run holds the zero point, so that it adds nothing.
    """
    assert work.weights is not None
    zero = int(work.weight_zero[tile.output]) & 0xFF
    weights = work.weights[tile.output : tile.output + tile.outputs].view(np.uint8)
    if work.groups == 1:
        count = min(tiling.channels, tile.channels - channel)
        dense = weights[..., channel : channel + count]
    else:
        count = tile.channels
        dense = np.full((tile.outputs, *work.kernel, count), zero, np.uint8)
        out_per, in_per = work.y.channels // work.groups, work.x.channels // work.groups
        for o in range(tile.outputs):
            first = (tile.output + o) // out_per * in_per - tile.channel
            dense[o, :, :, first : first + in_per] = weights[o]
    high, wide = work.kernel
    if tiling.flat:
        dense, wide, count = dense.reshape(tile.outputs, high, 1, wide * count), 1, wide * count
    runs = -(-count // config.rows)
    rows = count if runs == 1 else config.rows
    packed = np.full((high, wide, runs * rows, config.weight_pitch), zero, np.uint8)
    packed[:, :, :count, : tile.outputs] = dense.transpose(1, 2, 3, 0)
    return packed.reshape(high, wide, runs, rows, config.weight_pitch)


def pack_identity(config: AcceleratorConfig) -> np.ndarray:
    """Return the tile that passes every lane to its own column: what pooling multiplies by."""
    lanes = min(config.rows, config.columns)
    return np.eye(lanes, config.weight_pitch, dtype=np.uint8)


def pack_zero_rows(
    work: Contraction, tile: ColumnTile, config: AcceleratorConfig
) -> tuple[np.ndarray, int]:
    """Return a tile of ``base - zero`` for each lane that a column reduces over, else of 0, as
    unsigned bytes, and their zero point.

    Columns whose weight zero point differs from ``base``, that of the tile's first one, need the
    sum of their activations ``base - zero`` times over; this tile adds it.
    """
    zeros = work.weight_zero[tile.output : tile.output + tile.outputs].astype(np.int64)
    difference = int(zeros[0]) - zeros
    offset = int(difference.min())
    if difference.max() - offset > 255:
        raise ValueError("weight zero points lie more than 255 apart")
    rows = np.full((config.rows, config.weight_pitch), -offset, np.int64)
    rows[:, : tile.outputs] += difference
    out_per, in_per = work.y.channels // work.groups, work.x.channels // work.groups
    if tile.channels > in_per:  # some groups side by side
        lane = (tile.channel + np.arange(config.rows)) // in_per
        group = (tile.output + np.arange(tile.outputs)) // out_per
        rows[:, : tile.outputs][lane[:, None] != group] = -offset
    return rows.astype(np.uint8), -offset


def parameter_bytes(tile: ColumnTile, config: AcceleratorConfig) -> int:
    """Return the size of what `pack_parameters` makes."""
    return -(-tile.outputs // config.requantize_lanes) * config.parameter_lanes * PARAMETER_BYTES


def pack_parameters(work: Contraction, tile: ColumnTile, config: AcceleratorConfig) -> np.ndarray:
    """Return a column tile's parameters, uint8, whole groups."""
    channels = slice(tile.output, tile.output + tile.outputs)
    record = np.zeros(tile.outputs, PARAMETER_RECORD)
    record["bias"] = work.bias[channels]
    record["multiplier"] = work.multiplier[channels]
    record["shift"] = work.shift[channels]
    slope = None if work.slope is None else work.slope[channels]
    return _packed(record, slope, None if work.offset is None else work.offset[channels], config)


def pack_factors(factor: np.ndarray, offset: np.ndarray, config: AcceleratorConfig) -> np.ndarray:
    """Return the same of channels that are multiplied and added to alone, binary32 both."""
    return _packed(np.zeros(len(factor), PARAMETER_RECORD), factor, offset, config)


def _packed(
    record: np.ndarray, slope: np.ndarray | None, offset: np.ndarray | None,
    config: AcceleratorConfig,
) -> np.ndarray:
    """Return records in whole groups, with slopes and offsets in them if there are any."""
    if slope is not None:
        record["slope"] = slope
    octets = record.view(np.uint8).reshape(-1, PARAMETER_BYTES)
    if offset is not None:
        offsets = offset.astype("<f4").view(np.uint8).reshape(-1, 4)
        octets[:, OFFSET_PLACE : OFFSET_PLACE + 4] = offsets
    lanes, used = config.parameter_lanes, config.requantize_lanes
    groups = -(-len(record) // used)
    packed = np.zeros((groups, lanes, PARAMETER_BYTES), np.uint8)
    whole = np.zeros((groups * used, PARAMETER_BYTES), np.uint8)
    whole[: len(record)] = octets
    packed[:, :used] = whole.reshape(groups, used, PARAMETER_BYTES)
    return packed.reshape(-1)
