# SPDX-License-Identifier: Apache-2.0
"""Reductions of whole images, with a pixel's channels as pixels of their own.

The identity reduces each channel of a window by itself, a column tile of channels after the other.
Of a whole image there is one result for each, and a tile serves a single vector while the next one
is brought in, row by row (`footprint.minimum_pass`). All tiles are alike, though: pixels cut into
groups of few channels are a row of so many pixels, which one tile serves one after the other.
"""

from dataclasses import replace

import numpy as np

from kiwicha.compiler.schedule.contraction import Contraction, Place
from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.compiler.schedule.mapping import TALLEST
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode

__all__ = ["folded", "groups"]


def groups(work: Contraction, config: AcceleratorConfig) -> int:
    """Return into how many groups of channels to cut a pixel, by cycles of the array alone, of
    equal numbers the least, so that a tile's results leave while others compute; 1 where pixels
    stay whole."""
    x, channels = work.x, work.y.channels
    whole = work.kernel == (x.height, x.width) and not any(work.pads)
    if (
        not work.channelwise or not whole or (work.y.height, work.y.width) != (1, 1)
        or x.height * x.width > TALLEST or x.channels != channels
        or (x.width > 1 and x.row_bytes != x.width * x.pixel_bytes)
        or work.modes != (VectorMode.REQUANTIZE,)
        or work.addend is not None or work.found is not None
        or not all((each == each[0]).all() for each in _parameters(work))
    ):
        return 1
    lanes = min(config.rows, config.columns)

    def cycles(count: int) -> int:
        size = channels // count
        vectors = max(x.images * count, minimum_pass(config, min(size, lanes)))
        return -(-size // lanes) * vectors

    return min((n for n in range(1, channels + 1) if channels % n == 0), key=cycles)


def _parameters(work: Contraction) -> tuple[np.ndarray, ...]:
    return work.weight_zero, work.bias, work.multiplier, work.shift


def folded(work: Contraction, count: int) -> Contraction:
    """Return the same work with the pixels of x as rows of ``count`` pixels, and so the results."""
    if count == 1:
        return work
    x, y = work.x, work.y
    size = y.channels // count
    apart = x.row_bytes if x.width == 1 else x.pixel_bytes
    pixels = x.height * x.width
    weight_zero, bias, multiplier, shift = (each[:size] for each in _parameters(work))
    return replace(
        work,
        x=Place(x.address, x.images, pixels, count, size, apart),
        y=Place(y.address, y.images, 1, count, size, y.row_bytes),
        kernel=(pixels, 1), strides=(1, 1), dilations=(1, 1),
        weight_zero=weight_zero, bias=bias, multiplier=multiplier, shift=shift,
    )
