# SPDX-License-Identifier: Apache-2.0
"""Backward rules of what works on single elements: Relu, Clip, sums, and tensors read repeatedly.

An error is int8 with an exponent, ``q * 2^e``. Relu and Clip mask it by what the forward pass
wrote, so that nothing but results is kept for the backward pass.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_error", "clip_error", "join_errors", "relu_error"]

Int64Array = NDArray[np.int64]

#: Bits that exponents of errors which meet may differ by: int8 shifted so far fits 64 bits well.
REACH = 48


def relu_error(error: NDArray[np.integer], y: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return ``error`` where the result ``y`` of the Relu is above 0, else 0; same exponent."""
    return np.where(y > 0, error, 0).astype(error.dtype)


def clip_error(
    error: NDArray[np.integer], y: NDArray[np.integer], low: int, high: int
) -> NDArray[np.integer]:
    """Return ``error`` where the result ``y`` of a Clip to ``low`` .. ``high`` is neither of them,
    else 0; same exponent.

    A code of a limit has been cut off or not; both are cut off here, as at Relu's 0.

    Raises
    ------
    ValueError
        Where ``low`` is not below ``high``.
    """
    if low >= high:
        raise ValueError(f"low is {low}, high {high}; legal: low below high")
    return np.where((y > low) & (y < high), error, 0).astype(error.dtype)


def add_error(error: NDArray[np.integer], shape: tuple[int, ...]) -> Int64Array:
    """Return the error of one operand, of ``shape``, of a sum: int64, same exponent.

    It is the sum's, whatever the operand's own exponent, added up over axes along which the operand
    was broadcast.

    Raises
    ------
    ValueError
        Where ``shape`` does not broadcast to the error's.
    """
    try:
        fits = np.broadcast_shapes(error.shape, shape) == error.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"an operand of {shape} does not broadcast to {error.shape}")
    lead = error.ndim - len(shape)
    total = error.astype(np.int64).sum(axis=tuple(range(lead)))
    axes = tuple(k for k, n in enumerate(shape) if n == 1 and error.shape[lead + k] != 1)
    return np.asarray(total.sum(axis=axes, keepdims=True))


def join_errors(
    errors: Sequence[NDArray[np.integer]], exponents: Sequence[int]
) -> tuple[Int64Array, int]:
    """Return the error of a tensor that several layers read: the exact sum of their errors, int64,
    and its exponent, the least of theirs.

    Parameters
    ----------
    errors : arrays of one shape, integers of at most 8 bits.
    exponents : one for each.

    Raises
    ------
    ValueError
        Without errors, or where exponents differ by more than 48.
    """
    if not errors or len(errors) != len(exponents):
        raise ValueError(f"{len(errors)} errors and {len(exponents)} exponents")
    least, most = min(exponents), max(exponents)
    if most - least > REACH:
        raise ValueError(f"exponents are {least} to {most}; legal: at most {REACH} apart")
    total = np.zeros(errors[0].shape, np.int64)
    for error, exponent in zip(errors, exponents, strict=True):
        total += error.astype(np.int64) << (exponent - least)
    return total, least
