# SPDX-License-Identifier: Apache-2.0
"""Where COMPUTE's walks through a patch begin, what they take at once, and how those go that
filter."""

from collections.abc import Iterator
from itertools import product

from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.residents import Patch
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.depthwise import Pass, Walk
from kiwicha.compiler.schedule.loops import Loop, jumps
from kiwicha.compiler.schedule.spatial import SpatialTile
from kiwicha.compiler.schedule.tiling import ColumnTile
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["accumulator_half", "filter_levels", "line_runs", "place_of", "taps_of"]


def accumulator_half(config: AcceleratorConfig, entry: int) -> Range:
    """Return the half of the accumulators that an instruction works in: a drain of any of it must
    wait.

    The columns have one read port a half, and that of the array goes before that of VECTOR.
    """
    half = config.accumulator_depth // 2
    start = entry // half * half
    return Range(Space.ACCUMULATOR, start, start + half)


def line_runs(
    work: Contraction, config: AcceleratorConfig, length: int, most: int
) -> Iterator[tuple[slice, int]]:
    """Yield the runs of a line of ``length`` bytes that are computed together, ``most`` at once,
    and their rows.

    What is behind a line meets weights of 0, but where these are a tensor: then its last run is
    a shorter one.
    """
    lanes = config.rows
    whole, rest = divmod(length, lanes)
    runs = -(-length // lanes)
    short = runs > 1 and rest > 0 and work.matrix is not None and work.x.width > 1
    full = whole if short else runs
    for first in range(0, full, most):
        yield slice(first, min(first + most, full)), min(length, lanes)
    if short:
        yield slice(whole, runs), rest


def taps_of(rows: slice, columns: slice) -> list[tuple[int, int]]:
    """Return a kernel's taps in some of its rows and columns, row by row."""
    return list(product(range(rows.start, rows.stop), range(columns.start, columns.stop)))


def place_of(
    work: Contraction, s: SpatialTile, patch: Patch, tap: tuple[int, int], byte: int
) -> dict[str, int]:
    """Return COMPUTE's fields for byte ``byte`` of the pixel that is a tap of the first output."""
    pixel = patch.pixel_pitch
    (top, _), (left, _) = s.computed
    y = top * work.strides[0] - work.pads[0] + tap[0] * work.dilations[0]
    x = (left * work.strides[1] - work.pads[1] + tap[1] * work.dilations[1]) * pixel + byte
    return {
        "y": y, "x": x, "address": patch.local + (y - s.y0) * patch.row_pitch + x - s.x0 * pixel,
    }


def filter_levels(
    work: Contraction, s: SpatialTile, walk: Walk, each: Pass, patch: Patch,
    group: tuple[ColumnTile, ...],
) -> tuple[dict[str, int], list[dict[str, int]]]:
    """Return where a pass of a walk begins, and its loops."""

    def loop(axis: int, count: int, steps: int = 1) -> Loop:
        if axis == 0:
            rows = work.strides[0] * steps
            return Loop(count, rows, 0, rows * patch.row_pitch)
        octets = work.strides[1] * steps * patch.pixel_pitch
        return Loop(count, 0, octets, octets)

    first = each.taps[0].first, each.taps[1].first
    outermost = loop(walk.inner, walk.blocks, walk.block)
    if s.images > 1:
        outermost = Loop(s.images, 0, 0, patch.image_pitch)
    channels = group[0].channels
    return place_of(work, s, patch, first, group[0].channel), jumps([
        loop(walk.inner, each.counts[0]),
        loop(1 - walk.inner, each.counts[1]),
        outermost,
        Loop(), Loop(), Loop(),
        Loop(len(group), 0, channels, channels),
    ])
