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

__all__ = ["CODEBOOK_ENTRIES", "decode", "encode", "entries", "pack_bits", "pad_bytes",
           "unpack_bits"]  # fmt: skip

CODEBOOK_ENTRIES = 16
CODE_BITS = 4
LONGEST = 65535


def pack_bits(words: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Return the low ``bits`` of each word, one after the other, as bytes; the last is filled."""
    planes = words.astype(np.uint64)[:, None] >> np.arange(bits, dtype=np.uint64)
    return np.packbits((planes & np.uint64(1)).astype(np.uint8).ravel(), bitorder="little")


def unpack_bits(octets: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.int64]:
    """Return the first ``count`` words of ``bits`` bits; ValueError where there are fewer."""
    planes = np.unpackbits(octets, bitorder="little")
    if len(planes) < bits * count:
        raise ValueError(f"truncated: {len(octets)} bytes left, {count} entries of {bits} bits due")
    powers = np.int64(1) << np.arange(bits, dtype=np.int64)
    return planes[: bits * count].reshape(count, bits).astype(np.int64) @ powers


def pad_bytes(octets: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Return ``octets`` with zeros up to a multiple of ``multiple``."""
    return np.pad(octets, (0, -len(octets) % multiple))


def entries(
    matrix: NDArray[np.integer], index_bits: int, *, relative: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return values, indices and the ends of the columns (n + 1, from 0) of an L x n matrix."""
    if matrix.ndim != 2 or not 1 <= matrix.shape[0] <= LONGEST:
        raise ValueError(f"matrix has shape {matrix.shape}; legal: 1 to {LONGEST} rows")
    column, row = np.nonzero(matrix.T)
    value = matrix.T[column, row].astype(np.int64)
    if relative:
        before = np.where(np.diff(column, prepend=-1) != 0, -1, np.roll(row, 1))
        paddings, index = np.divmod(row - before - 1, 1 << index_bits)
    else:
        if matrix.shape[0] > 1 << index_bits:
            raise ValueError(f"index_bits is {index_bits}; {matrix.shape[0]} rows need more")
        paddings, index = np.zeros_like(row), row
    place = np.cumsum(paddings + 1) - 1
    stored = int(place[-1]) + 1 if len(place) else 0
    values = np.zeros(stored, np.int64)
    indices = np.full(stored, (1 << index_bits) - 1, np.int64)
    values[place], indices[place] = value, index
    counts = np.bincount(column, weights=paddings + 1, minlength=matrix.shape[1]).astype(np.int64)
    return values, indices, np.concatenate([[0], np.cumsum(counts)])


def encode(
    matrix: NDArray[np.int8],
    *,
    index_bits: int = 4,
    relative: bool = True,
    codebook: NDArray[np.int8] | None = None,
    beat_bytes: int = 16,
) -> NDArray[np.uint8]:
    """Return the stream of an L x n matrix.

    Raises
    ------
    ValueError
        An illegal codebook, a value that is not in it, or a matrix the indices do not reach.
    """
    values, indices, ends = entries(matrix, index_bits, relative=relative)
    head = np.zeros(0, np.uint8)
    value_bits = 8
    if codebook is not None:
        if codebook.shape != (CODEBOOK_ENTRIES,) or codebook[0] != 0:
            raise ValueError("codebook is illegal; legal: 16 values, the first one 0")
        order = np.argsort(codebook, kind="stable")
        found = np.searchsorted(codebook[order], values).clip(max=CODEBOOK_ENTRIES - 1)
        codes = np.where(values == 0, 0, order[found])
        if (codebook[codes] != values).any():
            missing = values[codebook[codes] != values][0]
            raise ValueError(f"value {missing} is not in the codebook")
        values, value_bits, head = codes, CODE_BITS, codebook.view(np.uint8)
    pointers = pad_bytes((ends[1:] % (1 << 16)).astype("<u2").view(np.uint8), 8)
    words = indices | ((values & ((1 << value_bits) - 1)) << index_bits)
    body = pack_bits(words, index_bits + value_bits)
    return pad_bytes(np.concatenate([head, pointers, body]), beat_bytes)


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
