# SPDX-License-Identifier: Apache-2.0
"""What the codes in instructions, registers and errors mean; `machine.isa` lays them out."""

from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # Amaranth has no types; to a type checker its enums are the library's
    import enum
else:
    from amaranth.lib import enum

__all__ = [
    "ENGINES", "Engine", "ErrorCode", "LoadTarget", "Opcode", "RealFunction", "Reduction",
    "SpecialOperation", "StoreSource", "VectorMode", "WeightFormat",
]


class Engine(IntEnum):
    """Engines in data-flow order; the value is the bit in ``wait`` and ``signal``."""

    LOAD = 0  #: memory to scratchpads
    COMPUTE = 1  #: activation scratchpad through the array into the accumulators
    VECTOR = 2  #: accumulators through the requantizers into the output buffer
    SPECIAL = 3  #: functions, sums and products of bytes, operand to result memory; optional
    STORE = 4  #: output buffer or result memory to memory
    UPDATE = 5  #: optimizers of weights in memory, in place; optional


ENGINES: Final = len(Engine)


class Opcode(enum.IntEnum, shape=4):
    """What the low bits of an instruction's first word may say; 0 is illegal on purpose."""

    LOAD = 1
    COMPUTE = 2
    VECTOR = 3
    STORE = 4
    END = 5  #: no further instructions; the machine is done when every engine is idle
    SPECIAL = 6
    UPDATE = 7


class LoadTarget(enum.IntEnum, shape=4):
    """Where LOAD puts what it reads."""

    ACTIVATION = 0
    WEIGHT = 1
    PARAMETER = 2
    OPERAND = 3  #: SPECIAL's operands: lane * special.bytes + offset
    TABLE = 4  #: SPECIAL's 32-bit tables: A, then from byte 4 * special.entries on B
    DYNAMIC = 5  #: slots of dynamic quantization, 16 bytes each: scale (binary32), zero point;
    #: then, with ``real.functions``, bounds of binary32 values: low and high, finite
    FUNCTION = 6  #: VECTOR's tables of FUNCTION_ENTRIES bytes, one after the other
    ADDEND = 7  #: VECTOR's second operands, each at the output buffer's byte address of the result
    SUMS = 8  #: VECTOR's pairs of tables for sums, SUM_BEATS beats each: entry k, A and B (int32),
    #: at the beginning of beat k, then bounds low and high (int16) at that of beat 256
    REAL = 9  #: VECTOR's second operands in binary32, from byte address 0 of their memory on
    TAGS = 10  #: exponents (int8) of the activation scratchpad's lines, a byte for each beat


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
    REAL = 7  #: v itself, binary32, 4 bytes little endian: a zero without sign, and what is not
    #: finite as infinity


class RealFunction(enum.IntEnum, shape=3):
    """Bits of VECTOR's field ``table`` in MEASURE, QUANTIZE and REAL, with ``real.functions``."""

    BOUNDED = 1  #: a finite v is held between the bounds (target DYNAMIC), in the end
    SCALED = 2  #: every v becomes f(f(v * slope) + offset), without `function`, and without
    #: `residual` unless that is alone
    GATED = 4  #: v becomes f(v * its second operand) instead of the sum, without `function`


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
