# SPDX-License-Identifier: Apache-2.0
"""Training of a network that is quantized and pruned meanwhile, after Guo et al., Compressed CNN
Training with FPGA-based Accelerator (FPGA 2019).

Theirs: dynamic fixed point, each tensor with the power of two that suits it; every weight stored
twice, with 8 bits to compute with and 32 to be updated; gradients of several batches accumulated;
batch normalization with statistics that are frozen and approximated by powers of two after a float
warm-up; pruning by L2 norm half-way, after which the mask stays. Widths, roundings and saturation
are defined here.

A tensor is ``values / 2^fraction``. Layers compute `golden.conv.conv2d` and
`golden.convolution_gradient`, their sums have the sum of both fractions, and `requantize` makes 8
bits of them.
"""

from dataclasses import dataclass, field
from math import frexp

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kiwicha.golden.rounding import round_shift

__all__ = ["Fixed", "Store", "fold_normalization", "learning_rate", "normalization_shift",
           "quantize", "requantize"]

Int64Array = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_LOWEST, _HIGHEST = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True)
class Fixed:
    """A tensor in dynamic fixed point, ``values / 2^fraction``.

    Members
    -------
    values : int8.
    fraction : bits behind the point; may be negative or above 8.
    """

    values: NDArray[np.int8]
    fraction: int


def quantize(x: ArrayLike) -> Fixed:
    """Return floats in 8 bits: ``sat8(rint(x * 2^f))``, ``f = 7 - ceil(log2 max |x|)``; half to
    even, f = 0 of zeros alone.

    Raises
    ------
    ValueError
        For values that are not finite.
    """
    values = np.asarray(x, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("x holds values that are not finite")
    fraction = 7 - _range(float(np.abs(values).max(initial=0)))
    if not values.any():
        fraction = 0
    return Fixed(np.clip(np.rint(np.ldexp(values, fraction)), -128, 127).astype(np.int8), fraction)


def requantize(sums: NDArray[np.integer], fraction: int) -> Fixed:
    """Return integers of ``fraction`` bits behind the point in 8 bits: with ``s = ceil(log2 max
    |sums|) - 7``, ``sat8(round(sums / 2^s))``, half to even, of ``fraction - s`` bits. Where s is
    negative that is exact. Zeros alone keep their fraction.

    Parameters
    ----------
    sums : int64, at most 2^54 in magnitude.
    """
    x = np.asarray(sums, np.int64)
    greatest = int(np.abs(x).max(initial=0))
    shift = (greatest - 1).bit_length() - 7 if greatest else 0
    rounded = round_shift(x << max(-shift, 0), max(shift, 0), "half_even")
    return Fixed(np.clip(rounded, -128, 127).astype(np.int8), fraction - shift)


@dataclass
class Store:
    """A tensor of parameters: 32 bits, the gradient that has come together, and the mask.

    Members
    -------
    weights : int32; ``weights / 2^fraction`` are the parameters.
    fraction : of the weights; does not change.
    gradient_fraction : of the gradient; does not change.
    gradient : int32; saturates.
    mask : where there are weights; true everywhere until `prune`, which can be done once.
    saturated : elements that have been cut off so far.
    """

    weights: NDArray[np.int32]
    fraction: int
    gradient_fraction: int
    gradient: NDArray[np.int32] = field(init=False)
    mask: NDArray[np.bool_] = field(init=False)
    saturated: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.gradient = np.zeros_like(self.weights)
        self.mask = np.ones(self.weights.shape, np.bool_)

    @classmethod
    def of(cls, x: ArrayLike, *, headroom: int = 3, gradient_fraction: int = 20) -> "Store":
        """Return the store of float parameters, which may grow by ``2^headroom``.

        Raises
        ------
        ValueError
            For values that are not finite.
        """
        values = np.asarray(x, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("x holds values that are not finite")
        fraction = 31 - headroom - _range(float(np.abs(values).max(initial=0)))
        weights = np.clip(np.rint(np.ldexp(values, fraction)), _LOWEST, _HIGHEST)
        return cls(weights.astype(np.int32), fraction, gradient_fraction)

    def copy(self) -> Fixed:
        """Return the 8 bits that the next forward and backward pass compute with: `requantize`."""
        return requantize(self.weights, self.fraction)

    def aligned(self, fraction: int) -> NDArray[np.int32]:
        """Return the parameters with ``fraction`` bits behind the point, half to even, saturated to
        int32: biases that are added to sums of products."""
        return self._saturate(_moved(self.weights, fraction - self.fraction))

    def accumulate(self, gradient: NDArray[np.integer], fraction: int) -> None:
        """Add a batch's gradient, of ``fraction`` bits behind the point, where the mask is true:
        ``G = sat32(G + round(gradient * 2^(gradient_fraction - fraction)))``, half to even.

        Parameters
        ----------
        gradient : int64, below 2^47 in magnitude.
        """
        part = _moved(gradient, self.gradient_fraction - fraction)
        self.gradient = self._saturate(np.where(self.mask, self.gradient + part, 0))

    def update(self, rate: int, rate_shift: int) -> None:
        """Descend, ``W = sat32(W - round(G * rate / 2^rate_shift))``, half to even, and start a new
        gradient. Where the mask is false both are 0 and stay so.

        Parameters
        ----------
        rate : 0 to 65535.
        rate_shift : 0 to 48.

        Raises
        ------
        ValueError
            For a rate out of range.
        """
        if not (0 <= rate < 1 << 16 and 0 <= rate_shift <= 48):
            raise ValueError(f"rate is {rate} / 2^{rate_shift}; legal: 0 to 65535, shift 0 to 48")
        step = round_shift(self.gradient.astype(np.int64) * rate, rate_shift, "half_even")
        self.weights = self._saturate(self.weights - step)
        self.gradient = np.zeros_like(self.gradient)

    def prune(self, count: int, axes: tuple[int, ...] = ()) -> None:
        """Take away the ``count`` groups of the least L2 norm, for good: their weights and
        gradients are 0 from now on.

        Norms are compared as exact sums of the squares of ``|W| >> 8``, 23 bits; of equal ones the
        first in the order of memory go.

        Parameters
        ----------
        count : groups to drop, of all.
        axes : along which a group lies: () elements, (2, 3) kernels, (1, 2, 3) filters.

        Raises
        ------
        ValueError
            Where a mask is there already, or there are not so many groups.
        """
        if not self.mask.all():
            raise ValueError("the mask is frozen: pruning has been done")
        squares = (np.abs(self.weights.astype(np.int64)) >> 8) ** 2
        norms = squares.sum(axis=axes, keepdims=True) if axes else squares
        if not 0 <= count <= norms.size:
            raise ValueError(f"count is {count}; legal: 0 to {norms.size} groups")
        kept = np.ones(norms.size, np.bool_)
        kept[np.argsort(norms, axis=None, kind="stable")[:count]] = False
        self.mask = np.broadcast_to(kept.reshape(norms.shape), self.weights.shape).copy()
        self.weights = np.where(self.mask, self.weights, 0).astype(np.int32)
        self.gradient = np.where(self.mask, self.gradient, 0).astype(np.int32)

    def _saturate(self, values: NDArray[np.integer]) -> NDArray[np.int32]:
        inside = np.clip(values, _LOWEST, _HIGHEST)
        self.saturated += int((inside != values).sum())
        return inside.astype(np.int32)


def learning_rate(rate: float, store: Store, examples: int) -> tuple[int, int]:
    """Return the integers of `Store.update` that are nearest to ``rate`` per mean gradient of
    ``examples``: ``rate * 2^(fraction - gradient_fraction) / examples``, with 16 bits.

    Raises
    ------
    ValueError
        For a rate that is not positive, or that these integers cannot hold.
    """
    if not (rate > 0 and np.isfinite(rate) and examples > 0):
        raise ValueError(f"rate is {rate} for {examples} examples; legal: positive")
    part, power = frexp(rate / examples)
    whole, shift = round(part * (1 << 16)), 16 - power - store.fraction + store.gradient_fraction
    if whole == 1 << 16:
        whole, shift = 1 << 15, shift - 1
    if not 0 <= shift <= 48:
        raise ValueError(f"rate is {rate} for {examples} examples: it needs a shift of {shift}")
    return whole, shift


def normalization_shift(variance: ArrayLike) -> Int64Array:
    """Return k = round(log2 sigma) of variances (with their epsilon), an exact half upwards.

    Batch normalization divides by 2^k from the end of the warm-up on: a shift.

    Raises
    ------
    ValueError
        For variances that are not positive and finite.
    """
    values = np.asarray(variance, np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError("variances are not positive and finite")
    # frexp: variance < 2^e and >= 2^(e-1), so floor(log2 variance) = e - 1.
    return np.asarray(np.frexp(values)[1] // 2, np.int64)


def fold_normalization(
    weights: FloatArray,
    bias: FloatArray,
    *,
    mean: FloatArray,
    variance: FloatArray,
    gain: FloatArray,
    offset: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return weights and bias that normalize with frozen statistics, in float, at the end of the
    warm-up: ``w * gain / 2^k`` and ``(bias - mean) * gain / 2^k + offset``.

    Parameters
    ----------
    weights : O x ...; the others : of O channels; ``variance`` with its epsilon.
    """
    factor = np.ldexp(gain, -normalization_shift(variance).astype(np.int32))
    shape = (-1, *(1,) * (weights.ndim - 1))
    return weights * factor.reshape(shape), (bias - mean) * factor + offset


def _range(greatest: float) -> int:
    """Return ceil(log2 greatest), 0 of 0."""
    part, power = frexp(greatest)
    return power - (part == 0.5)


def _moved(values: NDArray[np.integer], left: int) -> Int64Array:
    """Return ``values * 2^left``, half to even; beyond 2^55 less, but never so little that a sum
    with an int32 would not saturate."""
    x = values.astype(np.int64)
    if left <= 0:
        return round_shift(x, -left, "half_even") if left >= -48 else np.zeros_like(x)
    left = min(left, 55)
    reach = (1 << 55) >> left
    return np.clip(x, -reach, reach) << left
