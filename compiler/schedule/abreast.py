# SPDX-License-Identifier: Apache-2.0
"""Neighbouring output pixels side by side in the array's columns.

A layer with few outputs leaves columns of the array empty. Several neighbours of an output row have
columns of their own then: the kernel is there once for each of them, moved by the stride, and what
is read at once is as wide as all their windows together. Their channels lie side by side in memory,
so that ``pixels`` of them are one pixel with so many times the channels.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode

__all__ = ["abreast", "counts"]

_TILES = 4
"""Column tiles that neighbours share at the most: more of them fill no more columns."""


def counts(work: Contraction, config: AcceleratorConfig) -> Iterator[int]:
    """Yield how many neighbours can be side by side: 1, and more where that could save passes."""
    yield 1
    outputs, width = work.y.channels, work.y.width
    if (
        work.weights is None
        or work.groups > 1
        or work.found is not None
        or work.blocks is not None
        or work.windows is not None  # neighbours are entries of one column
        or work.kernel[1] == 1
        or work.y.step not in (0, outputs)
    ):
        return
    # What is added to results that are overwritten would have to be loaded, too.
    ragged = (
        work.y.is_dense and work.modes == (VectorMode.REQUANTIZE,) and work.addend is None
    )
    for pixels in range(2, min(width, _TILES * config.columns // outputs) + 1):
        if ragged or width % pixels == 0:
            yield pixels


def abreast(work: Contraction, pixels: int) -> Contraction:
    """Return the same work with ``pixels`` neighbours as one pixel.

    Where they do not divide a row, its last pixel reaches into the next row (`Place.ragged`):
    those results are wrong, and overwritten.
    """
    if pixels == 1:
        return work
    assert work.weights is not None
    y, (high, wide) = work.y, work.kernel
    stride, dilation = work.strides[1], work.dilations[1]
    span = (wide - 1) * dilation + 1
    shape = (pixels, y.channels, high, span + (pixels - 1) * stride, work.weights.shape[3])
    zeros = work.weight_zero.astype(work.weights.dtype)
    weights = np.empty(shape, work.weights.dtype)
    weights[:] = zeros[:, None, None, None]  # what adds nothing
    for pixel in range(pixels):
        first = pixel * stride
        weights[pixel, :, :, first : first + span : dilation] = work.weights
    exact = y.width % pixels == 0 and y.is_dense
    return replace(
        work,
        y=replace(
            y, width=-(-y.width // pixels), channels=pixels * y.channels, step=0,
            pitch=0 if exact else y.row_bytes, ragged=y.width % pixels > 0,
        ),
        kernel=(high, shape[3]),
        strides=(work.strides[0], pixels * stride),
        dilations=(work.dilations[0], 1),
        weights=weights.reshape(-1, *shape[2:]),
        weight_zero=np.tile(work.weight_zero, pixels),
        bias=np.tile(work.bias, pixels),
        multiplier=np.tile(work.multiplier, pixels),
        shift=np.tile(work.shift, pixels),
    )
