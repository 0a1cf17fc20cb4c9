# SPDX-License-Identifier: Apache-2.0
"""What a piece of a contraction takes: steps of its reduction, bytes of its patch and its block."""

from dataclasses import dataclass

from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.latency import pass_interval

__all__ = [
    "Reduction", "block_bytes", "line_pitch", "minimum_pass", "patch_bytes", "pixel_pitch",
    "reduction", "scale_room",
]


def minimum_pass(config: AcceleratorConfig, rows: int) -> int:
    """Fewest cycles from one weight tile to the next, however few pixels it serves.

    A row a cycle has to come in, and what `machine.latency.pass_interval` says.
    """
    return max(min(rows, config.rows), pass_interval(config))


@dataclass(frozen=True)
class Reduction:
    """How many weight tiles a result adds up.

    Members
    -------
    high, wide : kernel rows and columns that are walked; wide is 1 when columns are part of a run.
    length : neighbouring bytes of a run's line.
    runs : tiles that cover them.
    rows : array rows in use.
    """

    high: int
    wide: int
    length: int
    runs: int
    rows: int

    @property
    def passes(self) -> int:
        """Weight tiles in all."""
        return self.high * self.wide * self.runs


def reduction(
    work: Contraction, config: AcceleratorConfig, flat: bool, channels: int
) -> Reduction:
    """Return the reduction over ``channels`` input channels.

    ``flat`` joins kernel columns and channels, which lie next to each other, into one run.
    """
    high, wide = work.kernel
    length = wide * channels if flat else channels
    runs = -(-length // config.rows)
    rows = length if runs == 1 else config.rows
    return Reduction(high, 1 if flat else wide, length, runs, rows)


def _extent(work: Contraction, axis: int, outputs: int, limit: int) -> int:
    """Input rows (or columns) that ``outputs`` neighbouring results need at the most."""
    span = (work.kernel[axis] - 1) * work.dilations[axis] + 1
    return min(limit, (outputs - 1) * work.strides[axis] + span)


def patch_bytes(
    work: Contraction, config: AcceleratorConfig, tile: tuple[int, int, int], channels: int
) -> int:
    """Scratchpad bytes of the input of a spatial tile (images, rows, columns), at the most."""
    images, rows, columns = work.computed(tile)
    x, spare = work.x, 3 * config.beat_bytes
    height = _extent(work, 0, rows, x.height)
    width = _extent(work, 1, columns, x.width)
    if channels < x.pixel_bytes:
        size = height * width * (channels + spare)
    elif tile[2] < work.y.width or not x.is_dense:
        size = height * (width * channels + spare)
    else:
        size = images * x.image_bytes if images > 1 else height * x.row_bytes
    return size + 2 * config.beat_bytes


def pixel_pitch(work: Contraction, config: AcceleratorConfig, channels: int) -> int:
    """Output buffer bytes from pixel to pixel when the results of ``channels`` are collected.

    Congruent to the pitch in memory, so that STORE finds every pixel aligned alike.
    """
    octets, pitch = channels * work.octets, work.written.pixel_bytes
    if octets < pitch:
        octets += _apart(work, config, octets, pitch)
    return octets + (pitch - octets) % config.beat_bytes


def line_pitch(
    work: Contraction, config: AcceleratorConfig, columns: int, channels: int
) -> int:
    """The same from line to line of ``columns`` pixels."""
    y, octets = work.written, channels * work.octets
    line = columns * pixel_pitch(work, config, channels)
    if y.ragged:
        return y.row_bytes
    if columns < y.width or octets < y.channels or not y.is_dense:
        if octets == y.pixel_bytes:
            line += _apart(work, config, line, y.pixel_bytes)
        line += (y.row_bytes - line) % config.beat_bytes
    return line


def _apart(work: Contraction, config: AcceleratorConfig, length: int, pitch: int) -> int:
    """Bytes to spare between runs where what results are added to is loaded: LOAD writes whole
    beats, of which no two runs may share one."""
    if not work.adds:
        return 0
    tile = min(config.rows, config.columns)
    places = (length, pitch, tile, work.y.row_bytes, work.y.address)
    aligned = work.groups == 1 and not any(place % config.beat_bytes for place in places)
    return 0 if aligned else 2 * config.beat_bytes


def block_bytes(
    work: Contraction, config: AcceleratorConfig, tile: tuple[int, int, int], channels: int
) -> int:
    """Output buffer bytes of a spatial tile's results, at the most."""
    images, rows, columns = tile
    beat, pitch = config.beat_bytes, pixel_pitch(work, config, channels)
    spare = 3 * beat if work.adds else beat
    size = images * rows * (columns * pitch + spare) + beat
    return size + scale_room(work, config, images * rows * columns, channels)


def scale_room(work: Contraction, config: AcceleratorConfig, pixels: int, channels: int) -> int:
    """Output buffer bytes of the scales of ``channels`` of some pixels, at the most: a run of whole
    beats for every VECTOR."""
    if work.blocks is None:
        return 0
    blocks = -(-channels // work.blocks.channels)
    runs = -(-channels // (work.drained * config.columns)) if work.groups == 1 else blocks
    return pixels * blocks * work.blocks.scale_bytes + (2 * runs + 1) * config.beat_bytes
