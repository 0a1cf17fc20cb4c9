# SPDX-License-Identifier: Apache-2.0
"""LOADs that lay image rows byte by byte beside each other."""

from collections.abc import Callable

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.compiler.schedule.beside import runs
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.spatial import SpatialTile
from kiwicha.machine.isa import LoadTarget, WeightFormat

__all__ = ["load_beside"]


def load_beside(
    work: Contraction, s: SpatialTile, builder: ProgramBuilder,
    store: Callable[[np.ndarray], int], local: int,
) -> None:
    """Append what brings the input of a tile to ``local``, densely.

    Parameters
    ----------
    store : puts a constant into memory, once for the same one.
    """
    how, width, height = work.beside, s.x1 - s.x0, s.y1 - s.y0
    assert how is not None
    x = how.source
    length, pitch = width * x.channels, width * work.x.channels
    size = s.images * height * pitch

    def load(address: int, place: int, octets: int, lines: int, apart: int) -> None:
        builder.load(
            LoadTarget.ACTIVATION,
            Transfer(address, local + place, octets, lines, apart, pitch if lines > 1 else 0),
            form=WeightFormat.INTERLEAVED,
            extent=how.rows,
            touched=Range(Space.ACTIVATION, local, local + size),
        )

    for image in range(s.images):
        for run in runs(how, s.y0, height):
            place = (image * height + run.row - s.y0) * pitch + run.place
            if run.source is None:
                zeros = np.full(length, work.x_zero & 0xFF, np.uint8)
                load(store(zeros), place, length, run.rows, 0)
                continue
            address = x.address + (s.image + image) * x.image_bytes + run.source * x.row_bytes
            address += s.x0 * x.channels
            if how.step == 1 and length == x.row_bytes:
                load(address, place, run.rows * length, 1, 0)
            else:
                load(address, place, length, run.rows, how.step * x.row_bytes)
