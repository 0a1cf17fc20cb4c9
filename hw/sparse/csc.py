# SPDX-License-Identifier: Apache-2.0
"""Decoder of compressed sparse columns, after EIE (ISCA 2016); bytes as in golden.csc."""

from kiwicha.hw.sparse.entries import EntryDecoder

__all__ = ["CscDecoder"]


class CscDecoder(EntryDecoder):
    """Gives the columns of a stream, each as ``rows`` dense rows; see ``EntryDecoder``.

    Parameters
    ----------
    beat_bytes : bytes of a beat of the stream.
    lanes : elements of a dense row.
    index_bits : 4, 5 or 8 are usual; wide enough for a column if not ``relative``.
    relative : the index counts the zeros before a value; else it is the place in the column.
    codebook : a stream begins with 16 values, and its entries are 4-bit places among them.
    entries : entries decoded in a cycle at most; half the lanes give nearly a row a cycle at a
        quarter of values that are not zero.
    columns : columns of a job at most, the depth of the pointer memory.
    """

    def __init__(
        self,
        beat_bytes: int,
        lanes: int,
        *,
        index_bits: int = 4,
        relative: bool = True,
        codebook: bool = False,
        entries: int = 4,
        columns: int = 1024,
    ) -> None:
        if columns == 0:
            raise ValueError("columns is 0; legal: 1 to 32768")
        super().__init__(
            beat_bytes,
            lanes,
            index_bits=index_bits,
            relative=relative,
            codebook=codebook,
            entries=entries,
            columns=columns,
        )
