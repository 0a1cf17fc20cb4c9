# SPDX-License-Identifier: Apache-2.0
"""Windows of accumulator entries, whose maxima VECTOR can make."""

from typing import Final

from amaranth.hdl import unsigned
from amaranth.lib import data

__all__ = ["WINDOW"]

WINDOW: Final = data.StructLayout({
    "rows": unsigned(4),  # of a window, at least 1
    "columns": unsigned(4),  # entries of a row, which follow each other, at least 1
    "pixel_entries": unsigned(8),  # accumulator entries from a pixel's window to the next one's
    "line_entries": unsigned(16),  # and from the first one of a line to that of the next
})
"""VECTOR's field ``scales`` in mode REQUANTIZE: windows of accumulator entries."""
