# SPDX-License-Identifier: Apache-2.0
"""Tensors that lie inside another: pixels of so many bytes, in rows, with others' bytes between."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.schedule.contraction import Contraction, Matrix, Place
from kiwicha.machine.isa import WeightFormat

__all__ = ["Within", "placed", "within"]


@dataclass(frozen=True)
class Within:
    """Where a tensor lies.

    Members
    -------
    into : the tensor whose memory it lies in.
    first : its first byte there.
    run, step : bytes of it that are neighbours, and from the first of them to the next run's.
    row, pitch : runs of a row, and bytes from row to row; all are one row where ``pitch`` is 0.
    """

    into: str
    first: int
    run: int
    step: int
    row: int = 1
    pitch: int = 0

    @property
    def is_dense(self) -> bool:
        """Whether nothing lies between its bytes."""
        return self.step == self.run and not self.pitch

    def places(self, dense: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where bytes lie, from the first on, that would be at ``dense`` by themselves."""
        runs, rest = np.divmod(dense, self.run)
        rows, runs = np.divmod(runs, self.row) if self.pitch else (0, runs)
        return rows * self.pitch + runs * self.step + rest

    def _lattice(
        self, offset: int, length: int, rows: tuple[int, int], columns: tuple[int, int]
    ) -> tuple[int, int, int] | None:
        """Return where some bytes are, repeated as ``rows`` and ``columns`` (how many, how far
        apart) say, and how far apart they are there; None where they are not all alike."""
        y, x = (np.arange(count) * distance for count, distance in (rows, columns))
        dense = offset + y[:, None] + x
        if (dense % self.run + length > self.run).any():
            return None
        found = self.places(dense)
        pitch, step = (
            int(np.diff(found, axis=axis).flat[0]) if found.shape[axis] > 1 else 0
            for axis in (0, 1)
        )
        regular = found[0, 0] + np.arange(rows[0])[:, None] * pitch + np.arange(columns[0]) * step
        return (int(found[0, 0]), pitch, step) if (found == regular).all() else None

    def place(self, place: Place, base: int) -> Place | None:
        """Return where an image lies that is a part of the tensor at ``base``, None where its
        pixels or rows are not all alike."""
        if self.is_dense:
            return place
        rows = place.images * place.height
        found = self._lattice(
            place.address - base, place.channels, (rows, place.row_bytes),
            (place.width, place.pixel_bytes),
        )
        if found is None:
            return None
        first, pitch, step = found
        return replace(
            place, address=base + first, step=step if step != place.channels else 0,
            pitch=pitch or max(step, place.channels) * place.width,
        )

    def matrix(self, matrix: Matrix, base: int, depth: int, columns: int) -> Matrix | None:
        """Return the same of a matrix, whose lines have to be within runs."""
        if self.is_dense:
            return matrix
        by_rows = matrix.form == WeightFormat.ROWS
        lines, extent = (depth, columns) if by_rows else (columns, depth)
        found = self._lattice(matrix.address - base, extent, (lines, matrix.pitch), (1, 0))
        if found is None:
            return None
        return replace(
            matrix, address=base + found[0], pitch=found[1] or matrix.pitch, within=None
        )


def within(into: str, places: NDArray[np.int64]) -> Within | None:
    """Return which pixels and rows bytes at ``places`` of a tensor are; None where they are no
    such."""
    first, size = int(places[0]), places.size
    run = _stretch(places, 1)
    found = Within(into, first, run, run)
    if size > run:
        starts = places[::run]
        step = int(starts[1]) - first
        row = _stretch(starts, step)
        found = replace(found, step=step)
        if row < starts.size:
            found = replace(found, row=row, pitch=int(starts[row]) - first)
    if found.step < run or found.pitch < 0 or size % (run * found.row):
        return None
    return found if (found.places(np.arange(size)) + first == places).all() else None


def _stretch(places: NDArray[np.int64], step: int) -> int:
    """Return how many are ``step`` apart from the first one on."""
    breaks = np.flatnonzero(np.diff(places) != step)
    return int(breaks[0]) + 1 if breaks.size else places.size


def placed(
    work: Contraction, node: Any, addresses: Mapping[str, int], inside: Mapping[str, Within]
) -> Contraction | None:
    """Return the work of a node with its tensors where they really lie; None where it cannot."""
    x, y, matrix = work.x, work.y, work.matrix
    moved: list[Place] = []
    for place, name in ((x, node.x.name), (y, node.y.name)):
        inner = None if place is x and work.ones else inside.get(name)
        found = place if inner is None else inner.place(place, addresses[name])
        if found is None:
            return None
        moved.append(found)
    if matrix is not None and (name := getattr(node, "z", node.x).name) in inside:
        matrix = inside[name].matrix(matrix, addresses[name], x.channels, y.channels)
        if matrix is None:
            return None
    return replace(work, x=moved[0], y=moved[1], matrix=matrix)
