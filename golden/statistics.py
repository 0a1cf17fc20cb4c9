# SPDX-License-Identifier: Apache-2.0
"""Exact statistics of one block of int32 values."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BlockStatistics", "statistics"]


@dataclass(frozen=True)
class BlockStatistics:
    """Statistics of a block, as Python integers of any size.

    Members
    -------
    minimum, maximum, magnitude : smallest and greatest value, greatest absolute value.
    total, total_magnitude, total_square : sums of x, \\|x\\| and x * x.
    count, zeros : elements, and those that are 0.
    histogram : entry b counts the elements with 2**(b - 1) <= \\|x\\| < 2**b (b = 0: zeros); the
        last entry also counts all greater ones; no entry exceeds the saturation limit.
    """

    minimum: int
    maximum: int
    magnitude: int
    total: int
    total_magnitude: int
    total_square: int
    count: int
    zeros: int
    histogram: tuple[int, ...]


def statistics(
    block: npt.ArrayLike, *, bins: int = 33, histogram_limit: int | None = None
) -> BlockStatistics:
    """Return the statistics of all elements of ``block`` (int32 values, at least one).

    Parameters
    ----------
    bins : entries of the histogram, 2 to 33.
    histogram_limit : greatest number in an entry (default: none).

    Raises
    ------
    ValueError
        For an empty block, values beyond int32, or ``bins`` out of range.
    """
    values = [int(x) for x in np.asarray(block).ravel()]
    if not values:
        raise ValueError("block is empty; legal: at least one element")
    if min(values) < -(1 << 31) or max(values) >= 1 << 31:
        raise ValueError(f"block holds {min(values)} to {max(values)}; legal: int32")
    if not 2 <= bins <= 33:
        raise ValueError(f"bins is {bins}; legal: 2 to 33")
    histogram = [0] * bins
    for x in values:
        histogram[min(abs(x).bit_length(), bins - 1)] += 1
    if histogram_limit is not None:
        histogram = [min(entry, histogram_limit) for entry in histogram]
    return BlockStatistics(
        minimum=min(values),
        maximum=max(values),
        magnitude=max(map(abs, values)),
        total=sum(values),
        total_magnitude=sum(map(abs, values)),
        total_square=sum(x * x for x in values),
        count=len(values),
        zeros=values.count(0),
        histogram=tuple(histogram),
    )
