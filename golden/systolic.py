# SPDX-License-Identifier: Apache-2.0
"""What the systolic array computes: a product of integer matrices in int32.

int32 addition wraps in two's complement, as in ONNX MatMulInteger and every CPU kernel, so the
order of the additions and the size of the array never change a bit.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["OPERAND_MAX", "OPERAND_MIN", "matmul"]

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
    operands = [np.asarray(operand, np.int64) for operand in (activations, weights)]
    for name, operand in zip(("activations", "weights"), operands, strict=True):
        if operand.size and (operand.min() < OPERAND_MIN or operand.max() > OPERAND_MAX):
            raise ValueError(f"{name} outside {OPERAND_MIN} to {OPERAND_MAX}")
    # int64 is exact here: 2^63 / 2^16 terms are more than any memory holds.
    return (operands[0] @ operands[1]).astype(np.uint64).astype(np.uint32).view(np.int32)
