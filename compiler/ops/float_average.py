# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime's QLinearAveragePool makes of each sum of a window, and the scale that does.

It looks each value up as f(Sx * (x - Zx)), adds these up in order, divides by the count, and makes
a code of it: rint(f(f(sum / Sy) + Zy)), f rounding to binary32. Values with one exact sum may thus
end in different floats. Rounding is monotone, so the least and greatest float of each exact sum
follow from those of one value less, and where both end in one code, all between do.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import Tensor

__all__ = ["Average", "FloatSums", "fitted", "float_sums"]

FloatSums = list[tuple[NDArray[np.float32], NDArray[np.float32]]]
"""For 1, 2, ... values the least and the greatest float of each exact sum, the least sum first."""

_LARGEST = 128
"""Values of a window up to which all sums are followed, which takes a second for that many."""
_NEAR = sorted(range(-8, 9), key=abs)
"""Steps from the rounded scale to those that are tried, in units of the last place."""


@dataclass(frozen=True)
class Average:
    """Averages of one count.

    Members
    -------
    x, y : types, scales and zero points.
    divisor : what sums are divided by.
    taps : of how many values they may be.
    """

    x: Tensor
    y: Tensor
    divisor: int
    taps: tuple[int, ...]

    @property
    def scale(self) -> np.float32:
        """The requantizer's scale, as ONNX Runtime has it where it adds up integers."""
        with np.errstate(all="ignore"):
            return np.float32(self.x.scale / np.float32(self.y.scale * np.float32(self.divisor)))

    @property
    def scale64(self) -> np.float64:
        """The same without rounding on the way."""
        return np.float64(self.x.scale) / (np.float64(self.y.scale) * self.divisor)

    @property
    def centred(self) -> NDArray[np.int64]:
        """What a value may be once the zero point is off."""
        return _centred(self.x)

    def runtime_codes(self, total: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what ONNX Runtime makes of float sums."""
        info, y = np.iinfo(self.y.dtype), self.y
        with np.errstate(over="ignore"):
            real = total / np.float32(self.divisor) / y.scale + np.float32(y.zero_point)
        return np.clip(np.rint(real), info.min, info.max)

    def machine_codes(self, total: NDArray[np.int64], scale: np.float32) -> NDArray[np.float32]:
        """Return what the requantizer makes of exact sums."""
        info, zero = np.iinfo(self.y.dtype), self.y.zero_point
        with np.errstate(over="ignore"):
            real = np.clip(total.astype(np.float32) * scale, info.min - zero, info.max - zero)
        return np.rint(real) + np.float32(zero)


def fitted(average: Average, sums: FloatSums) -> tuple[np.float32, int]:
    """Return the scale with which the requantizer agrees with ONNX Runtime on the most exact sums,
    and on how many it may not. No sum is more than one code apart.

    Parameters
    ----------
    sums : `float_sums` of the input.
    """
    if max(average.taps) > len(sums):
        least, greatest = average.centred[[0, -1]]
        return average.scale, sum(int(n * (greatest - least)) + 1 for n in average.taps)
    exact, low, high = [], [], []
    for count in average.taps:
        least, greatest = sums[count - 1]
        first = count * average.centred[0]
        exact.append(np.arange(first, first + len(least)))
        low.append(average.runtime_codes(least))
        high.append(average.runtime_codes(greatest))
    total, lowest, highest = map(np.concatenate, (exact, low, high))
    best = average.scale, len(total) + 1
    for step in _NEAR:
        scale = (average.scale.view(np.int32) + np.int32(step)).view(np.float32)
        codes = average.machine_codes(total, scale)
        apart = np.count_nonzero((codes != lowest) | (codes != highest))
        if apart < best[1]:
            best = scale, int(apart)
        if apart == 0:
            break
    return best


def float_sums(x: Tensor, taps: int) -> FloatSums:
    """Return what the sums of up to ``taps`` values may be, but of no more than are followed."""
    with np.errstate(over="ignore"):
        values = _centred(x).astype(np.float32) * x.scale
    made = [(values, values)]
    for _ in range(1, min(taps, _LARGEST)):
        least, greatest = made[-1]
        size = len(least) + len(values) - 1
        lower, upper = np.full(size, np.inf, np.float32), np.full(size, -np.inf, np.float32)
        for place, value in enumerate(values):
            part = slice(place, place + len(least))
            np.minimum(lower[part], least + value, out=lower[part])
            np.maximum(upper[part], greatest + value, out=upper[part])
        made.append((lower, upper))
    return made


def _centred(x: Tensor) -> NDArray[np.int64]:
    """Return what a value may be once the zero point is off."""
    info = np.iinfo(x.dtype)
    return np.arange(info.min, info.max + 1) - x.zero_point
