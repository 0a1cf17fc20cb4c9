# SPDX-License-Identifier: Apache-2.0
"""Image rows beside each other on chip, so that several kernel rows fill the array's rows.

A layer with few channels leaves rows of the array empty: a row of its kernel is all that is read at
once. LOAD can lay some image rows byte by byte beside each other (`machine.isa.WeightFormat`,
INTERLEAVED). Each of their pixels is one with so many times the channels then, and the kernel has
so many times fewer rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from kiwicha.compiler.schedule.contraction import Beside, Contraction, Place
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["Run", "beside", "counts", "runs"]


def counts(work: Contraction, config: AcceleratorConfig) -> Iterator[int]:
    """Yield how many rows can be beside each other: 1, and those that the machine knows."""
    yield 1
    if (
        work.weights is not None
        and work.groups == 1
        and work.kernel[0] > 1
        and not work.x.step
        and work.found is None
        # What stands for padding is in memory before the machine knows a zero point of its own.
        and not (work.dynamic is not None and work.dynamic.zero)
    ):
        yield from config.interleave.rows


def beside(work: Contraction, rows: int) -> Contraction:
    """Return the same work over an image with ``rows`` of its rows, padding too, beside each
    other."""
    if rows == 1:
        return work
    assert work.weights is not None
    x, (high, wide) = work.x, work.kernel
    stride, apart = work.strides[0], work.dilations[0]
    parts = -(-high // rows)
    step = gcd(stride, rows * apart) if parts > 1 else stride
    moved = rows * apart // step if parts > 1 else 1
    height = (work.y.height - 1) * stride // step + (parts - 1) * moved + 1
    outputs = work.weights.shape[0]
    zeros = work.weight_zero.astype(work.weights.dtype)
    weights = np.empty((outputs, parts * rows, wide, x.channels), work.weights.dtype)
    weights[:] = zeros[:, None, None, None]  # what adds nothing
    weights[:, :high] = work.weights
    weights = weights.reshape(outputs, parts, rows, wide, x.channels).transpose(0, 1, 3, 4, 2)
    return replace(
        work,
        x=Place(x.address, x.images, height, x.width, rows * x.channels),
        beside=Beside(x, rows, -work.pads[0], step, apart),
        kernel=(parts, wide),
        strides=(stride // step, work.strides[1]),
        pads=(0, work.pads[1]),
        dilations=(moved, work.dilations[1]),
        weights=weights.reshape(outputs, parts, wide, -1),
    )


@dataclass(frozen=True)
class Run:
    """Rows of which one byte is loaded for each that lies beside it.

    Members
    -------
    place : which of the rows beside each other.
    row, rows : of the image that they make, the first and how many.
    source : image row of the first one, None where all are padding.
    """

    place: int
    row: int
    rows: int
    source: int | None


def runs(how: Beside, row: int, rows: int) -> Iterator[Run]:
    """Yield what makes ``rows`` rows of an image from ``row`` on."""
    for place in range(how.rows):
        first = how.first + place * how.apart
        # Rows before `top` lie above the image, those from `bottom` on below.
        top = -(first // how.step)
        bottom = -((first - how.source.height) // how.step)
        top, bottom = (min(max(row, edge), row + rows) for edge in (top, bottom))
        parts = (row, top, None), (top, bottom, first + top * how.step), (bottom, row + rows, None)
        for start, stop, source in parts:
            if start < stop:
                yield Run(place, start, stop - start, source)
