# SPDX-License-Identifier: Apache-2.0
"""Decoder of run lengths without pointers; the bytes are those of golden.run_length."""

from kiwicha.hw.sparse.entries import EntryDecoder

__all__ = ["RunLengthDecoder"]


class RunLengthDecoder(EntryDecoder):
    """Gives the columns of a stream, each as ``rows`` dense rows; see ``EntryDecoder``.

    Indices have 4 bits. A column ends with the entry at its last element. There is no memory.

    Parameters
    ----------
    beat_bytes, lanes, entries : as ``hw.sparse.csc.CscDecoder``.
    """

    def __init__(self, beat_bytes: int, lanes: int, *, entries: int) -> None:
        super().__init__(beat_bytes, lanes, index_bits=4, entries=entries)
