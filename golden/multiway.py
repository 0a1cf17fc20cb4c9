# SPDX-License-Identifier: Apache-2.0
"""Multi-way quantization: every block is quantized in several ways, and the best one is kept.

After Cambricon-Q (ISCA 2021). The error estimates are those of the training algorithms that it
serves: cosine of Zhu et al. (arXiv 1912.12607), bias of Zhang et al. (arXiv 1911.00361), L1 and
L2. All of them are integers here, compared without a division, a root or a logarithm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kiwicha.golden.rounding import round_shift
from kiwicha.machine.modes import BlockCriterion
from kiwicha.machine.scales import QEM_THRESHOLD

__all__ = ["CRITERIA", "ChosenBlocks", "multiway_quantize"]

Int64Array = npt.NDArray[np.int64]

#: What the best way is chosen by.
CRITERIA = tuple(criterion.value for criterion in BlockCriterion)


@dataclass(frozen=True)
class ChosenBlocks:
    """A tensor whose blocks are quantized each in its own way.

    Members
    -------
    values : int8 array of the tensor's shape; a value has as many bits as its block's way.
    way : index of the way of each block, in order.
    shift : of each block; the scale is ``2**shift``.
    """

    values: npt.NDArray[np.int8]
    way: Int64Array
    shift: Int64Array


def multiway_quantize(
    x: npt.ArrayLike,
    block: int,
    ways: Sequence[tuple[int, int]],
    *,
    criterion: str = "l2",
    rounding: str = "half_even",
    threshold: int = QEM_THRESHOLD,
) -> ChosenBlocks:
    """Quantize int32 values in blocks of ``block`` consecutive elements (row-major).

    The last block may be shorter. With L the bit length of the block's greatest magnitude, way i
    of n bits and clip c gives ``q_i = saturate(round(x / 2**s_i))`` to n signed bits, with
    ``s_i = max(0, L - (n - 1) - c)``: each step of the clip halves the range. With
    ``y_i = q_i * 2**s_i`` and sums over the block, the way is the one

    - ``l1``: with the least sum of ``|x - y_i|``;
    - ``l2``: with the least sum of ``(x - y_i)**2``;
    - ``bias``: with the least ``e_i = |sum |x| - sum |y_i||``;
    - ``cosine``: with the greatest ``a_i**2 / b_i``, ``a_i = sum x * y_i``,
      ``b_i = sum y_i**2`` (way i beats way j if ``a_i**2 * b_j > a_j**2 * b_i``);
    - ``qem``: the first one with ``e_i * 2**16 <= threshold * sum |x|``, that is with
      ``log2(e_i / sum |x| + 1)`` at most the T of ``threshold = round((2**T - 1) * 2**16)``;
      where there is none, as ``bias``.

    Of equals it is the one with the lowest index.

    Parameters
    ----------
    ways : (bits 2 to 8, clip 0 to 7) of each way, 1 to 8 of them.
    rounding : one of ``golden.rounding.ROUNDINGS``, except ``lfsr``.
    threshold : 0 to 2**16.

    Raises
    ------
    ValueError
        For an argument out of range, or values beyond int32.
    """
    tensor = np.asarray(x, np.int64)
    _check(tensor, block, ways, criterion, rounding, threshold)
    blocks = -(-tensor.size // block)
    padded = np.zeros((blocks, block), np.int64)
    padded.reshape(-1)[: tensor.size] = tensor.ravel()
    tops = np.abs(padded).max(axis=1, initial=0)
    lengths = np.array([int(top).bit_length() for top in tops], np.int64)
    shifts = np.stack([np.maximum(lengths - (bits - 1) - clip, 0) for bits, clip in ways])
    quantized = np.stack([
        np.clip(
            round_shift(padded, shift[:, None], rounding), -1 << (bits - 1), (1 << (bits - 1)) - 1
        )
        for shift, (bits, _) in zip(shifts, ways, strict=True)
    ])
    best = _choose(padded, quantized << shifts[:, :, None], criterion, threshold)
    place = np.arange(blocks)
    values = quantized[best, place].reshape(-1)[: tensor.size].reshape(tensor.shape)
    return ChosenBlocks(values.astype(np.int8), best, shifts[best, place])


def _check(
    tensor: Int64Array,
    block: int,
    ways: Sequence[tuple[int, int]],
    criterion: str,
    rounding: str,
    threshold: int,
) -> None:
    if block < 1:
        raise ValueError(f"block is {block}; legal: at least 1")
    if not 1 <= len(ways) <= 8:
        raise ValueError(f"there are {len(ways)} ways; legal: 1 to 8")
    for bits, clip in ways:
        if not 2 <= bits <= 8:
            raise ValueError(f"bits is {bits}; legal: 2 to 8")
        if not 0 <= clip <= 7:
            raise ValueError(f"clip is {clip}; legal: 0 to 7")
    if criterion not in CRITERIA:
        raise ValueError(f"criterion is {criterion!r}; legal: {', '.join(CRITERIA)}")
    if rounding == "lfsr":
        raise ValueError("rounding is 'lfsr'; legal: any other")
    if not 0 <= threshold <= 1 << 16:
        raise ValueError(f"threshold is {threshold}; legal: 0 to 65536")
    if tensor.size and (tensor.min() < -(1 << 31) or tensor.max() >= 1 << 31):
        raise ValueError(f"x holds {tensor.min()} to {tensor.max()}; legal: int32")


def _choose(x: Int64Array, y: Int64Array, criterion: str, threshold: int) -> Int64Array:
    """Return each block's way; ``x`` is [blocks, block] and ``y`` [ways, blocks, block]."""
    if criterion == "cosine":
        # Elements of y have the sign of x or are 0, so that a is the sum of magnitudes' products.
        a, b = _dot(np.abs(x)[None], np.abs(y)), _dot(np.abs(y), np.abs(y))
        best = np.zeros(len(x), np.int64)
        for block in range(len(x)):
            for way in range(1, len(y)):
                j = best[block]
                if a[way, block] ** 2 * b[j, block] > a[j, block] ** 2 * b[way, block]:
                    best[block] = way
        return best
    total = np.abs(x).sum(axis=1)
    if criterion == "l1":
        error = np.abs(x - y).sum(axis=2)
    elif criterion == "l2":
        error = _dot(np.abs(x - y), np.abs(x - y))
    else:
        error = np.abs(total - np.abs(y).sum(axis=2))
    # The first of equals, as everywhere here.
    best = np.asarray(np.argmin(error, axis=0), np.int64)
    if criterion == "qem":
        # At most 2^15 elements of 2^31 keep these products within 64 bits; else Python integers.
        wide = object if x.shape[1] > 1 << 15 else np.int64
        passed = error.astype(wide) * (1 << 16) <= total.astype(wide) * threshold
        best = np.where(passed.any(axis=0), np.argmax(passed, axis=0), best)
    return best


def _dot(u: Int64Array, v: Int64Array) -> npt.NDArray[np.object_]:
    """Return the exact sums of products along the last axis; elements are 0 to 2**32."""
    low_u, low_v = u & 0xFFFF, v & 0xFFFF
    high_u, high_v = u >> 16, v >> 16
    high = (high_u * high_v).sum(axis=-1).astype(object)
    middle = (high_u * low_v + low_u * high_v).sum(axis=-1).astype(object)
    low = (low_u * low_v).sum(axis=-1).astype(object)
    return np.asarray((high << 32) + (middle << 16) + low)
