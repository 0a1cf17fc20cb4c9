# SPDX-License-Identifier: Apache-2.0
"""What the tag of a scratchpad's line says about the numbers in it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Amaranth has no types; to a type checker its enums are the library's
    import enum
else:
    from amaranth.lib import enum

__all__ = ["EXPONENTS", "LONGEST_SHIFT", "TagFormat", "tag_banks"]

EXPONENTS = range(-128, 128)
"""Exponents that a tag can hold."""

LONGEST_SHIFT = 8
"""Bits after whose dropping nothing is left of an int8, rounded half to even."""


class TagFormat(enum.IntEnum, shape=2):
    """What a tag's exponent is."""

    POWER = 0  #: values are codes times 2^exponent
    SLOT = 1  #: it numbers a scale that is kept elsewhere


def tag_banks(rows: int, beat: int) -> int:
    """Return the banks that exponents of lines of ``beat`` bytes are in: those of a beat are
    written at once, those of a run of ``rows`` lanes are read at once. A power of two."""
    lines = (rows - 2) // beat + 2 if rows > 1 else 1
    return max(beat, 1 << (lines - 1).bit_length())
