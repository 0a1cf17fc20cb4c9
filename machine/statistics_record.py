# SPDX-License-Identifier: Apache-2.0
"""The record that STORE writes of the statistics that VECTOR keeps."""

from typing import Final

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

__all__ = ["STATISTICS_RECORD"]

STATISTICS_RECORD: Final = data.StructLayout({
    "minimum": signed(64),
    "maximum": signed(64),
    "magnitude": unsigned(64),  # the greatest absolute value
    "total": signed(64),  # sums of the values, of their magnitudes and of their squares
    "total_magnitude": unsigned(64),
    "total_square": unsigned(128),
    "count": unsigned(64),
    # Entry 0 counts zeros, entry b values whose magnitude has b bits.
    "histogram": data.ArrayLayout(unsigned(32), 33),
    "overflow": unsigned(1),  # more than `statistics.elements` came: all else is 0
    "reserved0": unsigned(479),
})
"""Statistics as STORE writes them, little endian; all 0 before the first value."""
