# SPDX-License-Identifier: Apache-2.0
"""A bit for every element and a byte for every one that is not zero.

For each dense row of ``lanes`` elements, its mask (bit l for lane l, ``lanes`` / 8 bytes), then
its non-zero values from lane 0 up; after the last row, zeros up to a multiple of ``beat_bytes``.
"""

import numpy as np
from numpy.typing import NDArray

from kiwicha.machine.formats import encode_bitmask as encode

__all__ = ["decode", "encode"]


def decode(
    octets: NDArray[np.uint8], rows: int, lanes: int, *, beat_bytes: int = 16
) -> NDArray[np.int8]:
    """Return the dense rows, ``rows`` x ``lanes``, of a stream.

    Raises
    ------
    ValueError
        Where the stream ends early, holds a 0 as value, or more than zeros up to the next beat
        follow the last row.
    """
    if lanes < 8 or lanes % 8:
        raise ValueError(f"lanes is {lanes}; legal: multiples of 8")
    out = np.zeros((rows, lanes), np.int8)
    width, at = lanes // 8, 0
    # Where a row starts depends on every mask before it: one step a row, vectors within.
    for row in range(rows):
        used = np.unpackbits(octets[at : at + width], bitorder="little").astype(bool)
        at += width + int(used.sum())
        if at > len(octets) or len(used) < lanes:
            raise ValueError(f"truncated: row {row} is not complete")
        out[row, used] = octets[at - int(used.sum()) : at].view(np.int8)
        if (out[row, used] == 0).any():
            raise ValueError(f"padding: row {row} has a value of 0 in its mask")
    if octets[at:].any():
        raise ValueError("padding: non-zero bytes after the last row")
    if len(octets) - at >= beat_bytes:
        raise ValueError("trailing: beats after the last row")
    return out
