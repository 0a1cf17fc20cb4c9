# SPDX-License-Identifier: Apache-2.0
"""Which layer used which cycles of a run in which layers overlap."""

from collections.abc import Sequence

import numpy as np

from kiwicha.machine.config import AcceleratorConfig

__all__ = ["layer_shares", "utilization"]


def layer_shares(ends: Sequence[int], needed: Sequence[int], total: int) -> list[int]:
    """Return the cycles of each layer; their sum is ``total``.

    A layer has the time from the end of the one before to its own end. Where it was at work before
    that end, beside an addition or a table that takes the array no time, it would seem to be faster
    than the machine can be. So each layer has at least the cycles that it needed, taken from the
    layers beside which it ran.

    Parameters
    ----------
    ends : when each layer was finished, in cycles from the start, ascending.
    needed : cycles that each layer's busiest engine worked for it; 0 for layers that give way.
    total : cycles of the whole run, at least the last end. What follows that end is the last
        layer's.
    """
    if not ends:
        return []
    finish = [0, *ends[:-1], total]
    for index in range(len(finish) - 1, 1, -1):
        latest = finish[index] - needed[index - 1]
        finish[index - 1] = max(0, min(finish[index - 1], latest))
    return [int(cycles) for cycles in np.diff(finish)]


def utilization(macs: int, cycles: int, config: AcceleratorConfig) -> float:
    """Return the share of the array's multiplications in ``cycles`` that are useful ones."""
    return macs / (cycles * config.rows * config.columns) if cycles else 0.0
