# SPDX-License-Identifier: Apache-2.0
"""QLinearAdd as ONNX Runtime computes it on x86-64 with AVX2 and FMA (MLAS), in binary32.

Its kernel multiplies and adds with one rounding. On ARM, and on processors without AVX2, ONNX
Runtime gives other results.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.machine.pair_tables import multiply_add

__all__ = ["add", "exchanged", "sums", "to_integers"]


def add(
    a: npt.NDArray[Any],
    b: npt.NDArray[Any],
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    y_scale: float,
    y_zero: int,
    y_dtype: npt.DTypeLike,
) -> npt.NDArray[Any]:
    """Return the quantized sum, of the shape that ``a`` and ``b`` broadcast to.

    rA = f(a_scale / y_scale), rB = f(b_scale / y_scale),
    F = f(y_zero - f(rA * a_zero + f(rB * b_zero))),
    y = clamp(rint(f(a * rA + f(b * rB + F)))), rint as in `to_integers`.

    Where `exchanged` says so, a and b change places in all of this. ``a`` and ``b`` are int8 or
    uint8; ONNX Runtime takes both operands and the result of one type only.
    """
    if exchanged(a.shape, b.shape):
        a, a_scale, a_zero, b, b_scale, b_zero = b, b_scale, b_zero, a, a_scale, a_zero
    total = sums(a, b, a_scale, a_zero, b_scale, b_zero, y_scale, y_zero)
    bounds = np.iinfo(np.dtype(y_dtype))
    return np.clip(total, bounds.min, bounds.max).astype(y_dtype)


def sums(
    a: npt.NDArray[Any],
    b: npt.NDArray[Any],
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    y_scale: float,
    y_zero: int,
) -> npt.NDArray[np.int64]:
    """Return y before it is clamped, without exchanging anything; a negative ``b_scale`` makes it
    a difference."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        ratio_a, ratio_b = (np.float32(scale) / np.float32(y_scale) for scale in (a_scale, b_scale))
        zero = multiply_add(ratio_a, a_zero, ratio_b * np.float32(b_zero))
        fixed = np.float32(y_zero) - zero
        total = multiply_add(a, ratio_a, multiply_add(b, ratio_b, fixed))
    return to_integers(total)


def to_integers(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Round halves to even; -2^31 for NaN and what is no int32, as the CVTPS2DQ of x86 does."""
    fits = np.abs(values) < 2.0**31
    return np.where(fits, np.rint(values), -(2.0**31)).astype(np.int64)


def exchanged(a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> bool:
    """Whether ONNX Runtime exchanges the operands: a is one value in the inner loop.

    That is so when, on the innermost axis along which the result has more than one element, a has
    one; and for results of one element.
    """
    shape = np.broadcast_shapes(a_shape, b_shape)
    padded = (1,) * (len(shape) - len(a_shape)) + tuple(a_shape)
    for size, size_a in zip(reversed(shape), reversed(padded), strict=True):
        if size > 1:
            return size_a == 1
    return True
