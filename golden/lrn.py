# SPDX-License-Identifier: Apache-2.0
"""LRN across channels with squares and their sums in 8 bits; our own arithmetic.

ONNX Runtime computes x / (bias + alpha / size * sum of squares)^beta in float.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.golden.add import to_integers
from kiwicha.machine.pair_tables import factor_tables, multiply

__all__ = ["factors", "lrn", "squares"]

_F32 = np.float32


def squares(dtype: npt.DTypeLike, zero: int) -> npt.NDArray[np.uint8]:
    """Return the squares of all codes by the raw byte, the greatest as 255."""
    real = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64) - zero
    return np.rint(real**2 * (255 / np.abs(real).max() ** 2)).astype(np.uint8)


def factors(
    dtype: npt.DTypeLike, zero: int, scale: float, alpha: float, beta: float, bias: float
) -> npt.NDArray[np.float64]:
    """Return what x is multiplied by for each mean of `squares` over the window."""
    bounds = np.iinfo(np.dtype(dtype))
    largest = max(abs(bounds.min - zero), abs(bounds.max - zero)) * float(scale)
    made: npt.NDArray[np.float64] = (bias + alpha * np.arange(256) * largest**2 / 255) ** -beta
    return made


def lrn(
    x: npt.NDArray[Any],
    x_scale: float,
    x_zero: int,
    y_scale: float,
    y_zero: int,
    y_dtype: npt.DTypeLike,
    *,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    bias: float = 1.0,
) -> npt.NDArray[Any]:
    """Return the normalized codes of N C ... codes.

    m = rint(f(sum of squares in the window * f(1 / size))), at most 255;
    y = clamp(rint(f((x - x_zero) * F[m])) + y_zero), F = factors * x_scale / y_scale with 24 bits
    (`machine.pair_tables.factor_tables`).
    """
    square = squares(x.dtype, x_zero)[x.view(np.uint8)].astype(np.int64)
    before, after = (size - 1) // 2, size // 2
    pads = [(0, 0)] * x.ndim
    pads[1] = (before, after)
    padded = np.pad(square, pads)
    total = sum(padded[:, place : place + x.shape[1]] for place in range(size))
    mean = np.minimum(np.rint(np.asarray(total, _F32) * (_F32(1) / _F32(size))), 255)
    steps = np.arange(256, dtype=np.uint8).view(x.dtype).astype(np.int64) - x_zero
    real = factors(x.dtype, x_zero, x_scale, alpha, beta, bias) * (float(x_scale) / float(y_scale))
    a, b, shift = factor_tables(steps, np.zeros_like(steps), real)
    y = to_integers(multiply(a[x.view(np.uint8)], b[mean.astype(np.int64)], shift)) + y_zero
    bounds = np.iinfo(np.dtype(y_dtype))
    return np.clip(y, bounds.min, bounds.max).astype(y_dtype)
