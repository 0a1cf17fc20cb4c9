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
    "COMPUTE", "COUNTER_WORDS", "END", "ENGINES", "FUNCTION_ENTRIES", "INSTRUCTIONS",
    "INSTRUCTION_WORDS", "LEVELS", "LEVEL_CHANNEL",
    "LEVEL_REDUCTION", "LOAD", "PARAMETER_BYTES", "SLOTS", "SLOT_BYTES", "SPECIAL",
    "STATISTICS_RECORD", "STORE", "SUM_BEATS", "VECTOR", "WORD_BITS",
    "Engine", "ErrorCode", "LoadTarget", "Opcode", "Reduction", "SpecialOperation", "StoreSource",
    "VectorMode", "WeightFormat",
]

WORD_BITS: Final = 64
PARAMETER_BYTES: Final = 16
"""One channel's bias (int32), multiplier (uint32), shift (int8) and padding, little endian."""
SLOTS: Final = 4
"""Slots of dynamic quantization; each holds the scale and zero point of a tensor."""
SLOT_BYTES: Final = 16
"""What LOAD and STORE move of a slot: scale (float32), zero point (8 bits), then zeros."""
FUNCTION_ENTRIES: Final = 256
"""Bytes of a table of VECTOR: the result for each of the 256 bytes."""
SUM_BEATS: Final = 512
"""Beats from one pair of VECTOR's tables for sums to the next."""
COUNTER_WORDS: Final = 8
"""64-bit words of the record that STORE writes from the counters, `hw/control/counters.py`."""


class Engine(IntEnum):
    """Engines in data-flow order; the value is the bit in ``wait`` and ``signal``."""

    LOAD = 0  #: memory to scratchpads
    COMPUTE = 1  #: activation scratchpad through the array into the accumulators
    VECTOR = 2  #: accumulators through the requantizers into the output buffer
    SPECIAL = 3  #: functions, sums and products of bytes, operand to result memory; optional
    STORE = 4  #: output buffer or result memory to memory


ENGINES: Final = len(Engine)


class Opcode(enum.IntEnum, shape=4):
    """What the low bits of an instruction's first word may say; 0 is illegal on purpose."""

    LOAD = 1
    COMPUTE = 2
    VECTOR = 3
    STORE = 4
    END = 5  #: no further instructions; the machine is done when every engine is idle
    SPECIAL = 6


class LoadTarget(enum.IntEnum, shape=4):
    """Where LOAD puts what it reads."""

    ACTIVATION = 0
    WEIGHT = 1
    PARAMETER = 2
    OPERAND = 3  #: SPECIAL's operands: lane * special.bytes + offset
    TABLE = 4  #: SPECIAL's 32-bit tables: A, then from byte 4 * special.entries on B
    DYNAMIC = 5  #: slots of dynamic quantization, 16 bytes each: scale (binary32), zero point
    FUNCTION = 6  #: VECTOR's tables of FUNCTION_ENTRIES bytes, one after the other
    ADDEND = 7  #: VECTOR's second operands, each at the output buffer's byte address of the result
    SUMS = 8  #: VECTOR's pairs of tables for sums, SUM_BEATS beats each: entry k, A and B (int32),
    #: at the beginning of beat k, then bounds low and high (int16) at that of beat 256


class WeightFormat(enum.IntEnum, shape=4):
    """How LOAD's bytes are stored in memory; all but DENSE and INTERLEAVED are for the weight
    scratchpad only.

    The bytes of all runs, one after the other at any alignment, make a stream; ``local`` is where
    its first weight row goes. A machine takes those formats that its configuration names.

    ROWS and COLUMNS are matrices of ``extent`` bytes a line, cut into tiles of C columns whose
    first weight rows lie ``local_pitch`` bytes apart: byte c of line r goes to row r of tile c / C,
    column c mod C (ROWS), or, transposed, byte k of line n to row k of tile n / C, column n mod C.

    INTERLEAVED is for the activation scratchpad: byte i of run k goes to place ``local`` +
    k * ``local_pitch`` + i * ``extent``, at any alignment, and nothing else is written.

    The others are compressed: one run, whole beats, whose ``pitch`` holds the stream's columns in
    its low and their rows in its high 16 bits; its dense rows fill consecutive weight rows.
    """

    DENSE = 0  #: whole beats as they are
    ROWS = 1
    COLUMNS = 2
    BITMASK = 3  #: `golden.bitmask`
    CSC4 = 4  #: `golden.csc`, 4-bit relative index
    CSC5 = 5
    CSC8 = 6
    CSC_ABSOLUTE = 7
    CSC4_CODEBOOK = 8  #: 4-bit relative index, 4-bit codes of 16 values
    CSR = 9  #: `golden.csr`
    RUN_LENGTH = 10  #: `golden.run_length`
    INTERLEAVED = 11  #: image rows, ``extent`` of them byte by byte beside each other


class StoreSource(enum.IntEnum, shape=4):
    """What STORE writes."""

    OUTPUT = 0  #: the output buffer
    COUNTERS = 1  #: one record of COUNTER_WORDS words; length must say so
    RESULT = 2  #: SPECIAL's results: lane * special.bytes + offset
    DYNAMIC = 3  #: the slots of dynamic quantization, as LOAD takes them
    STATISTICS = 4  #: STATISTICS_RECORD of what VECTOR has written since ``begin``


class Reduction(enum.IntEnum, shape=1):
    """How a layer's window becomes one number: COMPUTE's field ``maximum``."""

    SUM = 0  #: the sum of the products
    MAX = 1  #: the largest product; a window's padding must read as what never wins


class VectorMode(enum.IntEnum, shape=4):
    """What VECTOR makes of an accumulator; f() is one rounding to binary32."""

    REQUANTIZE = 0  #: int8 or uint8 by the machine's requantize mode
    RAW = 1  #: the int32 itself, bias added, 4 bytes little endian
    MEASURE = 2  #: nothing is written; v = f(f(f(acc) * f(slot's scale * multiplier)) + bias), its
    #: minimum and maximum are kept (ONNX MatMulInteger, Cast, Mul, Add; bias is binary32)
    QUANTIZE = 3  #: v again, and clamp(rint(f(v / target's scale)) + target's zero point)
    BLOCK = 4  #: local dynamic quantization: int8 with a scale for every block of channels. With
    #: rounding LFSR, as unsigned numbers: the index, in its tensor, of the instruction's first
    #: result is low + 2^16 high, pixels (those of all lines) lie zero_point elements apart
    RANGE = 5  #: nothing is written; the greatest |acc + bias| is kept (`machine.shifts`)
    SHIFT = 6  #: clamp((acc + bias) / 2^shift of the target), rounded half up, or with zero_point 1
    #: pseudo-randomly; then the sum of `residual`, or with `relu` 0 unless its operand is positive


class SpecialOperation(enum.IntEnum, shape=4):
    """What SPECIAL does to each row; A and B are its tables, of `machine.tables`."""

    TABLE = 0  #: y = A[x], low byte
    ADD = 1  #: y = clamp(rint(f(±A[x] * 2^shift + B[z])) + zero_point), A integers without x's
    #: sign, B binary32
    SOFTMAX = 2  #: y = clamp(rint(f(B[d] / sum A[d])) + zero_point), d = row maximum - x
    NORMALIZE = 3  #: integer layer normalization, gains in A and offsets in B by place in the row
    MUL = 4  #: y = clamp(rint(f(f(a b s * 2^shift) + c)) + zero_point), a and c in A[x], b and s in
    #: B[z], `machine.tables.mul_tables`
    CROSS_ENTROPY = 5  #: errors of a row of logits x and a label z, a byte a row


class ErrorCode(enum.IntEnum, shape=8):
    """Why the machine stopped; `hw.control.errors` says what each means, and the address by it."""

    NONE = 0
    ILLEGAL_OPCODE = 1
    ILLEGAL_FIELD = 2
    PROGRAM_END = 3
    READ_WINDOW = 4
    WRITE_WINDOW = 5
    READ_RESPONSE = 6
    WRITE_RESPONSE = 7
    SCRATCHPAD_RANGE = 8
    TOKEN_OVERFLOW = 9
    WATCHDOG = 10
    ABORTED = 11
    MALFORMED_STREAM = 12
    DYNAMIC_RANGE = 13


def _header() -> dict[str, object]:
    """Fields that every engine's instruction begins with."""
    return {
        "opcode": unsigned(4),
        "wait": unsigned(ENGINES),  # take one token from each engine named, before starting
        "signal": unsigned(ENGINES),  # give one token to each engine named, when finished
    }


def _transfer(kind: str, **own: int) -> data.StructLayout:
    """``segments`` runs of ``length`` bytes; run k starts at address + k pitch on either side."""
    return data.StructLayout({
        **_header(),
        kind: unsigned(4),
        "format": unsigned(4), **own,
        "reserved0": unsigned(10 - sum(own.values())),
        "local": unsigned(32),  # byte address on chip; dense: congruent to `address` modulo a beat
        "address": unsigned(64),  # byte address in memory
        "length": unsigned(32),  # bytes of a run, at least 1
        "segments": unsigned(16),  # runs, at least 1
        "extent": unsigned(16),  # bytes of a line of a matrix; rows of INTERLEAVED; else 0
        "pitch": signed(32),  # bytes in memory from one run to the next
        "local_pitch": signed(32),  # bytes on chip; congruent to `pitch` modulo a beat
    })


LOAD: Final = _transfer("target")
STORE: Final = _transfer("source", destination=2)

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
    "rows": unsigned(8),  # live array rows and weight rows of a tile, 1 to R
    "dynamic": unsigned(1),  # activation_zero is that of `slot` instead
    "slot": unsigned(2),
    "reserved0": unsigned(8),
    "y": signed(16),  # image row of the first access
    "x": signed(24),  # byte within that row of its lane 0
    "address": signed(24),  # scratchpad byte address of its lane 0
    "y_limit": unsigned(16),  # lane l is inside the image if 0 <= y < y_limit
    "x_limit": unsigned(24),  # and 0 <= x + l < x_limit
    "weight": unsigned(24),  # first weight row: scratchpad byte address / weight pitch
    "weight_stride": unsigned(16),  # weight rows from one tile to the next; 0 keeps the tile
    "accumulator": unsigned(16),  # entry of the first output pixel of the first channel tile;
    # no VECTOR may drain any of the same half of the accumulators meanwhile
    # Each column multiplies its own lane: the product of row r is that of the vector r later. Rows
    # from `rows` on multiply nothing.
    "filter": unsigned(1),
    "tail": unsigned(7),  # last iterations of level 0 and of level 1 that have no result: their
    "line_tail": unsigned(7),  # vectors are for those before them; less than the counts, and than
    # the power of two that is not less than R (2 for one row)
    "reserved1": unsigned(33),
    "levels": data.ArrayLayout(_LEVEL, LEVELS),
})

VECTOR: Final = data.StructLayout({
    **_header(),
    "residual": unsigned(1),  # REQUANTIZE, SHIFT: each result's low byte becomes, before the
    # function, its sum with the second operand at its place, by the pair of tables `sums`
    "sums": unsigned(1),
    "zero_point": signed(16),  # of the output; RANGE: added to the exponent
    "low": signed(16),  # clamp after the zero point is added
    "high": signed(16),  # RANGE: bits of a magnitude that remain, 1 to 7
    "accumulator": unsigned(16),  # entry of the first pixel; pixels follow each other
    "channels": unsigned(16),  # live columns, 1 to C
    "parameter": unsigned(16),  # first parameter group, a group serves every lane once
    "mode": unsigned(4),  # VectorMode
    "slot": unsigned(2),  # of the input (MEASURE, QUANTIZE, RANGE)
    "target": unsigned(2),  # slot of the output (MEASURE, QUANTIZE, RANGE, SHIFT)
    "begin": unsigned(1),  # MEASURE, RANGE: ranges start anew; else the statistics do
    "settle": unsigned(1),  # MEASURE, RANGE: `target` follows from the range at the end
    "relu": unsigned(1),  # MEASURE, QUANTIZE: negative values become 0; SHIFT: see there; RANGE:
    # where no magnitude is above 1, all results become 0 (gradients)
    "statistics": unsigned(1),  # the results (not of MEASURE) enter the statistics: int8, or
    # uint8 where `high` of REQUANTIZE and QUANTIZE is above 127, or the int32 of RAW
    "function": unsigned(1),  # REQUANTIZE: each result's low byte becomes the table's entry of it
    "table": unsigned(3),  # which table
    "local": unsigned(32),  # output buffer byte address of the first pixel's first channel
    "pixels": unsigned(16),  # pixels a line, at least 1; written in order, so that the last counts
    "lines": unsigned(16),  # lines, at least 1
    "pixel_pitch": signed(32),  # output buffer bytes from pixel to pixel
    "line_pitch": signed(32),  # output buffer bytes from line to line
    "scales": unsigned(32),  # BLOCK: output buffer byte address of the first block's scale;
    # REQUANTIZE: the `machine.window.WINDOW` whose maximum a result is made of, 0 for none
    "tiles": unsigned(8),  # column tiles of a pixel less one; they lie side by side in its results
    "tile_entries": unsigned(16),  # accumulator entries from a column tile, or from a row of a
    # window, to the next
    "only": unsigned(1),  # statistics: only those of one channel
    "channel": unsigned(7),  # which one, less than `channels`
})

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

SPECIAL: Final = data.StructLayout({
    **_header(),
    "operation": unsigned(4),  # SpecialOperation
    "x_signed": unsigned(1),
    "z_signed": unsigned(1),
    "table": unsigned(4),  # first entry of the tables in use / 256; CROSS_ENTROPY: slot of x
    # ADD, MUL: an operand with its `row` set has one row for all; with its `byte` set, rows of one
    # byte for all elements of a row
    "x_row": unsigned(1),
    "x_byte": unsigned(1),
    "z_row": unsigned(1),
    "z_byte": unsigned(1),
    # NORMALIZE: the mean stays, the zero point x_zero goes: rows by their root mean square
    "uncentred": unsigned(1),
    "reserved0": unsigned(3),
    "rows": unsigned(16),  # rows of a lane: lane l takes rows l * rows on, at least 1
    "length": unsigned(16),  # elements (bytes) of a row, at least 1
    "x": unsigned(32),  # offset of the first row in every lane's operand memory, dense rows
    "z": unsigned(32),  # the same of the second operand (ADD, MUL); epsilon (NORMALIZE)
    "y": unsigned(32),  # offset of the first row in every lane's result memory, dense rows
    "total": unsigned(32),  # rows of all lanes, at least 1
    "zero_point": signed(16),  # of the output, added last (all but TABLE)
    "low": signed(16),  # clamp of the output
    "high": signed(16),
    "shift": signed(8),  # ADD: of table A; MUL: of s; NORMALIZE: right, of what the gain makes
    "x_zero": signed(8),  # of the input where uncentred, uint8 less 128
})

END: Final = data.StructLayout({**_header(), "reserved0": unsigned(50)})

INSTRUCTIONS: Final = {
    Opcode.LOAD: LOAD,
    Opcode.COMPUTE: COMPUTE,
    Opcode.VECTOR: VECTOR,
    Opcode.STORE: STORE,
    Opcode.SPECIAL: SPECIAL,
    Opcode.END: END,
}
assert all(layout.size % WORD_BITS == 0 for layout in INSTRUCTIONS.values())
INSTRUCTION_WORDS: Final = {
    opcode: layout.size // WORD_BITS for opcode, layout in INSTRUCTIONS.items()
}
"""Length of each instruction."""
