# SPDX-License-Identifier: Apache-2.0
"""Decoder of compressed sparse rows: columns of the transpose, with absolute indices."""

from kiwicha.hw.sparse.csc import CscDecoder

__all__ = ["CsrDecoder"]


class CsrDecoder(CscDecoder):
    """Gives the stored rows of golden.csr one after the other; see ``EntryDecoder``.

    A job's ``columns`` counts the stored rows, its ``rows`` the dense rows each of them fills.

    Parameters
    ----------
    beat_bytes, lanes, entries : as ``CscDecoder``.
    index_bits : wide enough for a stored row's elements.
    """

    def __init__(self, beat_bytes: int, lanes: int, *, index_bits: int, entries: int) -> None:
        super().__init__(
            beat_bytes, lanes, index_bits=index_bits, relative=False, entries=entries
        )
