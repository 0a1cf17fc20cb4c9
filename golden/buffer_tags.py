# SPDX-License-Identifier: Apache-2.0
"""A scratchpad whose lines have tags: how the numbers in it are quantized.

After the quantized buffer control of Cambricon-Q (ISCA 2021). Two tensors, or two blocks of one,
that were quantized each by itself may meet in one line, which has one tag. Two ways out:

- aligned, the default: what is quantized together fills whole lines, so that none ever mixes.
- requantizing: a write to a part of a line brings the old contents and the new ones to the greater
  of both exponents. That loses bits and depends on the order of writes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.rounding import round_shift
from kiwicha.machine.line_tags import EXPONENTS, LONGEST_SHIFT, TagFormat

__all__ = ["BufferTags", "Tag"]


@dataclass(frozen=True)
class Tag:
    """How a line is quantized.

    Members
    -------
    exponent : -128 to 127; of 2, or the number of a scale, as the format says.
    width : bits of a code, 1 to 8; codes lie in bytes, sign-extended.
    format : what the exponent is.
    """

    exponent: int
    width: int = 8
    format: TagFormat = TagFormat.POWER

    def __post_init__(self) -> None:
        if self.exponent not in EXPONENTS:
            raise ValueError(f"exponent is {self.exponent}; legal: -128 to 127")
        if not 1 <= self.width <= 8:
            raise ValueError(f"width is {self.width}; legal: 1 to 8")


class BufferTags:
    """``lines`` lines of ``line`` bytes each.

    Parameters
    ----------
    line : bytes of a line.
    lines : how many.
    requantize : whether writes may cover parts of lines that have another exponent.
    """

    def __init__(self, line: int, lines: int, *, requantize: bool = False) -> None:
        self.line = line
        self.lines = lines
        self.requantize = requantize
        self.codes = np.zeros((lines, line), np.int8)
        self.tags: list[Tag | None] = [None] * lines

    def write(
        self, address: int, codes: NDArray[np.int8], tag: Tag, *, fresh: bool = False
    ) -> None:
        """Write ``codes``, quantized as ``tag`` says, from byte ``address`` on, line by line.

        A whole line takes the new tag. So does a part of one, if ``fresh``: the rest of the line is
        void. Of any other part, with the line's exponent and the new one: if they are equal nothing
        is moved. If the new one is greater, the line's other codes are shifted right by the
        difference, rounded half to even, and the line takes the new tag. If it is smaller, the new
        codes are shifted and the tag stays.

        Raises
        ------
        ValueError
            Where it runs out of the scratchpad; if not ``requantize``, where a line is covered in
            part; where a line that is written in part has no tag, another width or format, or
            another exponent that is not of 2. Lines before that one are written.
        """
        if address < 0 or address + len(codes) > self.line * self.lines:
            raise ValueError(f"{len(codes)} bytes from {address} on leave the scratchpad")
        at = 0
        while at < len(codes):
            number, head = divmod(address + at, self.line)
            count = min(self.line - head, len(codes) - at)
            self._write_line(number, head, codes[at : at + count], tag, fresh)
            at += count

    def read(self, address: int, count: int) -> tuple[NDArray[np.int8], list[Tag | None]]:
        """Return the codes of ``count`` bytes from any ``address`` on, and the tag of each; behind
        the last line comes the first."""
        places = (address + np.arange(count)) % (self.line * self.lines)
        return self.codes.reshape(-1)[places], [self.tags[at // self.line] for at in places]

    def _write_line(
        self, number: int, head: int, codes: NDArray[np.int8], tag: Tag, fresh: bool
    ) -> None:
        held, part = self.tags[number], slice(head, head + len(codes))
        if len(codes) < self.line and not self.requantize:
            raise ValueError(
                f"line {number} is covered in part: {len(codes)} of {self.line} bytes from {head}"
            )
        if len(codes) < self.line and not fresh:
            if held is None:
                raise ValueError(f"line {number} has no tag: its first write is whole or fresh")
            same = (held.width, held.format) == (tag.width, tag.format)
            if not same or (held.exponent != tag.exponent and tag.format != TagFormat.POWER):
                raise ValueError(f"line {number} is {held}, what is written {tag}")
            if tag.exponent > held.exponent:
                self.codes[number] = _shifted(self.codes[number], tag.exponent - held.exponent)
            else:
                codes, tag = _shifted(codes, held.exponent - tag.exponent), held
        self.codes[number, part] = codes
        self.tags[number] = tag


def _shifted(codes: NDArray[np.int8], shift: int) -> NDArray[np.int8]:
    return round_shift(codes, min(shift, LONGEST_SHIFT), "half_even").astype(np.int8)
