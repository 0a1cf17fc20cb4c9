# SPDX-License-Identifier: Apache-2.0
"""Streams read one entry at a time: the rows that come before an error, the error, its place."""

from kiwicha.hw.sparse.contract import StreamError

__all__ = ["read_bitmask", "read_entries"]


class Bits:
    """Little-endian bits; ``at`` is the next one."""

    def __init__(self, octets: bytes) -> None:
        self.number = int.from_bytes(octets, "little")
        self.size = 8 * len(octets)
        self.at = 0

    def take(self, count: int) -> int | None:
        if self.at + count > self.size:
            return None
        self.at += count
        return self.number >> (self.at - count) & ((1 << count) - 1)

    def end(self, beat_bytes: int) -> StreamError:
        rest = self.size - self.at
        if rest >= 8 * beat_bytes:
            return StreamError.TRAILING
        return StreamError.PADDING if self.number >> self.at else StreamError.NONE


Result = tuple[list[list[int]], StreamError, int]


def read_entries(
    octets: bytes,
    columns: int,
    rows: int,
    lanes: int,
    *,
    beat_bytes: int,
    index_bits: int,
    relative: bool = True,
    codebook: bool = False,
    counted: bool = True,
) -> Result:
    """Return the dense rows, the error (NONE if there is none) and its byte offset."""
    bits, length = Bits(octets), rows * lanes
    out: list[list[int]] = []
    value_bits, book = 8, list(range(256))
    if codebook:
        value_bits, book = 4, []
        for _ in range(2):
            half = bits.take(64)
            if half is None:
                return out, StreamError.TRUNCATED, bits.at // 8
            book += half.to_bytes(8, "little")
            if book[0]:
                return out, StreamError.CODEBOOK, 0
    counts = [None] * columns
    base = bits.at // 8
    if counted:
        ends = [0]
        while len(ends) <= columns:
            at, word = bits.at, bits.take(64)
            if word is None:
                return out, StreamError.TRUNCATED, bits.at // 8
            four = [word >> 16 * k & 0xFFFF for k in range(4)]
            due = columns + 1 - len(ends)
            if any(four[due:]):
                return out, StreamError.PADDING, at // 8
            ends += four[:due]
        counts = [(ends[k + 1] - ends[k]) % 65536 for k in range(columns)]
    for number, count in enumerate(counts):
        if counted and count > length:
            return out, StreamError.POINTER, base + 2 * number
        column, following = [0] * length, 0
        while following < length if count is None else count:
            before, entry = bits.at, bits.take(index_bits + value_bits)
            known = following
            error = StreamError.NONE
            if entry is None:
                error = StreamError.TRUNCATED
            else:
                index, stored = entry & ((1 << index_bits) - 1), entry >> index_bits
                spot = following + index if relative else index
                may_be_empty = relative and index == (1 << index_bits) - 1
                may_be_empty |= count is None and spot == length - 1
                if spot < following:
                    error = StreamError.ORDER
                elif spot >= length:
                    error, known = StreamError.INDEX, length - lanes
                elif stored == 0 and not may_be_empty:
                    error, known = StreamError.PADDING, spot
            if error:
                # A row is out when an entry of a later row, or of its own last lane, was seen; the
                # column's last row only when the column has come to its end.
                whole = min(known // lanes, rows - 1)
                out += [column[k * lanes : (k + 1) * lanes] for k in range(whole)]
                return out, error, before // 8
            column[spot], following = book[stored], spot + 1
            count = None if count is None else count - 1
        out += [column[k * lanes : (k + 1) * lanes] for k in range(rows)]
    return out, bits.end(beat_bytes), bits.at // 8


def read_bitmask(octets: bytes, rows: int, lanes: int, *, beat_bytes: int) -> Result:
    """Return the dense rows, the error (NONE if there is none) and its byte offset."""
    bits = Bits(octets)
    out: list[list[int]] = []
    for _ in range(rows):
        before, row = bits.at, [0] * lanes
        mask = bits.take(lanes)
        values = [] if mask is None else [bits.take(8) for _ in range(mask.bit_count())]
        if mask is None or None in values:
            return out, StreamError.TRUNCATED, before // 8
        if 0 in values:
            return out, StreamError.PADDING, before // 8
        for lane in range(lanes):
            if mask >> lane & 1:
                row[lane] = values.pop(0)
        out.append(row)
    return out, bits.end(beat_bytes), bits.at // 8
