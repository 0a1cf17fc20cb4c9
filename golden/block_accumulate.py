# SPDX-License-Identifier: Apache-2.0
"""Products of int8 matrices whose blocks along the reduction have exponents of their own.

``y = sum over b of 2^(x_exponent[b] + w_exponent[b]) * p[b]``, p the int32 sum of products of block
b, as local dynamic quantization (Cambricon-Q, ISCA 2021) leaves it. Cambricon-Q's results depend on
buffer sizes. Here they do not:

- exact: a fixed-point super-accumulator (after Kulisch) adds every block where it belongs. No bit
  is lost within a window of exponents, so that order and grouping of blocks do not matter.
- aligned: a 32-bit accumulator with an exponent that follows the greatest one so far; what is
  smaller is shifted right. Cheaper, and defined by blocks in ascending order only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.rounding import round_shift
from kiwicha.machine.blocks import WINDOW, exact_width

__all__ = ["WINDOW", "BlockSum", "accumulate_aligned", "accumulate_exact", "block_products",
           "exact_width"]

Int64Array = NDArray[np.int64]

_LOW, _HIGH = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True)
class BlockSum:
    """A result, ``sums * 2^exponents``.

    Members
    -------
    sums : int64; of the exact mode in `exact_width` bits, of the aligned mode in 32.
    exponents : int64, broadcasts to ``sums``.
    clamped : products that lay outside the window (exact), or sums that saturated (aligned).
    """

    sums: Int64Array
    exponents: Int64Array
    clamped: int


def block_products(
    x: NDArray[np.integer],
    x_exponents: NDArray[np.integer],
    w: NDArray[np.integer],
    w_exponents: NDArray[np.integer],
    block: int,
) -> tuple[Int64Array, Int64Array]:
    """Return the sums of products of each block and their exponents, both int64[blocks, M, N].

    Parameters
    ----------
    x : int8[M, K]; w : int8[K, N].
    x_exponents : [M, blocks]; w_exponents : [blocks, N]; of ``block`` values along K each, the last
        block being shorter where they do not divide K.

    Raises
    ------
    ValueError
        Where shapes do not fit, or a block is so long that its sum may leave int32.
    """
    depth, blocks = x.shape[1], -(-x.shape[1] // block)
    shapes = (x.shape[0], blocks), (blocks, w.shape[1])
    if w.shape[0] != depth or (x_exponents.shape, w_exponents.shape) != shapes:
        raise ValueError(
            f"operands {x.shape} and {w.shape} in blocks of {block}, exponents "
            f"{x_exponents.shape} and {w_exponents.shape}"
        )
    if not 1 <= block < 1 << 17:
        raise ValueError(f"block is {block}; legal: 1 to {(1 << 17) - 1}")
    sums = [
        x[:, k : k + block].astype(np.int64) @ w[k : k + block].astype(np.int64)
        for k in range(0, depth, block)
    ]
    exponents = x_exponents.T.astype(np.int64)[:, :, None] + w_exponents[:, None, :]
    return np.stack(sums), exponents


def accumulate_exact(
    products: NDArray[np.integer],
    exponents: NDArray[np.integer],
    low: int,
    window: int = WINDOW,
) -> BlockSum:
    """Return the sum over the first axis in a super-accumulator whose lowest bit weighs 2^low.

    Each product is moved into the window by itself, before it is added, so that the order does not
    matter: an exponent E below ``low`` shifts it right (half to even), one above ``low + window -
    1`` shifts it left by what is too much and saturates it to int32. Inside the window it is exact.

    Parameters
    ----------
    products : int32 values [blocks, ...]; exponents : broadcasts to them.
    low : the least exponent of the window.

    Raises
    ------
    ValueError
        Where the accumulator would have more than 64 bits, or products leave int32.
    """
    p, e = _operands(products, exponents)
    exact_width(len(p), window)
    high = low + window - 1
    # 40 bits to the right nothing is left of an int32, 32 to the left nothing of its size.
    p = round_shift(p, np.clip(low - e, 0, 40), "half_even")
    p = np.clip(p << np.clip(e - high, 0, 32), _LOW, _HIGH)
    shift = np.clip(e, low, high) - low
    sums = (p << shift).sum(axis=0)
    outside = int(((e < low) | (e > high)).sum())
    return BlockSum(sums, np.full_like(sums, low), outside)


def accumulate_aligned(
    products: NDArray[np.integer], exponents: NDArray[np.integer]
) -> BlockSum:
    """Return the sum over the first axis, ascending, in 32 bits with a running exponent.

    The first block is taken as it is. For each further one the greater exponent of it and the
    accumulator stays, the other's integer is shifted right by the difference (half to even), and
    the sum saturates to int32.

    Parameters
    ----------
    products : int32 values [blocks, ...]; exponents : broadcasts to them.

    Raises
    ------
    ValueError
        Where products leave int32.
    """
    p, e = _operands(products, exponents)
    total, running, saturated = p[0], e[0].copy(), 0
    for value, exponent in zip(p[1:], e[1:], strict=True):
        above = np.maximum(running, exponent)
        held = round_shift(total, np.minimum(above - running, 40), "half_even")
        added = held + round_shift(value, np.minimum(above - exponent, 40), "half_even")
        total, running = np.clip(added, _LOW, _HIGH), above
        saturated += int((total != added).sum())
    return BlockSum(total, running, saturated)


def _operands(
    products: NDArray[np.integer], exponents: NDArray[np.integer]
) -> tuple[Int64Array, Int64Array]:
    p = np.asarray(products, np.int64)
    if p.size and (p.min() < _LOW or p.max() > _HIGH):
        raise ValueError(f"products are {p.min()} to {p.max()}; legal: int32")
    return p, np.broadcast_to(np.asarray(exponents, np.int64), p.shape)
