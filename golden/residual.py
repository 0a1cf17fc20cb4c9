# SPDX-License-Identifier: Apache-2.0
"""A sum on VECTOR's way out: two bytes through a table each, added up, rounded and clamped.

The tables hold fixed-point numbers, so that the unit knows no scales. Which numbers give the sums
of a runtime for all pairs of bytes, `machine.sum_tables` finds out.
"""

import numpy as np
from numpy.typing import NDArray

from kiwicha.machine.sum_tables import round_sums

__all__ = ["beyond", "residual_sum"]

_ENTRIES = 256


def residual_sum(
    table: NDArray[np.uint8], results: NDArray[np.uint8], addends: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return the low bytes of clamp(round_sums(A[result] + B[addend])).

    Parameters
    ----------
    table : uint8[beats, bytes of a beat], as LOAD writes it: `machine.isa.LoadTarget.SUMS`.
    results, addends : raw bytes, int8 or uint8 alike.
    """
    total, low, high = _totals(table, results, addends)
    return np.clip(total, low, high).astype(np.uint8)


def beyond(
    table: NDArray[np.uint8], results: NDArray[np.uint8], addends: NDArray[np.uint8]
) -> int:
    """Return how many of these sums are clamped."""
    total, low, high = _totals(table, results, addends)
    return int(((total < low) | (total > high)).sum())


def _totals(
    table: NDArray[np.uint8], results: NDArray[np.uint8], addends: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], int, int]:
    words = np.ascontiguousarray(table[:_ENTRIES, :8]).view("<i4").astype(np.int64)
    low, high = table[_ENTRIES, :4].copy().view("<i2")
    total = round_sums(words[results, 0] + words[addends, 1])
    return total, int(low), int(high)
