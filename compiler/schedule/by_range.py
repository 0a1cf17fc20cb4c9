# SPDX-License-Identifier: Apache-2.0
"""Results whose scales or shifts follow from the range of their values."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Dynamic", "Shifted"]


@dataclass(frozen=True)
class Dynamic:
    """Scales and zero points that follow from the values, in slots of the machine.

    Members
    -------
    slot : of the input.
    target : of the result, which is measured before it is quantized; None: the result is the int32
        sums themselves.
    relu : whether negative results become 0.
    zero : whether the input's zero point is that of the slot, too.
    real : whether the result is binary32 values (``target`` is None then).
    part : measure the results, quantize them, or both; of several works the range is one:
    begin, settle : whether it begins and ends with this work.
    functions, bounds : what is done to values, bits of `machine.isa.RealFunction`, and within what
        they are held.
    """

    slot: int
    target: int | None
    relu: bool
    zero: bool = True
    real: bool = False
    part: Literal["all", "measure", "quantize"] = "all"
    begin: bool = True
    settle: bool = True
    functions: int = 0
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Shifted:
    """Results that are shifted by their own range (`machine.shifts`), in slots of the machine.

    Members
    -------
    slot : of the input's exponent; target : of the result's exponent and shift.
    exponent : of the operand that has no slot.
    bits : that magnitudes keep.
    floor : slot of the least exponent that the result gets; None for none.
    gradient : rounded pseudo-randomly, and gone where no magnitude is above 1.
    begin, settle : whether the range begins and ends with this work; part : as of `Dynamic`.
    """

    slot: int
    target: int
    exponent: int
    bits: int
    gradient: bool = False
    floor: int | None = None
    part: Literal["all", "measure", "quantize"] = "all"
    begin: bool = True
    settle: bool = True
