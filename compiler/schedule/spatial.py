# SPDX-License-Identifier: Apache-2.0
"""Spatial tiles: which output pixels are computed together, and the input that they need."""

from dataclasses import dataclass

from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.tiling import Tiling

__all__ = ["SpatialTile", "spatial_tiles"]


@dataclass(frozen=True)
class SpatialTile:
    """Output pixels of a tile, and the input rows and columns that they need.

    Members
    -------
    y0, y1, x0, x1 : input rows ``y0 <= y < y1`` and columns ``x0 <= x < x1``, clipped to the
        image; equal when all of it is padding.
    """

    image: int
    images: int
    row: int
    rows: int
    column: int
    columns: int
    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def pixels(self) -> int:
        """Output pixels, which are accumulator entries."""
        return self.images * self.rows * self.columns

    @property
    def lines(self) -> int:
        """Output rows of all images."""
        return self.images * self.rows


def spatial_tiles(work: Contraction, t: Tiling) -> list[SpatialTile]:
    """Return the tiles of a tiling, in memory order."""

    def clip(first: int, count: int, axis: int, limit: int) -> tuple[int, int]:
        start = first * work.strides[axis] - work.pads[axis]
        stop = start + (count - 1) * work.strides[axis]
        stop += (work.kernel[axis] - 1) * work.dilations[axis] + 1
        start, stop = max(0, start), min(limit, stop)
        return (start, stop) if start < stop else (0, 0)

    tiles = []
    whole_rows = t.columns == work.y.width and t.channels == work.x.channels
    for image in range(0, work.y.images, t.images):
        images = min(t.images, work.y.images - image)
        for row in range(0, work.y.height, t.rows):
            rows = min(t.rows, work.y.height - row)
            y0, y1 = (0, work.x.height) if images > 1 else clip(row, rows, 0, work.x.height)
            for column in range(0, work.y.width, t.columns):
                columns = min(t.columns, work.y.width - column)
                x0, x1 = clip(column, columns, 1, work.x.width)
                if whole_rows:  # they are one run of bytes
                    x0, x1 = 0, work.x.width
                tiles.append(
                    SpatialTile(image, images, row, rows, column, columns, y0, y1, x0, x1)
                )
    return tiles
