# SPDX-License-Identifier: Apache-2.0
"""How a contraction is cut so that each piece fits on chip."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.depthwise import can_filter, walk_of
from kiwicha.compiler.schedule.footprint import block_bytes, patch_bytes, reduction
from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["ColumnTile", "Tiling", "column_tiles", "legal_tilings"]


_SHARES = (2, 4, 8, 16)
"""Shares of the weight scratchpad for a piece of weights. Compressed ones come about as fast as
the array takes them, so that it waits for whole pieces where there are few."""


@dataclass(frozen=True)
class ColumnTile:
    """Output channels side by side in the array, and the input channels that they reduce over."""

    output: int
    outputs: int
    channel: int
    channels: int


@dataclass(frozen=True)
class Tiling:
    """One way to cut a contraction.

    A spatial tile is ``images`` x ``rows`` x ``columns`` output pixels; ``group`` column tiles
    share an instruction; ``channels`` input channels are on chip at once; an instruction reduces
    over ``kernel`` (rows, columns, runs). ``flat`` joins kernel columns and channels, which lie
    next to each other in memory, into one run. ``outputs_outer`` walks all pixels before the next
    group; otherwise all groups before the next pixels. ``assemble`` collects all channels of a
    spatial tile in the output buffer before they are stored. ``filter`` lets columns filter, as
    `depthwise.walk_of` each spatial tile says, whatever ``kernel`` is.
    """

    images: int
    rows: int
    columns: int
    group: int
    channels: int
    kernel: tuple[int, int, int]
    flat: bool
    outputs_outer: bool
    assemble: bool
    tiles: tuple[ColumnTile, ...]
    filter: bool = False

    @property
    def pixels(self) -> int:
        """Output pixels of a full spatial tile."""
        return self.images * self.rows * self.columns

    def entries(self, work: Contraction) -> int:
        """Accumulator entries of a full spatial tile."""
        return prod(work.computed((self.images, self.rows, self.columns)))

    def together(self, work: Contraction) -> int:
        """Column tiles that are in the accumulators together."""
        return max(self.group, work.drained)

    def reduced_channels(self, work: Contraction) -> int:
        """Input channels that a column tile reduces over at once."""
        return self.channels if _dense(work) else self.tiles[0].channels


def _dense(work: Contraction) -> bool:
    """Whether every output channel needs every input channel."""
    return work.groups == 1 and not work.channelwise


def _splits(total: int) -> list[int]:
    """Distinct piece sizes of cutting ``total`` into 1, 2, 3, ... nearly equal pieces."""
    return sorted({-(-total // pieces) for pieces in range(1, total + 1)}, reverse=True)


def column_tiles(work: Contraction, config: AcceleratorConfig) -> tuple[ColumnTile, ...]:
    """Cut the output channels; grouped convolutions never mix more groups than fit the rows."""
    outputs, inputs = work.y.channels, work.x.channels
    if work.channelwise:
        lanes = min(config.rows, config.columns)
        sizes = [(c, min(lanes, outputs - c)) for c in range(0, outputs, lanes)]
        return tuple(ColumnTile(c, size, work.skipped + c, size) for c, size in sizes)
    out_per, in_per = outputs // work.groups, inputs // work.groups
    together = max(1, min(config.columns // out_per, config.rows // in_per))
    tiles = []
    for first in range(0, work.groups, together):
        groups = min(together, work.groups - first)
        end = (first + groups) * out_per
        for output in range(first * out_per, end, config.columns):
            size = min(config.columns, end - output)
            tiles.append(ColumnTile(output, size, first * in_per, groups * in_per))
    return tuple(tiles)


def legal_tilings(work: Contraction, config: AcceleratorConfig) -> Iterator[Tiling]:
    """Yield tilings whose pieces fit half of every memory, so that the next piece fits as well."""
    tiles = column_tiles(work, config)
    for images, rows, columns, channels in _spatial(work, config):
        yield from _channelwise(work, config, tiles, (images, rows, columns), channels)


def _spatial(work: Contraction, config: AcceleratorConfig) -> Iterator[tuple[int, int, int, int]]:
    """Yield (images, rows, columns, input channels) that fit scratchpad and accumulators."""
    y, room, half = work.y, config.activation_bytes // 2, config.accumulator_depth // 2
    channels = work.x.channels
    while True:
        whole = [(n, y.height, y.width) for n in _splits(y.images)]
        lines = [(1, rows, y.width) for rows in _splits(y.height)]
        parts = [(1, 1, columns) for columns in _splits(y.width)]
        if channels < work.x.pixel_bytes:
            whole = []  # neighbouring images are not one run of bytes then
        blocks = _blocks(work, half)
        for candidates in (whole + lines + blocks, parts):
            fitting = [
                tile
                for tile in dict.fromkeys(candidates)
                if prod(work.computed(tile)) <= half
                and patch_bytes(work, config, tile, channels) <= room
            ]
            yield from ((*tile, channels) for tile in fitting)
            if fitting:
                break  # narrower than a row of pixels only where a row is too much
        if channels <= config.rows or not _dense(work) or work.beside is not None:
            return
        channels = align_up(-(-channels // 2), config.rows)


def _blocks(work: Contraction, half: int) -> list[tuple[int, int, int]]:
    """Return tiles of some rows of some columns where windows overlap: what they share with their
    neighbours is computed twice, which is less the squarer they are."""
    if work.windows is None or not work.windows.overlap:
        return []
    found = []
    for columns in _splits(work.y.width)[1:]:
        rows = [n for n in _splits(work.y.height) if prod(work.computed((1, n, columns))) <= half]
        found += [(1, n, columns) for n in rows[:2]]
    return found


def _kernel_chunk(
    work: Contraction, config: AcceleratorConfig, flat: bool, channels: int, share: int = 2
) -> tuple[int, int, int]:
    """Return the (rows, columns, runs) whose weights fit a share of the weight scratchpad."""
    r = reduction(work, config, flat, channels)
    room = config.weight_bytes // share // (r.rows * config.weight_pitch)
    room = max(room, 1)  # half of it holds a tile
    if r.runs * r.wide <= room:
        return min(r.high, room // (r.runs * r.wide)), r.wide, r.runs
    if r.runs <= room:
        return 1, min(r.wide, room // r.runs), r.runs
    return 1, 1, room


def _channelwise(
    work: Contraction,
    config: AcceleratorConfig,
    tiles: tuple[ColumnTile, ...],
    tile: tuple[int, int, int],
    channels: int,
) -> Iterator[Tiling]:
    """Yield what can be done with the output channels of a spatial tile."""
    entries = prod(work.computed(tile))
    whole = channels == work.x.channels
    flat = whole and _dense(work) and work.dilations[1] == 1 and work.kernel[1] > 1
    flat = flat and not work.x.step and work.joins_columns
    reduced = channels if _dense(work) else tiles[0].channels
    r = reduction(work, config, flat, reduced)
    shares = _SHARES if config.sparse.formats and work.weights is not None else _SHARES[:1]
    kernels = [(*work.kernel, 1)] if work.channelwise else [
        _kernel_chunk(work, config, flat, reduced, share) for share in shares
    ]
    total = 0 if work.channelwise else r.passes * r.rows * config.weight_pitch
    mixed = len({int(zero) for zero in work.weight_zero}) > 1 or work.found is not None
    regular = (work.groups == 1 or work.channelwise) and not mixed
    together = regular and whole and (r.high, r.wide, r.runs) in kernels[:1]
    room = config.output_bytes // 2
    if work.second is not None:
        room = min(room, config.real.bytes // 2)
    groups = sorted(_splits(len(tiles)))
    choices = [(kernel, 1, total, False) for kernel in dict.fromkeys(kernels)]
    choices += [(kernels[0], group, total, False) for group in groups[1:] if together]
    walk = walk_of(work, config, tile) if whole and can_filter(work, config) else None
    if walk is not None and walk.rows * config.weight_pitch <= config.weight_bytes // 2:
        size = walk.rows * config.weight_pitch
        # Windows that are added up have one tile of ones for all.
        size = 0 if work.channelwise else size
        choices += [((*work.kernel, 1), group, size, True) for group in groups]
    if work.matrix is not None and work.groups > 1:
        choices = [choice for choice in choices if choice[3]]
    for kernel, group, size, filters in choices:
        both = max(group, work.drained)
        if work.y.ragged and tile[2] < work.y.width:
            return  # only rows that are stored one after the other
        if both * entries > config.accumulator_depth // 2:
            continue
        if group > 1 and group % work.drained and group < len(tiles):
            continue
        if group > 1 and group * size > config.weight_bytes // 2:
            continue
        some = min(work.y.channels, both * tiles[0].outputs)
        every = work.y.channels
        for outer, assemble in ((False, True), (False, False), (True, False)):
            if work.y.ragged and not assemble and some < every:
                continue
            if block_bytes(work, config, tile, every if assemble else some) <= room:
                yield Tiling(
                    *tile, group, channels, kernel, flat, outer, assemble, tiles, filters
                )
