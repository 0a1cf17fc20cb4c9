# SPDX-License-Identifier: Apache-2.0
"""Random legal COMPUTE instructions, and the cycles in which their vectors enter the array."""

import random
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from kiwicha.golden.address_generator import compute_steps
from kiwicha.hw.parts.writes import WriteKind, weight_banks
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import COMPUTE, ENGINES, LEVEL_CHANNEL, LEVEL_REDUCTION, LEVELS, ErrorCode

__all__ = [
    "MACHINES", "broken", "entry_cycles", "first_fill", "level", "machine", "random_memories",
    "random_program", "weight_writes",
]

TAILS = ("tail", "line_tail")

STEPS = 120
"""Most steps of a random instruction."""

#: Rows, columns, bits of the memory port, accumulators, and what else a machine has.
MACHINES: dict[str, tuple[int, int, int, int, dict[str, Any]]] = {
    "4x4": (4, 4, 64, 32, {}),
    "3x5": (3, 5, 128, 16, {}),
    "1x1": (1, 1, 64, 16, {}),
    "9x2": (9, 2, 64, 16, {}),
    "8x16": (8, 16, 64, 64, {}),
    "16x16": (16, 16, 128, 64, {}),
    "2x16": (2, 16, 64, 64, {}),
    "4x5t": (4, 5, 64, 16, {"transposer": True}),
    "3x16t": (3, 16, 64, 64, {"transposer": True}),
    "4x3d": (4, 3, 64, 16, {"dynamic": True}),
    # With fewer registers: s without any, m behind memory, a in front of adders.
    "4x3s": (4, 3, 64, 16, {"dynamic": True, "pipeline": ()}),
    "3x5s": (3, 5, 128, 16, {"transposer": True, "pipeline": ()}),
    "4x4s": (4, 4, 64, 32, {"pipeline": ()}),
    "4x4m": (4, 4, 64, 32, {"pipeline": ("memory",)}),
    "4x4a": (4, 4, 64, 32, {"pipeline": ("address", "accumulator")}),
    "4x4f": (4, 4, 64, 32, {"depthwise": True}),
    "5x3f": (5, 3, 64, 16, {"depthwise": True, "pipeline": ()}),
    "2x6f": (2, 6, 64, 64, {"depthwise": True, "dynamic": True}),
    "3x4f": (3, 4, 64, 32, {"depthwise": True, "pipeline": ("memory",)}),
    "8x16f": (8, 16, 64, 64, {"depthwise": True}),
}


def machine(name: str) -> AcceleratorConfig:
    """Return a machine of the table, with memories as small as they may be."""
    rows, columns, width, depth, more = MACHINES[name]
    size = max(256, 2 * rows * (1 << (columns - 1).bit_length()))
    return AcceleratorConfig(
        rows=rows, columns=columns, axi_data_width=width, accumulator_depth=depth,
        activation_bytes=256, weight_bytes=2 * size, requantize_lanes=1, **more,
    )


def level(count: int = 1, y: int = 0, x: int = 0, address: int = 0) -> dict[str, int]:
    """Return one loop."""
    return {"count": count, "y": y, "x": x, "address": address}


def _blank(rows: int) -> dict[str, Any]:
    levels = [level() for _ in range(LEVELS)]
    zeros = dict.fromkeys(COMPUTE.members, 0)
    return {**zeros, "rows": rows, "y_limit": 1, "x_limit": 64, "levels": levels}


def random_memories(cfg: AcceleratorConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return activation and weight scratchpad; the last R weight rows select, for maximum mode."""
    rng = np.random.default_rng(seed)
    activation = rng.integers(0, 256, cfg.activation_bytes, np.uint8)
    pitch = cfg.weight_pitch
    weight = rng.integers(0, 256, (cfg.weight_bytes // pitch, pitch), np.uint8)
    weight[-cfg.rows :] = np.arange(pitch) % cfg.rows == np.arange(cfg.rows)[:, None]
    return activation, weight


def weight_writes(cfg: AcceleratorConfig, weight: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield writes that fill the weight scratchpad: columns if it takes them, else beats."""
    beat, (rows, pitch) = cfg.beat_bytes, weight.shape
    places = [(WriteKind.BEAT, *divmod(byte, pitch)) for byte in range(0, rows * pitch, beat)]
    if cfg.transposer:
        tops = range(0, rows, beat)
        places = [(WriteKind.COLUMN, row, column) for column in range(pitch) for row in tops]
    for kind, row, column in places:
        content = weight.reshape(-1)[row * pitch + column :][:beat]
        if kind == WriteKind.COLUMN:
            content = weight[row : row + beat, column]
        padding = [0] * (weight_banks(cfg) - len(content))
        yield {
            "kind": kind, "row": row, "column": column, "live": len(content) - 1,
            "data": [*content.tolist(), *padding],
        }


def first_fill(cfg: AcceleratorConfig) -> dict[str, Any]:
    """Return an instruction that overwrites every accumulator, in one long pass."""
    fields = _blank(cfg.rows)
    fields["levels"][0] = level(cfg.accumulator_depth, 0, 0, 3)
    return fields


def broken(cfg: AcceleratorConfig) -> Iterator[tuple[str, dict[str, Any], ErrorCode]]:
    """Return (name, fields, error code) of instructions that have to be refused."""
    good = {**first_fill(cfg), "accumulate": 1}
    good["levels"] = [level(4), *good["levels"][1:]]
    weight_rows = cfg.weight_bytes // cfg.weight_pitch
    illegal, outside = ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE
    for index in range(LEVELS):
        levels = [level(2) for _ in range(LEVELS)]
        levels[index] = level(0)
        yield f"count{index}", {**good, "levels": levels}, illegal
    for field, value, code in (
        ("rows", 0, illegal),
        ("rows", cfg.rows + 1, illegal),
        ("rows", 127, illegal),
        ("reserved0", 1 << COMPUTE["reserved0"].width - 1, illegal),
        ("reserved1", 1 << COMPUTE["reserved1"].width - 1, illegal),
        ("aligned", 1, illegal),
        ("unit", 1, illegal),
        *(() if cfg.dynamic else (("dynamic", 1, illegal), ("slot", 2, illegal))),
        *(((name, 4 if cfg.depthwise and name == "tail" else 1, illegal) for name in TAILS)),
        *(() if cfg.depthwise else (("filter", 1, illegal),)),
        ("accumulator", cfg.accumulator_depth, outside),
        ("accumulator", 65535, outside),
        ("weight", weight_rows - cfg.rows + 1, outside),
        ("weight", (1 << 24) - 1, outside),
    ):
        yield f"{field}={value}", {**good, field: value}, code
    # Only the second tile, and only the last entry, lie outside.
    tiles = [level(4) if index == 3 else level() for index in range(LEVELS)]
    far = {"weight": 0, "weight_stride": weight_rows - cfg.rows + 1, "levels": tiles}
    yield "second tile", {**good, **far}, outside
    yield "fifth entry", {**good, "accumulator": cfg.accumulator_depth - 3}, outside


def _random_one(cfg: AcceleratorConfig, chooser: random.Random) -> dict[str, Any]:
    fields = _blank(chooser.choice((1, cfg.rows, chooser.randint(1, cfg.rows))))
    maximum = chooser.random() < 0.2
    weight_rows = cfg.weight_bytes // cfg.weight_pitch
    while True:
        # Single pixels and long rows, both with few and with many passes.
        longest = chooser.choice((1, 2, 4, 20))
        counts = [chooser.choice((1, 1, 2, chooser.randint(1, longest))) for _ in range(LEVELS)]
        longest, tails = 1 << max(1, (cfg.rows - 1).bit_length()), [0, 0]
        if cfg.depthwise and chooser.randrange(3):
            tails = [chooser.randrange(min(count, longest)) for count in counts[:2]]
        pixels = prod(count - tail for count, tail in zip(counts, [*tails, 0], strict=False))
        entries = pixels * counts[LEVEL_CHANNEL]
        if prod(counts) <= STEPS and entries <= cfg.accumulator_depth:
            break
    if any(tails) and chooser.randrange(4):
        reach = 1 + tails[0] + tails[1] * counts[0]
        fields |= {"filter": 1, "rows": min(reach, cfg.rows, chooser.randint(1, 2 * cfg.rows))}
    passes = prod(counts[LEVEL_REDUCTION:])
    room = weight_rows - fields["rows"]
    stride = 0 if passes == 1 else min(chooser.randint(0, fields["rows"]), room // (passes - 1))
    wild = chooser.random() < 0.2
    reach = (1 << 23) - 1 if wild else 2 * cfg.rows
    fields |= {
        "signal": chooser.randrange(1 << ENGINES),
        "wait": chooser.randrange(1 << ENGINES),
        "accumulate": chooser.randrange(2),
        **dict(zip(TAILS, tails, strict=True)),
        "activation_signed": chooser.randrange(2),
        "weight_signed": chooser.randrange(2),
        "activation_zero": chooser.randrange(-256, 256),
        "weight_zero": chooser.choice((0, chooser.randrange(-256, 256))),
        "pad": chooser.choice((0, chooser.randrange(-256, 256))),
        "y": chooser.randint(-3, 3),
        "x": chooser.randint(-reach - 1, reach),
        "address": chooser.randint(-reach - 1, reach),
        "y_limit": chooser.choice((0, 65535, chooser.randint(1, 6))),
        "x_limit": chooser.choice((0, (1 << 24) - 1, chooser.randint(1, 3 * cfg.rows))),
        "weight": chooser.randint(0, room - stride * (passes - 1)),
        "weight_stride": stride,
        "accumulator": chooser.randint(0, cfg.accumulator_depth - entries),
        "levels": [
            level(
                count,
                chooser.randint(-2, 2),
                chooser.randint(-reach - 1, reach),
                chooser.randint(-reach - 1, reach),
            )
            for count in counts
        ],
    }
    if cfg.dynamic:
        fields |= {"dynamic": chooser.randrange(2), "slot": chooser.randrange(4)}
    if maximum:
        # Sums have to stay within 10 bits: one weight of 1 in each column.
        fields |= {"maximum": 1, "accumulate": 0, "weight": weight_rows - cfg.rows}
        fields |= {"weight_stride": 0, "weight_zero": 0}
        fields["filter"] = 0
    return fields


def random_program(cfg: AcceleratorConfig, seed: int, length: int) -> list[dict[str, Any]]:
    """Return instructions that stay inside all memories."""
    chooser = random.Random(f"{seed} {cfg.rows}x{cfg.columns}")
    program = []
    while len(program) < length:
        fields = _random_one(cfg, chooser)
        program.append(fields)
        if fields["maximum"] and chooser.randrange(2):
            program.append({**fields, "accumulate": 1, "address": fields["address"] + 1})
        elif chooser.randrange(4) == 0:
            # The entry written last is the first to be updated next, at the closest distance.
            end = 1 + int(compute_steps(fields).entry[compute_steps(fields).result].max())
            levels = [level(1, 1, 1, 1) for _ in range(LEVELS)]
            again = {"accumulate": 1, "accumulator": end - 1, "levels": levels}
            again |= dict.fromkeys(("filter", *TAILS), 0)
            if not fields["maximum"]:
                program.append({**fields, **again})
    return program


def entry_cycles(program: list[dict[str, Any]], interval: int, gap: int) -> list[int]:
    """Return the cycles, from the first, in which vectors enter the array of a busy engine."""
    cycles: list[int] = []
    free = 0
    for fields in program:
        counts = [item["count"] for item in fields["levels"]]
        pixels = prod(counts[:LEVEL_REDUCTION])
        now = max(free, cycles[-1] + gap) if cycles else 0
        for _ in range(prod(counts[LEVEL_REDUCTION:])):
            now = max(now, free)
            cycles += range(now, now + pixels)
            free = now + max(interval, fields["rows"])
            now += pixels
    return cycles
