# SPDX-License-Identifier: Apache-2.0
"""Whether what a bench calls random is: the right rate, no repetition, no likeness of two sides."""

import math

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["check_random"]

_LAGS = 2048


def check_random(events: ArrayLike, probability: float) -> None:
    """Fail unless ``events``, by cycle and channel, could be of chance alone.

    Each bound is six standard deviations. Correlations, in a channel and between two, are looked
    for up to a lag of 2048 cycles; give four times as many.
    """
    found = np.asarray(events, bool)
    cycles = len(found)
    assert cycles >= 4 * _LAGS, f"{cycles} cycles are too few"
    deviation = math.sqrt(probability * (1 - probability))
    rates = found.mean(axis=0)
    assert np.abs(rates - probability).max() <= 6 * deviation / math.sqrt(cycles), f"rates: {rates}"
    centred = (found - probability) / deviation
    for lag in range(_LAGS + 1):
        length = cycles - lag
        likeness = np.abs(centred[:length].T @ centred[lag:]) / math.sqrt(length)
        if lag == 0:
            np.fill_diagonal(likeness, 0)
        a, b = np.unravel_index(likeness.argmax(), likeness.shape)
        assert likeness[a, b] < 6, f"channels {a} and {b}, lag {lag}"
