# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions, and sums over windows, on columns that filter channels of their own.

A column of R rows adds up the products of R neighbouring vectors, each weight's with its own, as a
vector enters in each cycle. So a pass takes those taps of the kernel that lie on the walk, a few
rows of outputs wide, through the image: level 0 goes along a block of outputs and, behind its end,
over the tail that only the last of them need; level 1 does so across. A stride of two, say, makes
walks over every second pixel: its taps fall into classes, and a pass has taps of one of each axis.
Weights that are a tensor come as lines, one a tap: their passes have no rows between taps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import gcd

import numpy as np

from kiwicha.compiler.schedule.contraction import Contraction, Operand
from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Reduction, VectorMode

__all__ = ["Pass", "Taps", "Walk", "can_filter", "drains", "pack_pass", "walk_of"]


@dataclass(frozen=True)
class Taps:
    """Taps of one axis in a pass: ``count`` of them, the kernel's number ``first`` and each
    ``every``-th from there on, ``spacing`` steps of the walk apart."""

    first: int
    every: int
    count: int
    spacing: int

    @property
    def tail(self) -> int:
        """Steps from an output's first tap to its last."""
        return (self.count - 1) * self.spacing


@dataclass(frozen=True)
class Pass:
    """A weight tile, by axes: rows, columns of the image.

    Members
    -------
    counts, tails : of levels 0 and 1.
    rows : array rows from the first tap to the last.
    """

    taps: tuple[Taps, Taps]
    counts: tuple[int, int]
    tails: tuple[int, int]
    rows: int


@dataclass(frozen=True)
class Walk:
    """How a spatial tile is walked: the outputs' order, which is the accumulators', and its passes.

    Members
    -------
    inner : the axis of level 0: 0 image rows, 1 columns.
    block : outputs along it before the walk goes across; ``blocks`` of them follow each other.
    cycles : of one column tile, all passes.
    """

    inner: int
    block: int
    blocks: int
    passes: tuple[Pass, ...]
    cycles: int

    @property
    def rows(self) -> int:
        """Weight rows of a column tile."""
        return sum(each.rows for each in self.passes)


def can_filter(work: Contraction, config: AcceleratorConfig) -> bool:
    """Whether columns can filter: one channel for each output, and one weight zero point."""
    if not config.depthwise or work.reduction is not Reduction.SUM:
        return False
    if work.found is not None or work.windows is not None or VectorMode.BLOCK in work.modes:
        return False
    if work.operand is Operand.IDENTITY:
        return work.kernel != (1, 1)  # a copy has nothing to add up
    return (
        work.operand in (Operand.CONSTANT, Operand.ACTIVATION)
        and work.groups == work.x.channels == work.y.channels > 1
        and bool((work.weight_zero == work.weight_zero[0]).all())
    )


def walk_of(
    work: Contraction, config: AcceleratorConfig, tile: tuple[int, int, int]
) -> Walk | None:
    """Return the walk of the fewest cycles through (images, rows, columns) of outputs; None where
    no tap fits."""
    shortest, lines = minimum_pass(config, 1), work.matrix is not None
    return _walk(work.kernel, work.strides, work.dilations, tile, config.rows, shortest, lines)


@lru_cache(maxsize=1024)
def _walk(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    tile: tuple[int, int, int],
    rows: int,
    shortest: int,
    lines: bool,
) -> Walk | None:
    images, *extents = tile
    best: Walk | None = None
    for inner in (1, 0):
        outer = 1 - inner
        along, across = extents[inner], extents[outer]
        # Level 2 counts blocks, or images.
        sizes = [n for n in range(1, along + 1) if along % n == 0 and (images == 1 or n == along)]
        most = range(1, min(max(kernel), rows) + 1)
        for block, limits in product(reversed(sizes), product(most, most)):
            if limits[0] > kernel[0] or limits[1] > kernel[1]:
                continue
            if lines and (limits[outer] > 1 or limits[inner] > 1 and dilations[inner] > 1):
                continue
            blocks = along // block * images
            passes, cycles = [], 0
            for taps in product(*(
                _classes(kernel[axis], strides[axis], dilations[axis], limits[axis])
                for axis in (0, 1)
            )):
                tails = taps[inner].tail, taps[outer].tail
                counts = block + tails[0], across + tails[1]
                span = tails[1] * counts[0] + tails[0] + 1
                if span > rows:
                    break
                passes.append(Pass((taps[0], taps[1]), counts, tails, span))
                cycles += max(blocks * counts[0] * counts[1], shortest, span)
            else:
                found = Walk(inner, block, along // block, tuple(passes), cycles)
                if best is None or _cost(found) < _cost(best):
                    best = found
    return best


def _cost(walk: Walk) -> tuple[int, int, int]:
    return walk.cycles, walk.blocks, walk.rows


def _classes(kernel: int, stride: int, dilation: int, most: int) -> Iterator[Taps]:
    """Yield the taps of an axis that lie on one walk, ``most`` at a time."""
    every, spacing = stride // gcd(stride, dilation), dilation // gcd(stride, dilation)
    for first in range(min(every, kernel)):
        numbers = range(first, kernel, every)
        for begin in range(0, len(numbers), most):
            part = numbers[begin : begin + most]
            yield Taps(part[0], every, len(part), spacing)


def pack_pass(
    work: Contraction, each: Pass, inner: int, output: int, outputs: int, pitch: int
) -> np.ndarray:
    """Return the weight rows of ``outputs`` channels from ``output`` on, uint8 of shape
    (rows, pitch); of ones where a window is added up."""
    weights, zero = np.ones((outputs, *work.kernel), np.uint8), 0
    if work.weights is not None:
        weights = work.weights[output : output + outputs, :, :, 0].view(np.uint8)
        zero = int(work.weight_zero[output]) & 0xFF
    packed = np.full((each.rows, pitch), zero, np.uint8)
    for places in product(*(range(taps.count) for taps in each.taps)):
        steps = [place * taps.spacing for place, taps in zip(places, each.taps, strict=True)]
        numbers = [
            taps.first + place * taps.every for place, taps in zip(places, each.taps, strict=True)
        ]
        row = steps[1 - inner] * each.counts[0] + steps[inner]
        packed[row, :outputs] = weights[:, numbers[0], numbers[1]]
    return packed


def drains(
    walk: Walk | None, tile: tuple[int, int, int], pixel: int, line: int
) -> Iterator[tuple[int, dict[str, int]]]:
    """Yield the VECTORs of a column tile: the entry, from its first one on, and the fields for the
    place in an output block whose pixels and lines are so many bytes apart.

    ``local`` is an offset from the block's first byte. Without a walk lines follow each other.
    """
    images, rows, columns = tile
    if walk is None or (walk.inner == 1 and walk.blocks == 1):
        yield 0, {
            "local": 0, "pixels": columns, "lines": images * rows,
            "pixel_pitch": pixel, "line_pitch": line,
        }
        return
    pitches = (pixel, line) if walk.inner else (line, pixel)
    count = rows if walk.inner else columns
    for image, block in product(range(images), range(walk.blocks)):
        yield (image * walk.blocks + block) * walk.block * count, {
            "local": image * rows * line + block * walk.block * pitches[0],
            "pixels": walk.block, "lines": count,
            "pixel_pitch": pitches[0], "line_pitch": pitches[1],
        }
