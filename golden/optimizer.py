# SPDX-License-Identifier: Apache-2.0
"""One step of an optimizer in fixed point, after Cambricon-Q's NDPO (ISCA 2021).

Formats, and what a step is, stand in `machine.optimizer`. The reciprocal of the root is defined by
its recipe: v is shifted left by an even number of bits until n = v / 2^30 is in [1, 4), a table of
256 entries of 10 bits gives y, and two steps of Newton's method, y <- y (3 - n y y) / 2, make it
exact to 2^-28, all in Q2.30, every product cut off.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from kiwicha.machine.optimizer import CODE, MOMENT_BITS, RATE_BASE, ROOT_TABLE, SCALE_BASE

__all__ = ["Int64Array", "accumulate", "inverse_root", "optimize"]

Int64Array = npt.NDArray[np.int64]

_TABLE = np.array(ROOT_TABLE, np.int64)
_ONE = 1 << 30


def _rounded(value: Int64Array, shift: int) -> Int64Array:
    """Shift right, to nearest, halves up; left if negative."""
    if shift <= 0:
        return value << -shift
    return ((value >> (shift - 1)) + 1) >> 1


def _saturated(value: Int64Array, bits: int, over: npt.NDArray[np.bool_]) -> Int64Array:
    """Cut to so many signed bits; ``over`` learns where that changed something."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    over |= (value < low) | (value > high)
    return np.clip(value, low, high)


def inverse_root(v: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return y and k with ``y 2^k / 2^30`` for ``1 / sqrt(v / 2^32)``.

    ``v`` is 0 to 2^32 - 1, y 2^29 to 2^30 - 1, k 1 to 16. Where v is 0 it is as where v is 1,
    2^16 less a unit.
    """
    value = np.maximum(np.asarray(v, np.int64), 1)
    pairs = (np.frexp(value.astype(np.float64))[1] + 1) // 2  # bits of v, in pairs
    n = value << (32 - 2 * pairs)
    y = _TABLE[n >> 24] << 20
    for _ in range(2):
        square = (y * y) >> 30
        y = (y * (3 * _ONE - ((n * square) >> 30))) >> 31
    return y, 17 - pairs


def optimize(
    fields: Mapping[str, int],
    w: Int64Array,
    m: Int64Array,
    v: Int64Array,
    gradient: Int64Array,
) -> tuple[Int64Array, Int64Array, Int64Array, npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    """Return new w, m and v, the int8 weights, and which elements saturated in any place.

    Parameters
    ----------
    fields : of UPDATE, without ``accumulate``; others than those of `UPDATE_FIELDS` are ignored.
    w, m, v : int32, int24 and uint32 as int64; m and v mean nothing without ``momentum``, ``root``.
    gradient : int8 or int32.
    """
    w, m, v, a = (np.asarray(x, np.int64) for x in (w, m, v, gradient))
    over = np.zeros(w.shape, bool)
    g = _saturated(_rounded(a, fields["gradient_shift"]), MOMENT_BITS, over)
    decay = _rounded(fields["c6"] * w, SCALE_BASE + fields["decay_shift"])
    g = _saturated(g + decay, MOMENT_BITS, over)
    t = g
    if fields["momentum"]:
        m = _saturated(_rounded(fields["c1"] * m + fields["c2"] * g, SCALE_BASE), MOMENT_BITS, over)
        t = m
    if fields["root"]:
        taken = _rounded(fields["c4"] * (g * g), SCALE_BASE + fields["second_shift"])
        total = _rounded(fields["c3"] * v, SCALE_BASE) + taken
        over |= total >= 1 << 32
        v = np.minimum(total, (1 << 32) - 1)
        y, k = inverse_root(np.minimum(v + fields["epsilon"], (1 << 32) - 1))
        t = _saturated(((t * y >> (29 - k)) + 1) >> 1, 32, over)
    w = _saturated(w - _rounded(fields["c5"] * t, RATE_BASE + fields["rate_shift"]), 32, over)
    codes = np.clip(_rounded(w, fields["code_shift"]), -CODE, CODE).astype(np.int8)
    return w, m, v, codes, over


def accumulate(
    fields: Mapping[str, int], total: Int64Array, gradient: Int64Array
) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
    """Return the int32 sums of gradients, and which of them saturated.

    With ``begin`` they are the gradients themselves, which saturate where they are shifted left.
    """
    a = np.asarray(gradient, np.int64)
    over = np.zeros(a.shape, bool)
    a = _saturated(_rounded(a, fields["gradient_shift"]), 32, over)
    before = np.zeros_like(a) if fields["begin"] else np.asarray(total, np.int64)
    return _saturated(before + a, 32, over), over
