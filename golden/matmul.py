# SPDX-License-Identifier: Apache-2.0
"""Matrix product of 8-bit integers, exact: the sums of QLinearMatMul and QGemm."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kiwicha.golden.conv import wrap_int32

__all__ = ["matmul"]


def matmul(
    x: NDArray[np.integer],
    weights: NDArray[np.integer],
    *,
    x_zero: int = 0,
    weight_zero: ArrayLike = 0,
) -> NDArray[np.int32]:
    """Return the int32 accumulators ... x M x N, zero points taken off, wrapped to int32.

    Parameters
    ----------
    x : ... x M x K, int8 or uint8.
    weights : K x N, int8 or uint8.
    x_zero, weight_zero : zero points; the weights' one for all or one per column.
    """
    left = x.astype(np.float64) - x_zero
    right = weights.astype(np.float64) - np.asarray(weight_zero, np.float64)
    return wrap_int32((left @ right).astype(np.int64))
