# SPDX-License-Identifier: Apache-2.0
"""Records that programs keep in memory, as NumPy has them and as hardware has their bits."""

from typing import Any, Final

import numpy as np
from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from kiwicha.machine.isa import PARAMETER_BYTES, SLOT_BYTES

__all__ = ["OFFSET_PLACE", "PARAMETER_LAYOUT", "PARAMETER_RECORD", "SLOT_LAYOUT", "SLOT_RECORD"]

PARAMETER_RECORD: Final = np.dtype([
    ("bias", "<i4"), ("multiplier", "<u4"), ("shift", "i1"),
    ("rest", "u1", PARAMETER_BYTES - 13), ("slope", "<f4"),
])
"""Parameters of one channel. Bias and multiplier are binary32 where VECTOR quantizes dynamically,
as is the multiplier with the requantize mode onnx. The slope is for negative values there."""
OFFSET_PLACE: Final = 8
"""Byte of a channel's parameters from which its offset lies, where shift and padding are else."""
SLOT_RECORD: Final = np.dtype([
    ("scale", "<f4"), ("zero_point", "u1"), ("rest", "u1", SLOT_BYTES - 5),
])
"""One slot of dynamic quantization; zeros follow."""


def _layout(record: np.dtype[Any]) -> data.StructLayout:
    """Return the fields that every machine has, as bits and in order."""
    members = {}
    for name, (kind, *_) in (record.fields or {}).items():
        if name not in ("rest", "slope"):
            bits = 8 * kind.itemsize
            members[name] = signed(bits) if kind.kind == "i" else unsigned(bits)
    return data.StructLayout(members)


PARAMETER_LAYOUT: Final = _layout(PARAMETER_RECORD)
SLOT_LAYOUT: Final = _layout(SLOT_RECORD)

assert PARAMETER_RECORD.itemsize == PARAMETER_BYTES
assert SLOT_RECORD.itemsize == SLOT_BYTES
