# SPDX-License-Identifier: Apache-2.0
"""Encoders of the compressed formats of `machine.isa.WeightFormat`, in NumPy.

What the bytes mean is written in `golden.csc`, `golden.csr`, `golden.bitmask` and
`golden.run_length`, which decode them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import WeightFormat

__all__ = [
    "ABSOLUTE_BITS", "CODEBOOK_ENTRIES", "CODE_BITS", "INDEX_BITS", "LONGEST", "MOST_COLUMNS",
    "Stream", "compressed_formats", "encode", "encode_bitmask", "encode_csc", "encode_csr",
    "encode_run_length", "entries", "least_bytes", "pad_bytes",
]

CODEBOOK_ENTRIES = 16
CODE_BITS = 4
LONGEST = 65535
"""Elements of a column at most."""
MOST_COLUMNS = 1024
"""Columns with pointers that a decoder of LOAD takes at most."""
ABSOLUTE_BITS = 10
"""Width of an index that is a place, in LOAD's decoders."""
INDEX_BITS = {
    WeightFormat.CSC4: 4,
    WeightFormat.CSC5: 5,
    WeightFormat.CSC8: 8,
    WeightFormat.CSC4_CODEBOOK: 4,
    WeightFormat.RUN_LENGTH: 4,
}
"""Width of an index that counts zeros, in LOAD's decoders."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Dense rows as LOAD decodes them.

    Members
    -------
    octets : uint8, whole beats.
    columns, rows : columns of the stream, and dense rows of each.
    entries : entries that end in each of the dense rows; none are counted in a bitmask.
    """

    octets: NDArray[np.uint8]
    columns: int
    rows: int
    entries: NDArray[np.int64]


def compressed_formats(config: AcceleratorConfig) -> tuple[WeightFormat, ...]:
    """Return the compressed formats that a machine decodes."""
    return tuple(WeightFormat[name.upper().replace("-", "_")] for name in config.sparse.formats)


def encode(form: WeightFormat, rows: NDArray[np.uint8], beat_bytes: int) -> Stream | None:
    """Return the shortest stream of n dense rows, n x lanes, or None where there is none.

    Columns are as long as the format, its decoder and ``n`` (of which they are a divisor) allow:
    each has a pointer or an end of its own. None is returned for more columns than a decoder
    holds, and for more values than a codebook.
    """
    count, lanes = rows.shape
    absolute = form in (WeightFormat.CSR, WeightFormat.CSC_ABSOLUTE)
    most = (1 << ABSOLUTE_BITS if absolute else LONGEST) // lanes
    if form == WeightFormat.BITMASK:
        most = LONGEST
    height = max(height for height in range(1, min(most, count) + 1) if count % height == 0)
    columns = count // height
    values = rows.view(np.int8)
    if form == WeightFormat.BITMASK:
        octets = encode_bitmask(values, beat_bytes=beat_bytes)
        return Stream(octets, columns, height, np.zeros(count, np.int64))
    matrix = values.reshape(columns, height * lanes).T
    if form == WeightFormat.RUN_LENGTH:
        octets = encode_run_length(matrix, beat_bytes=beat_bytes)
        _, indices, ends = entries(_closed(matrix), INDEX_BITS[form])
    else:
        if columns > MOST_COLUMNS:
            return None
        book = None
        if form == WeightFormat.CSC4_CODEBOOK:
            used = np.unique(matrix[matrix != 0])
            if len(used) >= CODEBOOK_ENTRIES:
                return None
            book = np.pad(used, (1, CODEBOOK_ENTRIES - 1 - len(used)))
        bits = ABSOLUTE_BITS if absolute else INDEX_BITS[form]
        octets = encode_csc(
            matrix, index_bits=bits, relative=not absolute, codebook=book, beat_bytes=beat_bytes
        )
        _, indices, ends = entries(matrix, bits, relative=not absolute)
    column = np.repeat(np.arange(columns), np.diff(ends))
    place = indices
    if not absolute:
        steps = np.concatenate([[0], np.cumsum(indices + 1)])
        place = steps[1:] - steps[ends[:-1]][column] - 1
    return Stream(
        octets, columns, height, np.bincount(column * height + place // lanes, minlength=count)
    )


def least_bytes(form: WeightFormat, histogram: NDArray[np.int64]) -> float:
    """Return what the stream of rows has at least, in bytes, without pointers and padding.

    ``histogram`` counts how often each of the 256 byte values is in the rows.
    """
    used = int(histogram[1:].sum())
    if form == WeightFormat.BITMASK:
        return used + int(histogram.sum()) / 8
    if form == WeightFormat.CSC4_CODEBOOK:
        many = np.count_nonzero(histogram[1:]) >= CODEBOOK_ENTRIES
        return np.inf if many else used * (INDEX_BITS[form] + CODE_BITS) / 8
    return used * (INDEX_BITS.get(form, ABSOLUTE_BITS) + 8) / 8


def _pack_bits(words: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Return the low ``bits`` of each word, one after the other, as bytes; the last is filled."""
    planes = words.astype(np.uint64)[:, None] >> np.arange(bits, dtype=np.uint64)
    return np.packbits((planes & np.uint64(1)).astype(np.uint8).ravel(), bitorder="little")


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


def encode_csc(
    matrix: NDArray[np.int8],
    *,
    index_bits: int = 4,
    relative: bool = True,
    codebook: NDArray[np.int8] | None = None,
    beat_bytes: int = 16,
) -> NDArray[np.uint8]:
    """Return the stream of an L x n matrix, as `golden.csc`.

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
    body = _pack_bits(words, index_bits + value_bits)
    return pad_bytes(np.concatenate([head, pointers, body]), beat_bytes)


def encode_csr(
    matrix: NDArray[np.int8], *, index_bits: int = ABSOLUTE_BITS, beat_bytes: int = 16
) -> NDArray[np.uint8]:
    """Return the stream of an n x L matrix, as `golden.csr`; L is 2**index_bits at most."""
    return encode_csc(matrix.T, index_bits=index_bits, relative=False, beat_bytes=beat_bytes)


def _closed(matrix: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return the matrix with a value, 256 for 0, at every column's end, where its runs end too."""
    closed = matrix.astype(np.int64)
    closed[-1, matrix[-1] == 0] = 256
    return closed


def encode_run_length(
    matrix: NDArray[np.int8], *, index_bits: int = 4, beat_bytes: int = 16
) -> NDArray[np.uint8]:
    """Return the stream of an L x n matrix, column after column, as `golden.run_length`."""
    values, indices, _ = entries(_closed(matrix), index_bits)
    words = indices | ((values & 255) << index_bits)
    return pad_bytes(_pack_bits(words, index_bits + 8), beat_bytes)


def encode_bitmask(rows: NDArray[np.int8], *, beat_bytes: int = 16) -> NDArray[np.uint8]:
    """Return the stream of n dense rows, n x lanes (a multiple of 8), as `golden.bitmask`."""
    lanes = rows.shape[1]
    if lanes < 8 or lanes % 8:
        raise ValueError(f"lanes is {lanes}; legal: multiples of 8")
    used = rows != 0
    mask = np.packbits(used, axis=1, bitorder="little")
    sizes = mask.shape[1] + used.sum(axis=1)
    start = np.cumsum(sizes) - sizes
    octets = np.zeros(int(sizes.sum()), np.uint8)
    at_mask = (start[:, None] + np.arange(mask.shape[1])).ravel()
    octets[at_mask] = mask.ravel()
    is_value = np.ones(len(octets), bool)
    is_value[at_mask] = False
    octets[is_value] = rows[used].view(np.uint8)
    return pad_bytes(octets, beat_bytes)
