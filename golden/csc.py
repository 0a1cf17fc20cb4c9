# SPDX-License-Identifier: Apache-2.0
"""Compressed sparse columns as bytes: relative (EIE, ISCA 2016) or absolute indices, a codebook.

A stream is, in this order, everything little endian and least significant bit first:

1. with a codebook, its 16 bytes; the first one is 0;
2. for each column, the number of entries up to its end, modulo 2**16, as uint16; zeros up to a
   multiple of 8 bytes;
3. the entries of all columns without gaps: ``index_bits`` of index, then the value (8 bits) or
   its place in the codebook (4 bits); zeros up to a multiple of ``beat_bytes``.

A relative index is the number of zeros before the value. Where more precede it, entries with the
value 0 and the largest index stand for one zero more than that index each. Zeros after a column's
last value are not stored. A column has at most 65535 elements, hence the modulus.
"""

import numpy as np
from numpy.typing import NDArray

from kiwicha.machine.formats import CODE_BITS, CODEBOOK_ENTRIES, entries
from kiwicha.machine.formats import encode_csc as encode

__all__ = ["decode", "encode", "entries", "unpack_bits"]


def unpack_bits(octets: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.int64]:
    """Return the first ``count`` words of ``bits`` bits; ValueError where there are fewer."""
    planes = np.unpackbits(octets, bitorder="little")
    if len(planes) < bits * count:
        raise ValueError(f"truncated: {len(octets)} bytes left, {count} entries of {bits} bits due")
    powers = np.int64(1) << np.arange(bits, dtype=np.int64)
    return planes[: bits * count].reshape(count, bits).astype(np.int64) @ powers


def decode(
    octets: NDArray[np.uint8],
    length: int,
    columns: int,
    *,
    index_bits: int = 4,
    relative: bool = True,
    codebook: bool = False,
    beat_bytes: int = 16,
) -> NDArray[np.int8]:
    """Return the ``length`` x ``columns`` matrix of a stream.

    Raises
    ------
    ValueError
        Where the stream is not one that ``encode`` could have made, up to needless paddings.
    """
    value_bits = CODE_BITS if codebook else 8
    book = octets[:CODEBOOK_ENTRIES].view(np.int8)
    start = CODEBOOK_ENTRIES if codebook else 0
    middle = start + -(-columns // 4) * 8
    if len(octets) < middle:
        raise ValueError("truncated: no room for the column pointers")
    if codebook and book[0] != 0:
        raise ValueError("codebook: the first value is not 0")
    pointers = octets[start:middle].view("<u2").astype(np.int64)
    counts = np.diff(pointers[:columns], prepend=0) % (1 << 16)
    if (counts > length).any():
        raise ValueError(f"pointer: a column of {counts.max()} entries, {length} elements")
    total, bits = int(counts.sum()), index_bits + value_bits
    words = unpack_bits(octets[middle:], bits, total)
    fill = np.unpackbits(octets[middle:], bitorder="little")[total * bits :]
    if pointers[columns:].any() or fill.any():
        raise ValueError("padding: non-zero bits after the last pointer or entry")
    if len(fill) >= 8 * beat_bytes:
        raise ValueError("trailing: beats after the last entry")
    index, raw = words & ((1 << index_bits) - 1), words >> index_bits
    column = np.repeat(np.arange(columns), counts)
    if relative:
        steps = np.cumsum(index + 1)
        ends = np.cumsum(counts)
        row = steps - np.concatenate([[0], steps])[ends - counts][column] - 1
        empty = (raw == 0) & (index != (1 << index_bits) - 1)
    else:
        row, empty = index, raw == 0
        if (np.diff(row)[np.diff(column) == 0] <= 0).any():
            raise ValueError("order: indices of a column do not rise")
    if (row >= length).any():
        raise ValueError(f"index: {row.max()} in a column of {length}")
    if empty.any():
        raise ValueError("padding: a value of 0 that is none")
    matrix = np.zeros((length, columns), np.int8)
    matrix[row, column] = book[raw] if codebook else raw.astype(np.uint8).view(np.int8)
    return matrix
