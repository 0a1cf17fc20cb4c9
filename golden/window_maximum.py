# SPDX-License-Identifier: Apache-2.0
"""Maximum pooling of accumulators, as VECTOR's windows have it.

A result is requantized from the greatest int32 of its window. Requantizing, bias added without
wrapping, never decreases (`golden.requantize`: conversion, product and rounding of every mode are
monotone for scales that are not negative), so that it is the greatest of the window's codes.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["window_entries", "window_maximum"]


def window_entries(
    first: int, pixels: int, lines: int, window: dict[str, int], row_entries: int
) -> NDArray[np.int64]:
    """Return the accumulator entries of each result, [lines * pixels, rows * columns].

    Parameters
    ----------
    first : entry of the first window's corner.
    window : the fields of `machine.window.WINDOW`.
    row_entries : from one row of a window to the next.
    """
    line, pixel, row, column = np.ix_(
        *(np.arange(size) for size in (lines, pixels, window["rows"], window["columns"]))
    )
    entries = first + line * window["line_entries"] + pixel * window["pixel_entries"]
    found = entries + row * row_entries + column
    return np.asarray(found.reshape(lines * pixels, -1))


def window_maximum(
    accumulator: NDArray[np.int32], entries: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return the maximum of each window, [windows, columns].

    Parameters
    ----------
    accumulator : int32 [entries, columns].
    entries : of each window, [windows, entries of a window].
    """
    return np.asarray(accumulator[entries].max(axis=1))
