# SPDX-License-Identifier: Apache-2.0
"""Backward rules of maximum and average pooling of 8-bit integers; arrays are N C H W as in ONNX.

Exact integers: sums of errors are int64 and do not wrap, and an average's division is left to
whoever quantizes them next, since a power of two there is no more than an exponent.
"""

from math import lcm

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.conv import patches

__all__ = ["average_pool_error", "max_pool_error", "max_pool_winners"]

Int64Array = NDArray[np.int64]


def max_pool_winners(
    x: NDArray[np.integer],
    kernel: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
) -> Int64Array:
    """Return which tap of each window its maximum comes from, ``row * S + column``: int64,
    N x C x H' x W'.

    It is the first of equal ones in the order of rows, and never one in the padding.

    Parameters
    ----------
    x : N x C x H x W, integers.
    kernel : R and S.
    pads : top, left, bottom, right; minus infinity is what they hold.

    Raises
    ------
    ValueError
        Where a window lies in the padding altogether.
    """
    windows = patches(x.astype(np.float64), kernel, strides, pads, dilations, -np.inf)
    flat = windows.reshape(*windows.shape[:4], -1)
    if np.isinf(flat.max(axis=-1)).any():
        raise ValueError("a window lies in the padding altogether")
    return flat.argmax(axis=-1)


def max_pool_error(
    x: NDArray[np.integer],
    error: NDArray[np.integer],
    kernel: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
) -> Int64Array:
    """Return the error of the input of a maximum pooling, N x C x H x W, int64: a window's error
    goes to its winner (`max_pool_winners`), and errors of windows that overlap add up.

    Parameters
    ----------
    x : its input, N x C x H x W.
    error : of its output, N x C x H' x W', integers.

    Raises
    ------
    ValueError
        Where the error's shape is not that of the windows, or one of them has no maximum.
    """
    winners = max_pool_winners(x, kernel, strides=strides, pads=pads, dilations=dilations)
    if winners.shape != error.shape:
        raise ValueError(f"the error is {error.shape}, the forward pass gave {winners.shape}")
    image, channel, line, pixel = np.indices(winners.shape)
    row = line * strides[0] - pads[0] + winners // kernel[1] * dilations[0]
    column = pixel * strides[1] - pads[1] + winners % kernel[1] * dilations[1]
    total = np.zeros(x.shape, np.int64)
    np.add.at(total, (image, channel, row, column), error)
    return total


def average_pool_error(
    error: NDArray[np.integer],
    image: tuple[int, int],
    kernel: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    count_include_pad: bool = False,
) -> tuple[Int64Array, int]:
    """Return the error of the input of an average pooling as sums and the divisor of all of them:
    ``sums / divisor``, N x C x H x W, int64.

    A window gives each of its pixels an equal part of its error. The divisor is the least common
    multiple of the windows' counts: the kernel's size unless windows reach into padding that does
    not count.

    Parameters
    ----------
    error : of its output, N x C x H' x W', integers.
    image : H and W; kernel ``image`` without pads is global average pooling.
    count_include_pad : whether padding counts.

    Raises
    ------
    ValueError
        Where a window lies outside the image.
    """
    rows, columns = (
        [
            range(max(at * strides[axis] - pads[axis], 0),
                  min(at * strides[axis] - pads[axis] + kernel[axis], image[axis]))
            for at in range(error.shape[2 + axis])
        ]
        for axis in (0, 1)
    )
    if not (all(rows) and all(columns)):
        raise ValueError(f"windows of {kernel} lie outside the image of {image}")
    size = kernel[0] * kernel[1]
    counts = [[size if count_include_pad else len(r) * len(c) for c in columns] for r in rows]
    divisor = lcm(*(count for line in counts for count in line))
    sums = np.zeros((*error.shape[:2], *image), np.int64)
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            part = error[:, :, i, j].astype(np.int64) * (divisor // counts[i][j])
            sums[:, :, r.start : r.stop, c.start : c.stop] += part[:, :, None, None]
    return sums, divisor
