# SPDX-License-Identifier: Apache-2.0
"""Run-length coding as bytes (after Eyeriss, ISSCC 2016), without pointers.

The entries of all columns without gaps, least significant bit first: ``index_bits`` of zeros
before the value, then the 8-bit value; zeros up to a multiple of ``beat_bytes``. Longer runs are
entries with the value 0 and the largest index, as in golden.csc. A column ends with the entry at
its last element, which alone may be a 0 with a smaller index.
"""

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden import csc
from kiwicha.machine.formats import encode_run_length as encode

__all__ = ["decode", "encode"]


def decode(
    octets: NDArray[np.uint8],
    length: int,
    columns: int,
    *,
    index_bits: int = 4,
    beat_bytes: int = 16,
) -> NDArray[np.int8]:
    """Return the ``length`` x ``columns`` matrix of a stream.

    Raises
    ------
    ValueError
        Where an entry crosses a column's end, is a 0 that is none, or is missing, and where more
        than zeros up to the next beat follow the last one.
    """
    bits = index_bits + 8
    words = csc.unpack_bits(octets, bits, len(octets) * 8 // bits)
    index, raw = words & ((1 << index_bits) - 1), words >> index_bits
    place = np.cumsum(index + 1) - 1
    total = length * columns
    used = int(np.searchsorted(place, total))
    lasts = np.arange(length - 1, total, length)
    if used == 0 or place[used - 1] != total - 1:
        raise ValueError("truncated, or index: the last entry is not at the last element")
    place, index, raw = place[:used], index[:used], raw[:used]
    if not np.isin(lasts, place).all():
        raise ValueError("index: an entry crosses a column's end")
    empty = (raw == 0) & (index != (1 << index_bits) - 1) & ~np.isin(place, lasts)
    fill = np.unpackbits(octets, bitorder="little")[used * bits :]
    if empty.any() or fill.any():
        raise ValueError("padding: a value of 0 that is none, or non-zero bits after the entries")
    if len(fill) >= 8 * beat_bytes:
        raise ValueError("trailing: beats after the last entry")
    flat = np.zeros(total, np.int8)
    flat[place] = raw.astype(np.uint8).view(np.int8)
    return flat.reshape(columns, length).T
