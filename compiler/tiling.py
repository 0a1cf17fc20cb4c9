# SPDX-License-Identifier: Apache-2.0
"""How a contraction is cut so that each piece fits on chip, and which cut is fastest."""

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.contraction import Contraction
from compiler.errors import KiwichaError
from compiler.onchip import align_up
from hw.config import AcceleratorConfig

__all__ = ["ColumnTile", "Tiling", "choose_tiling", "minimum_pass", "splits"]


def minimum_pass(config: AcceleratorConfig, rows: int) -> int:
    """Fewest cycles between two weight tiles: the next must be in before the array swaps."""
    return max(rows, config.columns + 2, 8)


def splits(total: int) -> list[int]:
    """Distinct piece sizes of cutting ``total`` into 1, 2, 3, ... nearly equal pieces."""
    return sorted({-(-total // pieces) for pieces in range(1, total + 1)}, reverse=True)


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
    spatial tile in the output buffer before they are stored.
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

    @property
    def pixels(self) -> int:
        """Output pixels of a full spatial tile."""
        return self.images * self.rows * self.columns


def column_tiles(work: Contraction, config: AcceleratorConfig) -> tuple[ColumnTile, ...]:
    """Cut the output channels; grouped convolutions never mix more groups than fit the rows."""
    outputs, inputs = work.y.channels, work.x.channels
    if work.is_pool:
        lanes = min(config.rows, config.columns)
        return tuple(
            ColumnTile(c, min(lanes, outputs - c), c, min(lanes, outputs - c))
            for c in range(0, outputs, lanes)
        )
    out_per, in_per = outputs // work.groups, inputs // work.groups
    together = max(1, min(config.columns // out_per, config.rows // in_per)) if out_per else 1
    tiles = []
    for first in range(0, work.groups, together):
        groups = min(together, work.groups - first)
        for o in range(first * out_per, (first + groups) * out_per, config.columns):
            size = min(config.columns, (first + groups) * out_per - o)
            tiles.append(ColumnTile(o, size, first * in_per, groups * in_per))
    return tuple(tiles)


def input_extent(outputs: int, stride: int, kernel: int, dilation: int, limit: int) -> int:
    """Input rows (or columns) that ``outputs`` neighbouring results need at the most."""
    return min(limit, (outputs - 1) * stride + (kernel - 1) * dilation + 1)


def patch_bytes(
    work: Contraction, config: AcceleratorConfig, t: tuple[int, int, int], channels: int
) -> int:
    """Scratchpad bytes of the input of a spatial tile (images, rows, columns)."""
    images, rows, columns = t
    slop = 2 * config.beat_bytes
    height = input_extent(
        rows, work.strides[0], work.kernel[0], work.dilations[0], work.x.height
    )
    if channels < work.x.channels:
        width = input_extent(
            columns, work.strides[1], work.kernel[1], work.dilations[1], work.x.width
        )
        return height * width * (channels + 3 * config.beat_bytes) + slop
    if columns < work.y.width:
        width = input_extent(
            columns, work.strides[1], work.kernel[1], work.dilations[1], work.x.width
        )
        return height * (width * channels + 3 * config.beat_bytes) + slop
    full = images * work.x.image_bytes if images > 1 else height * work.x.row_bytes
    return full + slop


def pixel_pitch(work: Contraction, config: AcceleratorConfig, channels: int) -> int:
    """Output buffer bytes between pixels when ``channels`` of them are collected."""
    beat = config.beat_bytes
    return channels + (work.y.channels - channels) % beat


def _spatial(work: Contraction, config: AcceleratorConfig) -> Iterator[tuple[int, int, int, int]]:
    """Yield (images, rows, columns, input channels) that fit scratchpad and accumulators."""
    y, room = work.y, config.activation_bytes // 2
    half = config.accumulator_depth // 2

    def fits(t: tuple[int, int, int], channels: int) -> bool:
        return t[0] * t[1] * t[2] <= half and patch_bytes(work, config, t, channels) <= room

    channels, found = work.x.channels, False
    while True:
        for images in splits(y.images):
            if fits((images, y.height, y.width), channels) and (images == 1 or channels == work.x.channels):
                found = True
                yield images, y.height, y.width, channels
        for rows in splits(y.height):
            if fits((1, rows, y.width), channels):
                found = True
                yield 1, rows, y.width, channels
        if not found:
            for columns in splits(y.width):
                if fits((1, 1, columns), channels):
                    found = True
                    yield 1, 1, columns, channels
        if found or channels <= config.rows or work.groups > 1 or work.is_pool:
            return
        channels = align_up(-(-channels // 2), config.rows)


def _kernel_chunk(
    work: Contraction, config: AcceleratorConfig, flat: bool, channels: int
) -> tuple[tuple[int, int, int], int]:
    """Return the (rows, columns, runs) that fit half the weight scratchpad, and bytes of all."""
    length = work.kernel[1] * channels if flat else channels
    runs = -(-length // config.rows)
    rows = length if runs == 1 else config.rows
    tile = rows * config.weight_pitch
    wide = 1 if flat else work.kernel[1]
    room = config.weight_bytes // 2 // tile
    total = work.kernel[0] * wide * runs * tile
    if runs * wide <= room:
        return (min(work.kernel[0], room // (runs * wide)), wide, runs), total
    if runs <= room:
        return (1, min(wide, room // runs), runs), total
    return (1, 1, room), total


def choose_tiling(work: Contraction, config: AcceleratorConfig) -> Tiling:
    """Return the tiling with the fewest estimated cycles.

    Raises
    ------
    KiwichaError
        When not even one output pixel fits; names the layer and the memory that is too small.
    """
    tiles = column_tiles(work, config)
    best: tuple[tuple[float, float], Tiling] | None = None
    for images, rows, columns, channels in _spatial(work, config):
        for tiling in _variants(work, config, tiles, (images, rows, columns), channels):
            cost = _estimate(work, config, tiling)
            if best is None or cost < best[0]:
                best = cost, tiling
    if best is None:
        raise KiwichaError(
            f"{work.name} ({work.op}): one output pixel does not fit the machine's memories "
            f"(activation_bytes {config.activation_bytes}, output_bytes {config.output_bytes})"
        )
    return best[1]


def _variants(
    work: Contraction,
    config: AcceleratorConfig,
    tiles: tuple[ColumnTile, ...],
    spatial: tuple[int, int, int],
    channels: int,
) -> Iterator[Tiling]:
    pixels = spatial[0] * spatial[1] * spatial[2]
    whole = channels == work.x.channels
    mixed = len({int(zero) for zero in work.weight_zero}) > 1
    flat = (
        whole and work.groups == 1 and not work.is_pool
        and work.dilations[1] == 1 and work.kernel[1] > 1
    )  # fmt: skip
    reduced = channels if work.groups == 1 and not work.is_pool else tiles[0].channels
    kernel, total = _kernel_chunk(work, config, flat, reduced)
    wide = 1 if flat else work.kernel[1]
    length = work.kernel[1] * reduced if flat else reduced
    one_chunk = whole and kernel == (work.kernel[0], wide, -(-length // config.rows))
    if work.is_pool:
        kernel, total, one_chunk = (*work.kernel, 1), 0, True
    groups = {1}
    if one_chunk and (work.groups == 1 or work.is_pool) and not mixed:
        groups |= set(splits(len(tiles)))
    for group in sorted(groups):
        if group * pixels > config.accumulator_depth // 2:
            continue
        if group * total > config.weight_bytes // 2 and group > 1:
            continue
        some = min(work.y.channels, group * tiles[0].outputs)
        for outputs_outer in (False, True):
            assemble = (
                not outputs_outer
                and pixels * work.y.channels + config.beat_bytes <= config.output_bytes // 2
            )
            pitch = pixel_pitch(work, config, some)
            if not assemble and pixels * pitch + 2 * config.beat_bytes * spatial[0] * spatial[
                1
            ] > config.output_bytes // 2:
                continue
            yield Tiling(
                *spatial, group, channels, kernel, flat, outputs_outer, assemble, tiles
            )  # fmt: skip


def _estimate(
    work: Contraction, config: AcceleratorConfig, t: Tiling
) -> tuple[float, float]:
    """Estimated cycles, then bytes moved, of a tiling: what the choice goes by."""
    beat, y = config.beat_bytes, work.y
    spatial = (
        -(-y.images // t.images) * -(-y.height // t.rows) * -(-y.width // t.columns)
    )
    chunks = -(-work.x.channels // t.channels)
    reduced = t.channels if work.groups == 1 and not work.is_pool else t.tiles[0].channels
    length = work.kernel[1] * reduced if t.flat else reduced
    runs = -(-length // config.rows)
    rows = length if runs == 1 else config.rows
    passes = work.kernel[0] * (1 if t.flat else work.kernel[1]) * runs * chunks
    per_pass = max(t.pixels, minimum_pass(config, rows))
    compute = spatial * len(t.tiles) * passes * per_pass
    compute += 4 * spatial * -(-len(t.tiles) // t.group) * -(-passes // max(1, t.kernel[0] * t.kernel[1] * t.kernel[2]))
    patch = patch_bytes(work, config, (t.images, t.rows, t.columns), t.channels)
    weights = 0 if work.is_pool else len(t.tiles) * passes * rows * config.weight_pitch
    groups = -(-len(t.tiles) // t.group)
    patches = spatial * chunks
    if chunks > 1 or (t.outputs_outer and patches * patch > config.activation_bytes):
        patches *= groups
    reload = 1 if t.outputs_outer or weights <= config.weight_bytes else spatial
    first_weights = min(weights / groups, config.weight_bytes / 2)
    read = patches * patch + weights * reload + 16 * y.channels
    lanes = sum(-(-tile.outputs // config.requantize_lanes) for tile in t.tiles)
    vector = spatial * t.pixels * lanes
    written = y.images * y.image_bytes
    store = written / beat
    if not t.assemble:
        # Partial channels are stored pixel by pixel.
        store = max(store, y.images * y.height * y.width * groups * 3.0)
    steady = max(compute, read / beat, vector, store)
    last = 1 if t.assemble else groups
    tail = vector / spatial / groups + store / spatial / last
    return steady + (patch + first_weights) / beat + tail, read + written
