# SPDX-License-Identifier: Apache-2.0
"""What VECTOR must leave in the output buffer, in NumPy, and random legal instructions."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.golden.vector import VectorState, vector
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import index_fields, window, window_field
from kiwicha.machine.isa import BOUNDS_PLACE, SUM_BEATS, VECTOR, RealFunction, VectorMode
from kiwicha.machine.modes import BlockScale, RequantizeMode
from kiwicha.machine.records import OFFSET_PLACE, PARAMETER_RECORD
from kiwicha.machine.sum_tables import FRACTION

from .requantize_cases import fixed_point_cases, float_cases, random_int32
from .shift_cases import shift_fields

__all__ = ["expected_output", "instructions", "parameters", "steps"]

Fields = dict[str, int]
_WIDE = VectorMode.RAW, VectorMode.REAL
_REAL = VectorMode.MEASURE, VectorMode.QUANTIZE, VectorMode.REAL


def parameters(
    cfg: AcceleratorConfig, rng: np.random.Generator, entries: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return parameters of every channel (records), accumulators that suit them, and raw bytes.

    Accumulator ``[entry, column]`` and the parameters of channel ``column`` make a case that finds
    faults in a requantizer, if the parameters start at group 0. Padding is noise.
    """
    count = cfg.parameter_channels
    shift = rng.integers(-128, 128, count)
    multiplier = rng.integers(0, 1 << 32, count)
    if cfg.requantize_mode is RequantizeMode.ONNX:
        total, multiplier = float_cases(rng, max(count, 4096))
        total, multiplier = total[-count:], multiplier[-count:]
    elif cfg.requantize_mode is RequantizeMode.SHIFT:
        total, shift = random_int32(rng, count), rng.integers(0, 32, count)
    else:
        total, multiplier, shift = (c[-count:] for c in fixed_point_cases(rng, max(count, 4096)))
    bias = rng.integers(-(1 << 31), 1 << 31, count)
    if cfg.dynamic:  # binary32 numbers, both
        bias = rng.normal(0, 30, count).astype(np.float32).view(np.int32).astype(np.int64)
        bias[0] = np.float32(-0.0).view(np.int32)  # what v is there, the scales alone say
        multiplier = rng.uniform(5e-5, 2e-4, count).astype(np.float32).view(np.uint32)
    lanes = cfg.parameter_lanes
    column = np.arange(cfg.columns)
    channel = column // cfg.requantize_lanes * lanes + column % cfg.requantize_lanes
    # Entries that differ by a unit or two, and entries whose results differ.
    shape = entries, cfg.columns
    aimed = np.rint(total[channel] * rng.uniform(-1, 1, shape)).astype(np.int64)
    near = total[channel] + rng.integers(-2, 3, shape)
    accumulators = np.where(rng.random(shape) < 0.7, aimed, near) - bias[channel]
    accumulators = (accumulators + (1 << 31)) % (1 << 32) - (1 << 31)
    if cfg.dynamic:
        # Values of any size in the first entries, else such that a scale of 1 spreads the results.
        accumulators = rng.integers(-(1 << 31), 1 << 31, shape) >> rng.integers(0, 28, shape)
        accumulators[:3, 0] = 3, -2, 0  # least numbers, whose scale rounds to 0
        accumulators[entries // 4 :] = rng.integers(-(1 << 19), 1 << 19, shape)[entries // 4 :]
    records = np.zeros(count, PARAMETER_RECORD)
    records["bias"], records["multiplier"], records["shift"] = bias, multiplier, shift
    records["slope"] = np.random.default_rng(count).choice((0.1, 0.01, 0, -0.3, 1, 3.7), count)
    records["rest"] = rng.integers(0, 256, records["rest"].shape)
    if cfg.real.functions:
        offsets = np.random.default_rng(count).choice((0.5, -3, 1e-3, 0, -0.0, 40), count)
        octets = records.view(np.uint8).reshape(count, -1)
        octets[:, OFFSET_PLACE : OFFSET_PLACE + 4] = (
            offsets.astype("<f4").view(np.uint8).reshape(count, 4)
        )
    return records, accumulators, records.view(np.uint8)


def steps(cfg: AcceleratorConfig, fields: Fields) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (entry, column group, parameter group, output byte, live lanes) of every step, those of
    a window one after the other."""
    lanes = cfg.requantize_lanes
    tile, wide = cfg.columns // lanes, 4 if fields.get("mode") in _WIDE else 1
    entry = fields["accumulator"]
    mode = fields.get("mode", VectorMode.REQUANTIZE)
    windowed = mode != VectorMode.BLOCK and not (mode in _REAL and fields.get("residual"))
    shape = window(fields) if fields.get("scales") and windowed else None
    for line in range(fields["lines"]):
        for pixel in range(fields["pixels"]):
            inside = [0]
            if shape is not None:
                entry = fields["accumulator"] + line * shape["line_entries"]
                entry += pixel * shape["pixel_entries"]
                inside = [r * fields["tile_entries"] + c
                          for r in range(shape["rows"]) for c in range(shape["columns"])]
            place = fields["local"] + line * fields["line_pitch"] + pixel * fields["pixel_pitch"]
            for group in range(-(-fields["channels"] // lanes)):
                live = min(lanes, fields["channels"] - group * lanes)
                at, column = (entry, group) if not fields.get("tiles") else (
                    entry + group // tile * fields["tile_entries"], group % tile
                )
                for more in inside:
                    yield (
                        at + more, column, fields["parameter"] + group,
                        place + group * lanes * wide, live,
                    )
            entry += 1


def expected_output(
    cfg: AcceleratorConfig,
    program: list[Fields],
    raw: npt.NDArray[np.uint8],
    accumulators: npt.NDArray[np.int64],
    output: npt.NDArray[Any],
    state: VectorState | None = None,
) -> VectorState:
    """Run ``program`` into ``output`` with the parameters' bytes ``raw``; return the state."""
    state = state or VectorState()
    unset = dict.fromkeys((name for name, _ in VECTOR), 0)
    octets = np.zeros(output.size, np.uint8)
    for fields in program:
        # What the instruction writes shows as what becomes of two different backgrounds.
        others = (octets, octets + np.uint8(1))
        made = [other.copy() for other in others]
        for index, buffer in enumerate(made):
            before = state if index == 1 else copy.deepcopy(state)
            vector(cfg, unset | fields, accumulators.astype(np.int32), raw, buffer, before)
        written = (made[0] != others[0]) | (made[1] != others[1])
        output[written] = made[0][written]
    return state


def sum_state(cfg: AcceleratorConfig, rng: np.random.Generator, state: VectorState) -> None:
    """Give ``state`` second operands and tables whose sums are results, some beyond the bounds."""
    state.addends = rng.integers(0, 256, cfg.output_bytes, np.uint8)
    state.sums = rng.integers(0, 256, (2, SUM_BEATS, cfg.beat_bytes), np.uint8)
    for table, (low, high) in zip(state.sums, ((-128, 127), (3, 200)), strict=True):
        middle = rng.integers(-(1 << 30), 1 << 30)
        entries = rng.integers(-150 << FRACTION, 150 << FRACTION, (256, 2))
        entries += [middle, -middle]
        table[:256, :8] = entries.astype("<i4").view(np.uint8)
        table[256, :4] = np.array([low, high], "<i2").view(np.uint8)


def operand_state(cfg: AcceleratorConfig, rng: np.random.Generator, state: VectorState) -> None:
    """Give ``state`` second operands of the sizes that values have, and some of any size."""
    count = cfg.real.bytes // 4
    values = rng.normal(0, 100, count) * 2.0 ** rng.choice((0, 0, 0, -20, -140), count)
    values[rng.random(count) < 0.05] = 0
    state.operands = values.astype("<f4").view(np.uint8)
    if cfg.real.functions:
        bounds = sorted(rng.normal(0, 60, 2)), sorted(rng.uniform(1, 90, 2)), (30, -5), (0, 6)
        state.bounds = np.zeros(BOUNDS_PLACE, np.uint8)
        state.bounds[:8] = np.array(bounds[rng.integers(4)], "<f4").view(np.uint8)


def real_functions(cfg: AcceleratorConfig, rng: np.random.Generator, fields: Fields) -> int:
    """Return the field ``table`` of an instruction of binary32 values, at random among the legal
    ones; slopes of negative values alone are given up for it."""
    if not cfg.real.functions:
        return 0
    alone = fields.get("sums") or not fields.get("residual")
    product = RealFunction.SCALED if alone else RealFunction.GATED
    asked = int(rng.choice((0, product)))
    if asked:
        fields["function"] = 0
    return asked | int(rng.choice((0, RealFunction.BOUNDED)))


def add_operands(cfg: AcceleratorConfig, rng: np.random.Generator, fields: Fields) -> bool:
    """Let an instruction have second operands or slopes; return whether these are in place."""
    fields["function"] = int(rng.integers(2))
    fields["residual"] = int(rng.random() < 0.7)
    if not fields["residual"]:
        return True
    fields["sums"] = int(rng.random() < 0.4)
    step = 1 if fields["mode"] == VectorMode.REAL else 4
    ends = [
        step * (p * fields["pixel_pitch"] + n * fields["line_pitch"])
        for p in (0, fields["pixels"] - 1) for n in (0, fields["lines"] - 1)
    ]
    low, high = -min(ends), cfg.real.bytes - max(ends) - 4 * fields["channels"]
    fields["scales"] = int(rng.choice((low, high, rng.integers(low, max(high, low) + 1)))) // 4 * 4
    return low <= fields["scales"] <= high


def instructions(
    cfg: AcceleratorConfig,
    rng: np.random.Generator,
    count: int,
    longest: int = 12,
    modes: tuple[int, ...] = (VectorMode.REQUANTIZE,),
) -> list[Fields]:
    """Return random legal instructions, some of a single step, pitches of either sign."""
    program: list[Fields] = []
    groups = cfg.parameter_channels // cfg.parameter_lanes
    while len(program) < count:
        mode = int(rng.choice(modes))
        tiles = int(rng.integers(4)) if cfg.blocks.channels and rng.random() < 0.6 else 0
        channels = int(rng.integers(1, cfg.columns + 1)) + tiles * cfg.columns
        pixels, lines = (int(n) for n in rng.integers(1, longest, 2) // rng.integers(1, 5, 2) + 1)
        if rng.random() < 0.4:  # a step or so
            pixels, lines, tiles = 1, 1, 0
            channels = min(channels, cfg.columns, cfg.requantize_lanes + 1)
        wide = 4 if mode in _WIDE else 1
        room = groups - -(-channels // cfg.requantize_lanes)
        if room < 0:
            continue
        low, high = [(-128, 127), (0, 255), (-3, 90), (17, 17)][rng.integers(4)]
        fields = {
            "zero_point": int(rng.integers(low, high + 1)),
            "low": low,
            "high": high,
            "accumulator": int(rng.integers(cfg.accumulator_depth)),
            "channels": channels,
            "parameter": [0, int(rng.integers(room + 1)), room][rng.integers(3)],
            "local": int(rng.integers(cfg.output_bytes)),
            "pixels": pixels,
            "lines": lines,
            "pixel_pitch": int(rng.integers(-2 * channels, 2 * channels + 1)) * wide,
            "line_pitch": int(rng.integers(-8 * channels, 8 * channels + 1)) * wide,
            "signal": int(rng.integers(16)),
            "mode": mode,
            "tiles": tiles,
            "tile_entries": int(rng.integers(0, 20)) if tiles else 0,
        }
        if mode in _REAL:
            # The first two slots keep the scales that suit the values.
            fields |= {name: int(rng.choice((0, 1, 0, 1, 2, 3))) for name in ("slot", "target")}
            fields["relu"] = int(rng.integers(2))
            if rng.random() < 0.8:
                fields |= {"low": 0, "high": 255}
        if mode == VectorMode.MEASURE:
            fields["target"] = int(rng.integers(2, 4))
            fields |= {name: int(rng.random() < 0.6) for name in ("begin", "settle")}
        if cfg.functions and mode == VectorMode.REQUANTIZE and rng.random() < 0.7:
            fields |= {"function": 1, "table": int(rng.integers(cfg.functions.tables))}
        if cfg.residual and mode == VectorMode.REQUANTIZE and rng.random() < 0.7:
            fields |= {"residual": 1, "sums": int(rng.integers(2))}
        if mode in (VectorMode.RANGE, VectorMode.SHIFT):
            fields |= shift_fields(cfg, rng, mode)
        highest = fields["accumulator"] + pixels * lines + tiles * fields["tile_entries"]
        pooled = mode == VectorMode.REQUANTIZE or (cfg.real and mode in _REAL)
        if cfg.pooling and pooled and not tiles and rng.random() < 0.7:
            rows, columns = (int(n) for n in rng.integers(1, cfg.pooling.window + 1, 2))
            pixel, line, row = (int(n) for n in rng.integers(0, cfg.accumulator_depth // 3, 3))
            fields["scales"] = window_field(
                rows=rows, columns=columns, pixel_entries=pixel, line_entries=line,
            )
            fields["tile_entries"] = row
            highest = fields["accumulator"] + (lines - 1) * line + (pixels - 1) * pixel
            highest += (rows - 1) * row + columns
        limit = cfg.output_bytes
        if mode == VectorMode.BLOCK:  # scales into the upper half
            size = 1 if cfg.blocks.scale is BlockScale.POT else 4
            size *= pixels * lines * -(-channels // cfg.blocks.channels)
            limit //= 2
            if size > limit:
                continue
            if cfg.blocks.random:
                first = int(rng.integers(1 << 32)) | int(rng.choice((0, 0xFFFFFFF0)))
                pitch = int(rng.choice((channels, rng.integers(1 << 16))))
                fields |= index_fields(first, pitch)
            fields["scales"] = limit + int(rng.choice([0, rng.integers(limit - size + 1)]))
        if cfg.real and mode in _REAL and "scales" not in fields and (
            not add_operands(cfg, rng, fields)
        ):
            continue
        if cfg.real and mode in _REAL:
            fields["table"] = real_functions(cfg, rng, fields)
        corners = [
            fields["local"] + p * fields["pixel_pitch"] + n * fields["line_pitch"]
            for p in (0, pixels - 1)
            for n in (0, lines - 1)
        ]
        inside = min(corners) >= 0 and max(corners) + channels * wide <= limit
        if inside and highest <= cfg.accumulator_depth:
            program.append(fields)
    return program
