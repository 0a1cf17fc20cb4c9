# SPDX-License-Identifier: Apache-2.0
"""What the systolic array computes: a product of integer matrices in int32.

int32 addition wraps in two's complement, as in ONNX MatMulInteger and every CPU kernel, so the
order of the additions and the size of the array never change a bit.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["OPERAND_MAX", "OPERAND_MIN", "column_filter", "matmul"]

OPERAND_MIN = -256
OPERAND_MAX = 255
"""Operands are 9 bits: int8 or uint8 with the zero point taken off."""


def matmul(activations: ArrayLike, weights: ArrayLike) -> NDArray[np.int32]:
    """Return ``activations @ weights`` modulo 2^32, as int32.

    Parameters
    ----------
    activations : vectors x reduction, 9-bit signed integers.
    weights : reduction x channels, 9-bit signed integers.

    Raises
    ------
    ValueError
        For an operand outside 9 bits.
    """
    left, right = _operands(activations, weights)
    return _wrapped(left @ right)


def column_filter(activations: ArrayLike, weights: ArrayLike) -> NDArray[np.int32]:
    """Return for each vector and column the sum of taps: row r's weight times the column's own lane
    of the vector r later; modulo 2^32, as int32. The last ``taps`` - 1 vectors have no sum.

    Parameters
    ----------
    activations : vectors x lanes, 9-bit signed integers; columns beyond the lanes have zeros.
    weights : taps x columns, 9-bit signed integers.

    Raises
    ------
    ValueError
        For an operand outside 9 bits.
    """
    lanes, taps = _operands(activations, weights)
    columns, sums = taps.shape[1], max(0, len(lanes) - len(taps) + 1)
    own = np.zeros((len(lanes), columns), np.int64)
    own[:, : lanes.shape[1]] = lanes[:, :columns]
    total = np.zeros((sums, columns), np.int64)
    for row, tap in enumerate(taps):
        total += own[row : row + sums] * tap
    return _wrapped(total)


def _operands(activations: ArrayLike, weights: ArrayLike) -> list[NDArray[np.int64]]:
    operands = [np.asarray(operand, np.int64) for operand in (activations, weights)]
    for name, operand in zip(("activations", "weights"), operands, strict=True):
        if operand.size and (operand.min() < OPERAND_MIN or operand.max() > OPERAND_MAX):
            raise ValueError(f"{name} outside {OPERAND_MIN} to {OPERAND_MAX}")
    return operands


def _wrapped(total: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return sums in int32; int64 is exact, as 2^63 / 2^16 terms are more than any memory holds."""
    return total.astype(np.uint64).astype(np.uint32).view(np.int32)
