# SPDX-License-Identifier: Apache-2.0
"""Stacks of matrix products of two 8-bit activations, exact: the sums of QLinearMatMul."""

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.matmul import matmul

__all__ = ["product"]


def product(
    x: NDArray[np.integer], z: NDArray[np.integer], x_zero: int, z_zero: int
) -> NDArray[np.int32]:
    """Return sum over k of (x[m, k] - x_zero)(z[k, n] - z_zero), wrapped to int32.

    Parameters
    ----------
    x, z : ... x M x K and ... x K x N, int8 or uint8; leading axes broadcast.
    x_zero, z_zero : zero points.

    Raises
    ------
    ValueError
        On fewer than two axes or axes that do not fit.
    """
    if min(x.ndim, z.ndim) < 2 or x.shape[-1] != z.shape[-2]:
        raise ValueError(f"operands are {x.shape} and {z.shape}")
    return matmul(x, z, x_zero=x_zero, weight_zero=z_zero)
