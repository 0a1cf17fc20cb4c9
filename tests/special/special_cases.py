# SPDX-License-Identifier: Apache-2.0
"""Instructions, tables and expected results for the tests of the SPECIAL engine."""

import numpy as np

from kiwicha.golden.special import special
from kiwicha.hw.special.special_check import REPEATS
from kiwicha.machine.fixed_pairs import with_multiplier
from kiwicha.machine.isa import SLOTS, SpecialOperation
from kiwicha.machine.modes import SoftmaxMode
from kiwicha.machine.tables import softmax_tables

__all__ = ["execute", "instruction", "tables_for"]

_SHIFTS = {
    SpecialOperation.ADD: (-36, -20), SpecialOperation.NORMALIZE: (12, 32),
    SpecialOperation.MUL: (-36, -24),
}
_PAIRS = (SpecialOperation.ADD, SpecialOperation.MUL)


def tables_for(cfg, rng, operation):
    """Return tables A and B with entries that the operation promises to handle."""
    shape = (2, cfg.special.entries)
    if cfg.fixed_pairs and operation in _PAIRS:
        terms = rng.integers(-(1 << 27), 1 << 27, shape)
        if operation == SpecialOperation.MUL:
            terms = rng.integers(-255, 256, shape) ^ rng.integers(0, 1 << 20, shape) << 9
        return terms.astype(np.int32).view(np.uint32)
    if operation == SpecialOperation.ADD:
        values = rng.normal(0, 60, shape[1]) * 2.0 ** rng.integers(-9, 4, shape[1])
        products = rng.integers(0, 256, shape[1]) * rng.integers(1 << 23, 1 << 24)
        return np.stack([products.astype(np.uint32), values.astype(np.float32).view(np.uint32)])
    if operation == SpecialOperation.MUL:
        words = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
        offsets = rng.integers(-128, 256, shape[1]).astype(np.float32).view(np.uint32)
        words[0] = np.where(rng.random(shape[1]) < 0.9, words[0] & 0xFFFF | offsets, words[0])
        return words
    if operation == SpecialOperation.SOFTMAX:
        return np.concatenate(
            [
                softmax_tables(cfg.special.softmax, 2.0 ** rng.uniform(-8, 0), cfg.special.bytes)
                for _ in range(cfg.special.entries // 256)
            ],
            axis=1,
        )
    if operation == SpecialOperation.NORMALIZE:
        gains = rng.integers(-(1 << 23), 1 << 23, cfg.special.entries)
        offsets = rng.integers(-(1 << 23), 1 << 23, cfg.special.entries)
        return np.stack([gains, offsets]).astype(np.int32).view(np.uint32)
    return rng.integers(0, 1 << 32, shape, dtype=np.uint32)


def instruction(cfg, rng, operation, *, longest=None, rows=None):
    """Return the fields of a random legal instruction."""
    size = cfg.special.bytes
    table = int(rng.integers(cfg.special.entries // 256))
    longest = min(longest or size, size)
    if operation == SpecialOperation.NORMALIZE:
        longest = min(longest, cfg.special.entries - 256 * table)
    if operation == SpecialOperation.CROSS_ENTROPY:
        table, longest = int(rng.integers(SLOTS)), min(longest, cfg.training.classes)
    length = int(rng.integers(1, rng.integers(1, longest + 1) + 1))
    most = size // length
    rows = min(rows or int(rng.integers(1, most + 1)), most)
    # As many rows as there are lanes for, or fewer: the last lanes have a part, or nothing.
    total = int(rng.integers(1, cfg.special.lanes * rows + 1))
    if rng.random() < 0.3:
        total = cfg.special.lanes * rows
    if rng.random() < 0.2:
        rows = int(rng.integers(total, 1 << 16))  # all in lane 0
        total = min(total, most)
    used = min(rows, total) * length
    places = {name: int(rng.integers(0, size - used + 1)) for name in ("x", "z", "y")}
    again = {name: int(operation in _PAIRS and rng.integers(3) == 0) for name in REPEATS}
    if operation == SpecialOperation.NORMALIZE:
        places["z"] = int(rng.integers(0, 1 << rng.integers(1, 33)))
    elif operation not in _PAIRS:
        places["z"] = int(rng.integers(0, 1 << 32))  # not looked at
    if operation == SpecialOperation.CROSS_ENTROPY:
        again["z_byte"] = 1
    for name in "xz" if operation in (*_PAIRS, SpecialOperation.CROSS_ENTROPY) else "":
        most = (1 if again[f"{name}_row"] else min(rows, total)) * (
            1 if again[f"{name}_byte"] else length
        )
        places[name] = int(rng.integers(0, size - most + 1))
    low, high = ((-128, 127), (0, 255), (-5, 90), (3, 3))[rng.integers(4)]
    fields = {
        "signal": int(rng.integers(0, 32)),
        "operation": int(operation),
        "x_signed": int(rng.integers(2)),
        "z_signed": int(rng.integers(2)),
        **again,
        "table": table,
        "rows": rows,
        "length": length,
        "total": total,
        **places,
        "zero_point": int(rng.integers(low, high + 1)),
        "low": low,
        "high": high,
        **_uncentred(rng, operation),
        "shift": int(rng.integers(*_SHIFTS.get(operation, (-9, -8)))),
    }
    if cfg.fixed_pairs and operation in _PAIRS:
        reach = (-24, -14) if operation == SpecialOperation.ADD else (-12, -3)
        multiplier = int(rng.choice([rng.integers(1 << 30, 1 << 31), 1 << 30, (1 << 31) - 1]))
        fields = with_multiplier(fields | {"shift": int(rng.integers(*reach))}, multiplier)
    return fields


def _uncentred(rng, operation):
    """Return whether the mean stays, and the zero point that goes."""
    uncentred = operation == SpecialOperation.NORMALIZE and rng.integers(2)
    return {
        "uncentred": int(uncentred), "x_zero": int(rng.integers(-128, 128)) if uncentred else 0,
    }


def execute(cfg, program, operand, tables, result, exponents=()):
    """Change ``result`` int[L, special.bytes] as the program does; -1 is an unknown byte.
    ``exponents`` are those of the slots."""
    mode = SoftmaxMode(cfg.special.softmax)
    for fields in program:
        # Two runs over different old contents show what is written.
        ones, zeros = (np.full(result.shape, fill, np.uint8) for fill in (255, 0))
        for written in (ones, zeros):
            special(fields, operand, tables, written, mode, cfg.fixed_pairs, exponents)
        result[:] = np.where(ones == zeros, ones, result)
