# SPDX-License-Identifier: Apache-2.0
"""com.microsoft.QLinearConcat: 8-bit tensors of different scales side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["concat", "requantized_codes"]

Operand = tuple[NDArray[Any], np.float32, int]


def requantized_codes(
    x: NDArray[Any], x_scale: np.float32, x_zero: int, y_scale: np.float32, y_zero: int
) -> NDArray[Any]:
    """Return the codes of ``x`` in another scale and zero point of the same type.

    As they are where both are equal; else DequantizeLinear and QuantizeLinear in binary32: product,
    quotient, clamp, half to even.
    """
    if (x_scale, x_zero) == (y_scale, y_zero):
        return x
    info = np.iinfo(x.dtype)
    with np.errstate(over="ignore"):
        real = (x.astype(np.int32) - x_zero).astype(np.float32) * np.float32(x_scale)
        ratio = np.clip(real / np.float32(y_scale), info.min - y_zero, info.max - y_zero)
    return (np.rint(ratio).astype(np.int32) + y_zero).astype(x.dtype)


def concat(
    operands: Sequence[Operand], axis: int, y_scale: np.float32, y_zero: int
) -> NDArray[Any]:
    """Return the operands, each (codes, scale, zero point), one after the other along an axis."""
    return np.concatenate(
        [requantized_codes(x, scale, zero, y_scale, y_zero) for x, scale, zero in operands], axis
    )
