# SPDX-License-Identifier: Apache-2.0
"""Where COMPUTE's walks through a patch begin, and how those go that filter."""

from kiwicha.compiler.emit.residents import Patch
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.depthwise import Pass, Walk
from kiwicha.compiler.schedule.loops import Loop, jumps
from kiwicha.compiler.schedule.spatial import SpatialTile
from kiwicha.compiler.schedule.tiling import ColumnTile

__all__ = ["filter_levels", "place_of"]


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
