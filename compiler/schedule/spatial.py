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
    area : rows and columns of the results that are computed, where others than these are written.
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
    area: tuple[tuple[int, int], tuple[int, int]] | None = None

    @property
    def pixels(self) -> int:
        """Output pixels."""
        return self.images * self.rows * self.columns

    @property
    def computed(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """First row, and the one behind the last, of what is computed; the same of columns."""
        return self.area or (
            (self.row, self.row + self.rows), (self.column, self.column + self.columns)
        )

    @property
    def entries(self) -> int:
        """Accumulator entries."""
        (top, bottom), (left, right) = self.computed
        return self.images * (bottom - top) * (right - left)

    @property
    def lines(self) -> int:
        """Output rows of all images."""
        return self.images * self.rows


def spatial_tiles(work: Contraction, t: Tiling) -> list[SpatialTile]:
    """Return the tiles of a tiling, in memory order."""

    def clip(span: tuple[int, int], axis: int, limit: int) -> tuple[int, int]:
        start, stop = (
            place * work.strides[axis] - work.pads[axis] for place in (span[0], span[1] - 1)
        )
        stop += (work.kernel[axis] - 1) * work.dilations[axis] + 1
        start, stop = max(0, start), min(limit, stop)
        return (start, stop) if start < stop else (0, 0)

    tiles = []
    whole_rows = t.columns == work.y.width and t.channels == work.x.channels
    for image in range(0, work.y.images, t.images):
        images = min(t.images, work.y.images - image)
        for row in range(0, work.y.height, t.rows):
            rows = min(t.rows, work.y.height - row)
            high = work.span(0, row, rows)
            y0, y1 = (0, work.x.height) if images > 1 else clip(high, 0, work.x.height)
            for column in range(0, work.y.width, t.columns):
                columns = min(t.columns, work.y.width - column)
                wide = work.span(1, column, columns)
                x0, x1 = clip(wide, 1, work.x.width)
                if whole_rows:  # they are one run of bytes
                    x0, x1 = 0, work.x.width
                tiles.append(SpatialTile(
                    image, images, row, rows, column, columns, y0, y1, x0, x1,
                    None if work.windows is None else (high, wide),
                ))
    return tiles
