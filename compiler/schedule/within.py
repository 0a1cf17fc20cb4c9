# SPDX-License-Identifier: Apache-2.0
"""Tensors that lie inside another: every so many bytes a pixel, with others' bytes between."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.schedule.contraction import Contraction, Matrix, Place
from kiwicha.machine.isa import WeightFormat

__all__ = ["Within", "placed"]


@dataclass(frozen=True)
class Within:
    """Where a tensor lies.

    Members
    -------
    into : the tensor whose memory it lies in.
    first : its first byte there.
    run, step : bytes of it that are neighbours, and from the first of them to the next run's.
    """

    into: str
    first: int
    run: int
    step: int

    @property
    def is_dense(self) -> bool:
        """Whether nothing lies between its bytes."""
        return self.step == self.run

    def places(self, dense: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where bytes lie, from the first on, that would be at ``dense`` by themselves."""
        runs, rest = np.divmod(dense, self.run)
        return runs * self.step + rest

    def _run(self, offset: int, length: int) -> int | None:
        """Return where a run of bytes begins; None where it is none."""
        runs, rest = divmod(offset, self.run)
        return None if rest + length > self.run else runs * self.step + rest

    def _pitch(self, pitch: int) -> int | None:
        whole, rest = divmod(pitch, self.run)
        return None if rest else whole * self.step

    def place(self, place: Place, base: int) -> Place | None:
        """Return where an image lies that is a part of the tensor at ``base``, None where its
        pixels are not within runs."""
        if self.is_dense:
            return place
        first = self._run(place.address - base, place.channels)
        step = self._pitch(place.pixel_bytes) if place.width > 1 else 0
        pitch = self._pitch(place.row_bytes) if place.width * place.height * place.images > 1 else 0
        if first is None or step is None or pitch is None:
            return None
        return replace(place, address=base + first, step=step, pitch=pitch)

    def matrix(self, matrix: Matrix, base: int, depth: int, columns: int) -> Matrix | None:
        """Return the same of a matrix, whose lines have to be within runs."""
        if self.is_dense:
            return matrix
        by_rows = matrix.form == WeightFormat.ROWS
        first = self._run(matrix.address - base, columns if by_rows else depth)
        pitch = self._pitch(matrix.pitch)
        if first is None or pitch is None:
            return None
        return replace(matrix, address=base + first, pitch=pitch)


def placed(
    work: Contraction, node: Any, addresses: Mapping[str, int], within: Mapping[str, Within]
) -> Contraction | None:
    """Return the work of a node with its tensors where they really lie; None where it cannot."""
    x, y, matrix = work.x, work.y, work.matrix
    moved: list[Place] = []
    for place, name in ((x, node.x.name), (y, node.y.name)):
        found = within[name].place(place, addresses[name]) if name in within else place
        if found is None:
            return None
        moved.append(found)
    if matrix is not None and (name := node.z.name) in within:
        matrix = within[name].matrix(matrix, addresses[name], x.channels, y.channels)
        if matrix is None:
            return None
    return replace(work, x=moved[0], y=moved[1], matrix=matrix)
