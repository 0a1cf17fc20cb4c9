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
    ADD_LATENCY,
    FIXED_PAIR_LATENCY,
    LOSS_SPACING,
    MUL_LATENCY,
    POINTERS,
    SOFTMAX_GROUP,
    SOFTMAX_SPACING,
    vector_latency,
)

__all__ = [
    "FORWARD_LATENCY", "INTERLEAVE_CYCLES", "READ_ROUND_TRIP", "SPECIAL_LATENCY", "STORE_LATENCY",
    "block_cycles", "check_cycles", "decode_cycles", "format_cycles", "queued_instructions",
    "softmax_cycles", "special_cycles", "special_gap", "vector_cycles",
]

READ_ROUND_TRIP = 28
"""Cycles that a read burst is in flight: a memory latency of 20, and the master. An estimate."""
FORWARD_LATENCY = 11
"""Cycles of a STORE on chip besides those of its beats. An estimate."""
INTERLEAVE_CYCLES = 8
"""Cycles from the last beat of an interleaved LOAD to the first one of the next. An estimate."""
STORE_LATENCY = 31
"""Cycles of a STORE to memory besides those of its beats. An estimate."""
SPECIAL_LATENCY = 5
"""Cycles from an instruction's last element to its `done`, beyond those to the first element of the
next, and what checking it adds, besides `check_cycles`."""

_SPECIAL_GAP = {
    SpecialOperation.TABLE: 11, SpecialOperation.ADD: 11, SpecialOperation.MUL: 11,
    SpecialOperation.CROSS_ENTROPY: 17, SpecialOperation.NORMALIZE: 24,
}
_SOFTMAX_MEASURED = 24  # from the last byte of a group until another instruction may be measured,
_SOFTMAX_APPLIED = 18  # from then on to its first result, and from the last one

# Estimates, of what differs by mode and place.
_ROOT = {1: 95, 2: 64}  # sums, square root and division of a row to normalize, by `special.digits`;
# by its values 12, or 6, more or less
_DECODER = 8  # cycles between the last row of a stream and the first one of the next


def vector_cycles(
    config: AcceleratorConfig, mode: VectorMode, steps: int, settle: bool, residual: bool
) -> tuple[int, int]:
    """Return the cycles of VECTOR's steps, and those from the last one to its `done`."""
    wide = 4 if mode in (VectorMode.RAW, VectorMode.REAL) else 1
    latency = vector_latency(config, mode, settle=settle, residual=residual)
    return steps * wide, latency - wide


def block_cycles(config: AcceleratorConfig, channels: int) -> int:
    """Cycles of a pixel of ``channels`` results that are quantized by blocks."""
    writes, spacing = block_pauses(config)
    whole, rest = divmod(channels, config.blocks.channels)
    sizes = [config.blocks.channels] * whole + [rest] * (rest > 0)
    return sum(max(-(-size // config.requantize_lanes) + writes, spacing) for size in sizes)


def queued_instructions(config: AcceleratorConfig, opcode: Opcode) -> int:
    """Instructions of one kind that can wait between dispatch and their engine.

    One is at the tokens, and all words but the last of another in the assembler; the rest are in
    the queue and in three registers before and behind it. And one is on its way.
    """
    words = INSTRUCTION_WORDS[opcode]
    return (config.queue_words + 3 + words - 1) // words + 2


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


def check_cycles(rows: int, lanes: int) -> int:
    """Cycles of checking an instruction of SPECIAL that depend on it: ``rows`` in each of so many
    ``lanes`` that have any."""
    return max(rows.bit_length(), lanes)


def special_gap(config: AcceleratorConfig, operation: SpecialOperation) -> int:
    """Cycles from an instruction's last element to the first one of the next, which begins when the
    last result is written; none for what measures rows meanwhile."""
    latency = 0
    if operation in (SpecialOperation.ADD, SpecialOperation.MUL):
        latency = ADD_LATENCY + (operation == SpecialOperation.MUL) * MUL_LATENCY
        latency = FIXED_PAIR_LATENCY if config.fixed_pairs else latency
    return _SPECIAL_GAP.get(operation, 0) + latency


def special_cycles(
    config: AcceleratorConfig, operation: SpecialOperation, rows: int, length: int
) -> int:
    """Cycles of ``rows`` rows in every lane: an element a cycle, and a look at each row before.

    SOFTMAX is in `softmax_cycles`. NORMALIZE measures a row while the one before it is computed.
    CROSS_ENTROPY shows a row four times, once slowly.
    """
    elements = rows * length
    if operation == SpecialOperation.CROSS_ENTROPY:
        return elements * (3 + LOSS_SPACING)
    if operation == SpecialOperation.NORMALIZE:
        return elements + rows * _ROOT[config.special.digits] + length
    if operation == SpecialOperation.SOFTMAX:
        return sum(softmax_cycles(config, rows, length))
    return elements


def softmax_cycles(config: AcceleratorConfig, rows: int, length: int) -> tuple[int, int]:
    """Cycles of SOFTMAX until the next one may be measured, and from then to its last element.

    A group of rows is measured while the one before it is computed: a beat a cycle for the maximum,
    then an element of each row in turn, as often as a sum takes one, then a cycle for each row.
    """
    spacing = SOFTMAX_SPACING[config.special.softmax]
    groups = [
        (first, min(SOFTMAX_GROUP, rows - first)) for first in range(0, rows, SOFTMAX_GROUP)
    ]
    measured = []
    for first, group in groups:
        starts = np.arange(first, first + group) * length
        beats = (starts + length - 1) // config.beat_bytes - starts // config.beat_bytes + 1
        shown = (length - 1) * max(group, spacing) + group
        measured.append(int(beats.sum()) + shown + group)
    total = measured[0]
    for (_, group), following in zip(groups, measured[1:], strict=False):
        total += max(group * length, following)
    return total + _SOFTMAX_MEASURED, groups[-1][1] * length + _SOFTMAX_APPLIED
