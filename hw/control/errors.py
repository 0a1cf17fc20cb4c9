# SPDX-License-Identifier: Apache-2.0
"""What software is told of an error: every code, what its address says, who has which number."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from kiwicha.hw.control.dispatch import DISPATCH_NUMBER
from kiwicha.hw.control.fetch import FETCH_NUMBER
from kiwicha.machine.isa import Engine, ErrorCode

__all__ = ["ERRORS", "UNITS", "Detail", "Explanation"]


class Detail(Enum):
    """What `error_address` holds; the value is the text for software."""

    NOTHING = "0"
    MEMORY = "byte address in memory"
    UNIT = "number of the unit, see below"
    STREAM = "byte in the compressed stream"


@dataclass(frozen=True)
class Explanation:
    """Meaning of a code, what the address register holds for it, and of what."""

    meaning: str
    detail: Detail
    what: str = ""

    @property
    def address(self) -> str:
        """The contents of the address register in words."""
        return f"{self.detail.value}: {self.what}" if self.what else self.detail.value


ERRORS: Final[dict[ErrorCode, Explanation]] = {
    ErrorCode.NONE: Explanation("no error since the last start", Detail.NOTHING),
    ErrorCode.ILLEGAL_OPCODE: Explanation(
        "an instruction for no engine of this machine", Detail.MEMORY, "its first word"
    ),
    ErrorCode.ILLEGAL_FIELD: Explanation(
        "a field, or program_address or program_length, outside its legal range", Detail.UNIT
    ),
    ErrorCode.PROGRAM_END: Explanation(
        "the program ran past its length without END", Detail.MEMORY, "the first byte after it"
    ),
    ErrorCode.READ_WINDOW: Explanation(
        "a read outside the granted window; the bus did not see it",
        Detail.MEMORY, "the start of the run asked for",
    ),
    ErrorCode.WRITE_WINDOW: Explanation(
        "a write outside the granted window; the bus did not see it",
        Detail.MEMORY, "the start of the run asked for",
    ),
    ErrorCode.READ_RESPONSE: Explanation(
        "SLVERR or DECERR on a read", Detail.MEMORY, "the first byte of the burst"
    ),
    ErrorCode.WRITE_RESPONSE: Explanation(
        "SLVERR or DECERR on a write", Detail.MEMORY, "the first byte of the burst"
    ),
    ErrorCode.SCRATCHPAD_RANGE: Explanation(
        "an on-chip address outside its memory", Detail.UNIT
    ),
    ErrorCode.TOKEN_OVERFLOW: Explanation(
        "more tokens signalled than a counter holds", Detail.UNIT, "the engine that signalled"
    ),
    ErrorCode.WATCHDOG: Explanation(
        "no progress for as many cycles as the register watchdog says", Detail.NOTHING
    ),
    ErrorCode.ABORTED: Explanation("software asked the machine to stop", Detail.NOTHING),
    ErrorCode.MALFORMED_STREAM: Explanation(
        "compressed weights that no encoder makes", Detail.STREAM
    ),
    ErrorCode.DYNAMIC_RANGE: Explanation(
        "a tensor to be quantized by its own range, which is not finite", Detail.UNIT
    ),
}

UNITS: Final[dict[int, tuple[str, str]]] = {
    **{engine.value: (engine.name, "engine, by its instructions") for engine in Engine},
    DISPATCH_NUMBER: ("DISPATCH", "an END with fields that are not 0"),
    FETCH_NUMBER: (
        "FETCH", "program_address is no multiple of the beat, or program_length none of 8"
    ),
}
"""Name of what has a number in an error, and what it complains of."""
