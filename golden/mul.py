# SPDX-License-Identifier: Apache-2.0
"""QLinearMul as ONNX Runtime computes it on x86-64 (MLAS), in binary32."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.golden.add import to_integers

__all__ = ["mul", "products"]


def mul(
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
    """Return the quantized product, of the shape that ``a`` and ``b`` broadcast to.

    ratio = f(f(a_scale * b_scale) / y_scale),
    y = clamp(rint(f(f((a - a_zero) (b - b_zero) ratio) + y_zero))), rint as in
    `golden.add.to_integers`. The product of the codes is exact in binary32.
    """
    total = products(a, b, a_scale, a_zero, b_scale, b_zero, y_scale, y_zero)
    bounds = np.iinfo(np.dtype(y_dtype))
    return np.clip(total, bounds.min, bounds.max).astype(y_dtype)


def products(
    a: npt.NDArray[Any],
    b: npt.NDArray[Any],
    a_scale: float,
    a_zero: int,
    b_scale: float,
    b_zero: int,
    y_scale: float,
    y_zero: int,
) -> npt.NDArray[np.int64]:
    """Return y before it is clamped."""
    product = (a.astype(np.int32) - a_zero) * (b.astype(np.int32) - b_zero)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        ratio = np.float32(a_scale) * np.float32(b_scale) / np.float32(y_scale)
        total = product.astype(np.float32) * ratio + np.float32(y_zero)
    return to_integers(total)
