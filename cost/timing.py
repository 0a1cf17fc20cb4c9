# SPDX-License-Identifier: Apache-2.0
"""What instructions cost, and how many may wait, for the performance model."""

import numpy as np
from numpy.typing import NDArray

from kiwicha.machine.blocks import block_pauses
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import (
    INSTRUCTION_WORDS,
    Opcode,
    SpecialOperation,
    VectorMode,
    WeightFormat,
)
from kiwicha.machine.latency import (
    LOSS_SPACING,
    POINTERS,
    SOFTMAX_GROUP,
    SOFTMAX_SPACING,
    vector_latency,
)

__all__ = [
    "FORWARD_LATENCY", "INTERLEAVE_CYCLES", "READ_ROUND_TRIP", "SPECIAL_GAP", "SPECIAL_LATENCY",
    "block_cycles", "decode_cycles", "format_cycles", "queued_instructions", "special_cycles",
    "vector_cycles",
]

READ_ROUND_TRIP = 28
"""Cycles that a read burst is in flight: a memory latency of 20, and the master. An estimate."""
FORWARD_LATENCY = 11
"""Cycles of a STORE on chip besides those of its beats. An estimate."""
INTERLEAVE_CYCLES = 8
"""Cycles from the last beat of an interleaved LOAD to the first one of the next. An estimate."""
SPECIAL_LATENCY = 24
"""Cycles from an instruction's last element to its `done`, and what checking the next one adds.
An estimate: operations, but for MUL, differ in the former by 14, numbers of rows and lanes in the
latter."""

SPECIAL_GAP = {
    SpecialOperation.TABLE: 11, SpecialOperation.ADD: 19, SpecialOperation.MUL: 25,
    SpecialOperation.CROSS_ENTROPY: 17,
}
"""Cycles from an instruction's last element to the first one of the next, which begins when the
last result is written; none for what measures rows meanwhile."""

# Estimates, of what differs by mode and place.
_MEASURE = 40  # from a group's last element to its first result
_ROOT = {1: 95, 2: 64}  # sums, square root and division of a row to normalize, by `special.digits`;
# by its values 12, or 6, more or less
_DECODER = 8  # cycles between the last row of a stream and the first one of the next


def vector_cycles(
    config: AcceleratorConfig, mode: VectorMode, steps: int, settle: bool, residual: bool
) -> tuple[int, int]:
    """Return the cycles of VECTOR's steps, and those from the last one to its `done`."""
    wide = 4 if mode in (VectorMode.RAW, VectorMode.REAL) else 1
    latency = vector_latency(config, mode, settle=settle, residual=residual)
    return steps * wide, latency - (wide - 1)


def block_cycles(config: AcceleratorConfig, channels: int) -> int:
    """Cycles of a pixel of ``channels`` results that are quantized by blocks."""
    writes, spacing = block_pauses(config)
    whole, rest = divmod(channels, config.blocks.channels)
    sizes = [config.blocks.channels] * whole + [rest] * (rest > 0)
    return sum(max(-(-size // config.requantize_lanes) + writes, spacing) for size in sizes)


def queued_instructions(config: AcceleratorConfig, opcode: Opcode) -> int:
    """Instructions of one kind that can wait between dispatch and their engine.

    The queue holds whole words; two more instructions wait in the assembler and at the tokens.
    """
    return config.queue_words // INSTRUCTION_WORDS[opcode] + 3


def format_cycles(
    config: AcceleratorConfig, name: WeightFormat, extent: int, size: int
) -> int:
    """Cycles that a matrix of ``size`` bytes in lines of ``extent`` takes to write, beats apart.

    A write is part of one line and of one tile's row (ROWS), or of one line (COLUMNS), and a beat
    at most.
    """
    lines, rest = divmod(size, extent)

    def pieces(length: int) -> int:
        if name == WeightFormat.COLUMNS:
            return -(-length // config.beat_bytes)
        tiles, last = divmod(length, config.columns)
        return tiles * -(-config.columns // config.beat_bytes) + -(-last // config.beat_bytes)

    return lines * pieces(extent) + pieces(rest)


def decode_cycles(
    config: AcceleratorConfig, form: WeightFormat, columns: int, entries: NDArray[np.int64]
) -> tuple[int, int]:
    """Cycles that a stream's decoder takes for its rows, and before the first one, beats apart.

    A row ends in the cycle that shows an entry of a later one.
    """
    work = int((entries // config.sparse.entries + 1).sum())
    if form in (WeightFormat.BITMASK, WeightFormat.RUN_LENGTH):
        return work, _DECODER
    return work, _DECODER + -(-columns // POINTERS)


def special_cycles(
    config: AcceleratorConfig, operation: SpecialOperation, rows: int, length: int
) -> int:
    """Cycles of ``rows`` rows in every lane: an element a cycle, and a look at each row before.

    SOFTMAX measures a group of rows while the one before it is computed: a beat a cycle for the
    maximum, then an element of each row in turn, as often as a sum takes one. NORMALIZE measures
    a row while the one before it is computed. CROSS_ENTROPY shows a row four times, once slowly.
    """
    elements = rows * length
    if operation == SpecialOperation.CROSS_ENTROPY:
        return elements * (3 + LOSS_SPACING)
    if operation == SpecialOperation.NORMALIZE:
        return elements + rows * _ROOT[config.special.digits] + length
    if operation != SpecialOperation.SOFTMAX:
        return elements
    spacing = SOFTMAX_SPACING[config.special.softmax]
    beats = -(-length // config.beat_bytes) + 1
    groups = [
        min(SOFTMAX_GROUP, rows - first) for first in range(0, rows, SOFTMAX_GROUP)
    ]
    measured = [group * beats + length * max(group, spacing) for group in groups]
    total = measured[0]
    for group, following in zip(groups, [*measured[1:], 0], strict=True):
        total += max(group * length, following)
    return total + _MEASURE
