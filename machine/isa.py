# SPDX-License-Identifier: Apache-2.0
"""Instruction layouts and codes, shared by hardware, compiler and golden interpreter.

A program is a sequence of little-endian 64-bit words in memory. The low 4 bits of an
instruction's first word are its opcode, which fixes its length in words. Each engine takes its
instructions in program order; ``wait`` and ``signal`` order the engines among each other.
"""

from typing import Final

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from kiwicha.machine.codes import (
    ENGINES,
    Engine,
    ErrorCode,
    LoadTarget,
    Opcode,
    RealFunction,
    Reduction,
    SpecialOperation,
    StoreSource,
    VectorMode,
    WeightFormat,
)
from kiwicha.machine.optimizer import UPDATE_FIELDS
from kiwicha.machine.statistics_record import STATISTICS_RECORD

__all__ = [
    "BOUNDS_PLACE", "COMPUTE", "COUNTER_WORDS", "END", "ENGINES", "FUNCTION_ENTRIES",
    "INSTRUCTIONS", "INSTRUCTION_WORDS", "LEVELS", "LEVEL_CHANNEL",
    "LEVEL_REDUCTION", "LOAD", "PARAMETER_BYTES", "SLOTS", "SLOT_BYTES", "SPECIAL",
    "STATISTICS_RECORD", "STORE", "SUM_BEATS", "UPDATE", "VECTOR", "WORD_BITS",
    "Engine", "ErrorCode", "LoadTarget", "Opcode", "RealFunction", "Reduction", "SpecialOperation",
    "StoreSource", "VectorMode", "WeightFormat",
]

WORD_BITS: Final = 64
PARAMETER_BYTES: Final = 16
"""One channel's bias (int32), multiplier (uint32), shift (int8), padding, and in the last four a
slope (binary32), little endian; with ``real.functions`` an offset (binary32) from the shift on."""
SLOTS: Final = 4
"""Slots of dynamic quantization; each holds the scale and zero point of a tensor."""
SLOT_BYTES: Final = 16
"""What LOAD and STORE move of a slot: scale (float32), zero point (8 bits), then zeros."""
BOUNDS_PLACE: Final = SLOTS * SLOT_BYTES
"""Byte of what LOAD moves behind the slots from which bounds lie, with ``real.functions``."""
FUNCTION_ENTRIES: Final = 256
"""Bytes of a table of VECTOR: the result for each of the 256 bytes."""
SUM_BEATS: Final = 512
"""Beats from one pair of VECTOR's tables for sums to the next."""
COUNTER_WORDS: Final = 8
"""64-bit words of the record that STORE writes from the counters, `hw/control/counters.py`."""


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
        "reserved0": unsigned(8 - sum(own.values())),
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
    "reserved0": unsigned(6),
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
    # Lanes are int8 and come in units of 2^unit, rounded half to even, saturated, whatever the
    # exponents of the lines are that they lie in (LoadTarget.TAGS)
    "aligned": unsigned(1),
    "unit": signed(8),
    "reserved1": unsigned(24),
    "levels": data.ArrayLayout(_LEVEL, LEVELS),
})

VECTOR: Final = data.StructLayout({
    **_header(),
    "residual": unsigned(1),  # REQUANTIZE, SHIFT: each result's low byte becomes, before the
    # function, its sum with the second operand at its place, by the pair of tables `sums`.
    # MEASURE, QUANTIZE, REAL: v becomes f(v + its second operand), or with `sums` that operand
    "sums": unsigned(1),
    "zero_point": signed(16),  # of the output; RANGE: added to the exponent
    "low": signed(16),  # clamp after the zero point is added
    "high": signed(16),  # RANGE: bits of a magnitude that remain, 1 to 7
    "accumulator": unsigned(16),  # entry of the first pixel; pixels follow each other
    "channels": unsigned(14),  # live columns, 1 to C
    "parameter": unsigned(16),  # first parameter group, a group serves every lane once
    "mode": unsigned(4),  # VectorMode
    "slot": unsigned(2),  # of the input (MEASURE, QUANTIZE, REAL, RANGE)
    "target": unsigned(2),  # slot of the output (MEASURE, QUANTIZE, RANGE, SHIFT)
    "begin": unsigned(1),  # MEASURE, RANGE: ranges start anew; else the statistics do
    "settle": unsigned(1),  # MEASURE, RANGE: `target` follows from the range at the end
    "relu": unsigned(1),  # MEASURE, QUANTIZE, REAL: negative values become 0, in the end; SHIFT:
    # see there; RANGE: where no magnitude is above 1, all results become 0 (gradients)
    "statistics": unsigned(1),  # the results (not of MEASURE) enter the statistics: int8, or
    # uint8 where `high` of REQUANTIZE and QUANTIZE is above 127, or the int32 of RAW
    "function": unsigned(1),  # REQUANTIZE: each result's low byte becomes the table's entry of it;
    # MEASURE, QUANTIZE, REAL: negative v become f(v * slope) before the second operand is added
    "table": unsigned(3),  # which table; MEASURE, QUANTIZE, REAL: bits of RealFunction
    "local": unsigned(32),  # output buffer byte address of the first pixel's first channel
    "pixels": unsigned(16),  # pixels a line, at least 1; written in order, so that the last counts
    "lines": unsigned(16),  # lines, at least 1
    "pixel_pitch": signed(32),  # output buffer bytes from pixel to pixel
    "line_pitch": signed(32),  # output buffer bytes from line to line
    "scales": unsigned(32),  # BLOCK: output buffer byte address of the first block's scale;
    # RANGE with `settle`: 1 + the slot whose exponent is the least that `target` gets, 0 for none;
    # REQUANTIZE, and the modes below without `residual`: the `machine.window.WINDOW` whose maximum
    # a result is made of, 0 for none; MEASURE, QUANTIZE, REAL with `residual`: byte address of the
    # second operand of the first result, a multiple of 4; the others lie as the results do, four
    # bytes for each
    "tiles": unsigned(8),  # column tiles of a pixel less one; they lie side by side in its results
    "tile_entries": unsigned(16),  # accumulator entries from a column tile, or from a row of a
    # window, to the next
    "only": unsigned(1),  # statistics: only those of one channel
    "channel": unsigned(7),  # which one, less than `channels`
})

UPDATE: Final = data.StructLayout({**_header(), **UPDATE_FIELDS})  # machine/optimizer.py
assert UPDATE["slots"].width == SLOTS

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
    "reserved0": unsigned(1),
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

END: Final = data.StructLayout({**_header(), "reserved0": unsigned(48)})

INSTRUCTIONS: Final = {
    Opcode.LOAD: LOAD,
    Opcode.COMPUTE: COMPUTE,
    Opcode.VECTOR: VECTOR,
    Opcode.STORE: STORE,
    Opcode.SPECIAL: SPECIAL,
    Opcode.UPDATE: UPDATE,
    Opcode.END: END,
}
assert all(layout.size % WORD_BITS == 0 for layout in INSTRUCTIONS.values())
INSTRUCTION_WORDS: Final = {
    opcode: layout.size // WORD_BITS for opcode, layout in INSTRUCTIONS.items()
}
"""Length of each instruction."""
