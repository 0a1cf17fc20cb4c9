# SPDX-License-Identifier: Apache-2.0
"""Instruction layouts and codes, shared by hardware, compiler and golden interpreter.

A program is a sequence of little-endian 64-bit words in memory. The low 4 bits of an
instruction's first word are its opcode, which fixes its length in words. Each engine takes its
instructions in program order; ``wait`` and ``signal`` order the engines among each other.
"""

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

if TYPE_CHECKING:  # Amaranth has no types; to a type checker its enums are the library's
    import enum
else:
    from amaranth.lib import enum

__all__ = [
    "COMPUTE", "COUNTER_WORDS", "END", "ENGINES", "INSTRUCTIONS", "LEVELS", "LEVEL_CHANNEL",
    "LEVEL_REDUCTION", "LOAD", "PARAMETER_BYTES", "STORE", "VECTOR", "WORD_BITS", "Engine",
    "ErrorCode", "LoadTarget", "Opcode", "StoreSource", "WeightFormat",
]  # fmt: skip

WORD_BITS: Final = 64
PARAMETER_BYTES: Final = 16
"""One channel's bias (int32), multiplier (uint32), shift (int8) and padding, little endian."""
COUNTER_WORDS: Final = 8
"""64-bit words of the record that STORE writes from the counters, `hw/control/counters.py`."""


class Engine(IntEnum):
    """Engines in data-flow order; the value is the bit in ``wait`` and ``signal``."""

    LOAD = 0  #: memory to scratchpads
    COMPUTE = 1  #: activation scratchpad through the array into the accumulators
    VECTOR = 2  #: accumulators through the requantizers into the output buffer
    STORE = 3  #: output buffer to memory


ENGINES: Final = len(Engine)


class Opcode(enum.IntEnum, shape=4):
    """What the low bits of an instruction's first word may say; 0 is illegal on purpose."""

    LOAD = 1
    COMPUTE = 2
    VECTOR = 3
    STORE = 4
    END = 5  #: no further instructions; the machine is done when every engine is idle


class LoadTarget(enum.IntEnum, shape=4):
    """Where LOAD puts what it reads."""

    ACTIVATION = 0
    WEIGHT = 1
    PARAMETER = 2


class WeightFormat(enum.IntEnum, shape=4):
    """How LOAD's bytes are stored in memory."""

    DENSE = 0


class StoreSource(enum.IntEnum, shape=4):
    """What STORE writes."""

    OUTPUT = 0  #: the output buffer
    COUNTERS = 1  #: one record of COUNTER_WORDS words; length must say so


class ErrorCode(enum.IntEnum, shape=8):
    """Why the machine stopped; the error address is given in brackets."""

    NONE = 0
    ILLEGAL_OPCODE = 1  #: (address of the instruction word in memory)
    ILLEGAL_FIELD = 2  #: a field outside its legal range (engine number)
    PROGRAM_END = 3  #: the program ran past its length without END (address)
    READ_WINDOW = 4  #: a read outside the granted window, refused before the bus saw it (address)
    WRITE_WINDOW = 5  #: a write outside the granted window, refused before the bus saw it (address)
    READ_RESPONSE = 6  #: SLVERR or DECERR on a read (address of the burst)
    WRITE_RESPONSE = 7  #: SLVERR or DECERR on a write (address of the burst)
    SCRATCHPAD_RANGE = 8  #: a local address outside its memory (engine number)
    TOKEN_OVERFLOW = 9  #: more tokens signalled than a counter holds (engine number)
    WATCHDOG = 10  #: no progress for as long as the watchdog register says
    ABORTED = 11  #: software asked the machine to stop


def _header() -> dict[str, object]:
    """Fields that every engine's instruction begins with."""
    return {
        "opcode": unsigned(4),
        "wait": unsigned(ENGINES),  # take one token from each engine named, before starting
        "signal": unsigned(ENGINES),  # give one token to each engine named, when finished
    }


def _transfer(kind: str) -> data.StructLayout:
    """``segments`` runs of ``length`` bytes; run k starts at address + k pitch on either side."""
    return data.StructLayout({
        **_header(),
        kind: unsigned(4),
        "format": unsigned(4),
        "reserved0": unsigned(12),
        "local": unsigned(32),  # byte address on chip; congruent to `address` modulo a beat
        "address": unsigned(64),  # byte address in memory
        "length": unsigned(32),  # bytes of a run, at least 1
        "segments": unsigned(16),  # runs, at least 1
        "reserved1": unsigned(16),
        "pitch": signed(32),  # bytes in memory from one run to the next
        "local_pitch": signed(32),  # bytes on chip; congruent to `pitch` modulo a beat
    })


LOAD: Final = _transfer("target")
STORE: Final = _transfer("source")

LEVELS: Final = 7
"""Loops of COMPUTE, innermost first: x, y and image of the output pixel; three reduction loops
(run, kernel column, kernel row); one output-channel tile loop."""
LEVEL_REDUCTION: Final = 3
LEVEL_CHANNEL: Final = 6

_LEVEL: Final = data.StructLayout({
    "count": unsigned(16),  # iterations, at least 1
    "y": signed(16),  # added to y, x and address when this loop steps
    "x": signed(24),  # (every loop inside it has just wrapped: the compiler
    "address": signed(24),  # subtracts what they added)
})

COMPUTE: Final = data.StructLayout({
    **_header(),
    "accumulate": unsigned(1),  # the first pass adds to what the accumulators hold
    "maximum": unsigned(1),  # accumulators keep the maximum instead of the sum (pooling)
    "activation_signed": unsigned(1),
    "weight_signed": unsigned(1),
    "activation_zero": signed(9),  # taken off every activation at the array's edge
    "weight_zero": signed(9),  # taken off every weight at the array's edge
    "pad": signed(9),  # what a lane outside the image reads as, zero point already off
    "rows": unsigned(7),  # live array rows and weight rows of a tile, 1 to R
    "reserved0": unsigned(14),
    "y": signed(16),  # image row of the first access
    "x": signed(24),  # byte within that row of its lane 0
    "address": signed(24),  # scratchpad byte address of its lane 0
    "y_limit": unsigned(16),  # lane l is inside the image if 0 <= y < y_limit
    "x_limit": unsigned(24),  # and 0 <= x + l < x_limit
    "weight": unsigned(24),  # first weight row: scratchpad byte address / weight pitch
    "weight_stride": unsigned(16),  # weight rows from one tile to the next; 0 keeps the tile
    "accumulator": unsigned(16),  # entry of the first output pixel of the first channel tile
    "reserved1": unsigned(32 + 16),
    "levels": data.ArrayLayout(_LEVEL, LEVELS),
})

VECTOR: Final = data.StructLayout({
    **_header(),
    "reserved0": unsigned(4),
    "zero_point": signed(16),  # of the output
    "low": signed(16),  # clamp after the zero point is added
    "high": signed(16),
    "accumulator": unsigned(16),  # entry of the first pixel; pixels follow each other
    "channels": unsigned(16),  # live columns, 1 to C
    "parameter": unsigned(16),  # first parameter group, a group serves every lane once
    "reserved1": unsigned(16),
    "local": unsigned(32),  # output buffer byte address of the first pixel's first channel
    "pixels": unsigned(16),  # pixels a line, at least 1
    "lines": unsigned(16),  # lines, at least 1
    "pixel_pitch": signed(32),  # output buffer bytes from pixel to pixel
    "line_pitch": signed(32),  # output buffer bytes from line to line
})

END: Final = data.StructLayout({**_header(), "reserved0": unsigned(52)})

INSTRUCTIONS: Final = {
    Opcode.LOAD: LOAD,
    Opcode.COMPUTE: COMPUTE,
    Opcode.VECTOR: VECTOR,
    Opcode.STORE: STORE,
    Opcode.END: END,
}
assert all(layout.size % WORD_BITS == 0 for layout in INSTRUCTIONS.values())
