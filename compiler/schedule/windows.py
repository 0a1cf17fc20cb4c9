# SPDX-License-Identifier: Apache-2.0
"""Windows over a layer's results whose maxima are written instead of them: which results a tile of
them needs, and the runs of windows that VECTOR reduces at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

from kiwicha.machine.encoding import window_field

__all__ = ["WindowRun", "Windows", "window_runs"]


@dataclass(frozen=True)
class Windows:
    """Members
    -------
    kernel, strides : height and width of a window, and from one to the next.
    pads : rows above and columns left of the results that the first window begins with; negative
        where it begins inside.
    size : height and width of the results; windows are cut off at their borders.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]
    size: tuple[int, int]

    @property
    def area(self) -> int:
        """Results of a window."""
        return self.kernel[0] * self.kernel[1]

    @property
    def overlap(self) -> bool:
        """Whether a result may be in several windows."""
        return any(k > s for k, s in zip(self.kernel, self.strides, strict=True))

    def _span(self, axis: int, place: int) -> tuple[int, int]:
        start = place * self.strides[axis] - self.pads[axis]
        return max(0, start), min(self.size[axis], start + self.kernel[axis])

    def span(self, axis: int, first: int, count: int) -> tuple[int, int]:
        """Return the first row (or column) of ``count`` windows, and the one behind the last."""
        return self._span(axis, first)[0], self._span(axis, first + count - 1)[1]

    def most(self, axis: int, count: int) -> int:
        """Return how many rows (or columns) ``count`` neighbouring windows cover at the most."""
        covered = (count - 1) * self.strides[axis] + self.kernel[axis]
        return min(self.size[axis], covered)

    def runs(self, axis: int, first: int, count: int) -> list[tuple[int, int, int, int]]:
        """Return (first window, windows, first row, rows of each) of those that are alike: one of
        the same size begins each stride."""
        found: list[tuple[int, int, int, int]] = []
        for place in range(first, first + count):
            start, stop = self._span(axis, place)
            if found:
                before, windows, row, rows = found[-1]
                if (start, stop - start) == (row + windows * self.strides[axis], rows):
                    found[-1] = before, windows + 1, row, rows
                    continue
            found.append((place, 1, start, stop - start))
        return found


@dataclass(frozen=True)
class WindowRun:
    """Windows that a VECTOR reduces.

    Members
    -------
    entry : accumulator entry of the first one, from the tile's first.
    line, pixel : its place among the lines and pixels of the tile's maxima.
    lines, pixels : of them.
    scales, tile_entries : VECTOR's fields.
    """

    entry: int
    line: int
    pixel: int
    lines: int
    pixels: int
    scales: int
    tile_entries: int


def window_runs(
    windows: Windows, images: int, rows: tuple[int, int], columns: tuple[int, int]
) -> Iterator[WindowRun]:
    """Yield the runs of a tile: images, whose windows are ``rows`` and ``columns``: the first one,
    and how many."""
    (top, bottom), (left, right) = windows.span(0, *rows), windows.span(1, *columns)
    wide, (down, across) = right - left, windows.strides
    image_entries = (bottom - top) * wide
    vertical = windows.runs(0, *rows)
    # Where an image's windows end a stride before the next one begins, they are lines like others.
    joined = len(vertical) == 1 and vertical[0][1] * down == bottom - top
    for image in range(1 if joined else images):
        for place, count, row, height in vertical:
            for at, pixels, column, width in windows.runs(1, *columns):
                yield WindowRun(
                    image * image_entries + (row - top) * wide + column - left,
                    image * rows[1] + place - rows[0], at - columns[0],
                    count * images if joined else count, pixels,
                    window_field(
                        rows=height, columns=width,
                        pixel_entries=across if pixels > 1 else 0,
                        line_entries=down * wide if count > 1 or joined and images > 1 else 0,
                    ),
                    wide if height > 1 else 0,
                )
