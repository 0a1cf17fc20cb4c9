# SPDX-License-Identifier: Apache-2.0
"""What VECTOR must leave in the output buffer, in NumPy, and random legal instructions."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.requantize import requantize
from hw.config import AcceleratorConfig, RequantizeMode
from hw.isa import PARAMETER_BYTES
from tests.vector.requantize_cases import fixed_point_cases, float_cases, random_int32

__all__ = ["expected_output", "instructions", "parameters", "steps"]

Fields = dict[str, int]


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
    lanes = cfg.parameter_lanes
    column = np.arange(cfg.columns)
    channel = column // cfg.requantize_lanes * lanes + column % cfg.requantize_lanes
    # Entries that differ by a unit or two, and entries whose results differ.
    shape = entries, cfg.columns
    aimed = np.rint(total[channel] * rng.uniform(-1, 1, shape)).astype(np.int64)
    near = total[channel] + rng.integers(-2, 3, shape)
    accumulators = np.where(rng.random(shape) < 0.7, aimed, near) - bias[channel]
    accumulators = (accumulators + (1 << 31)) % (1 << 32) - (1 << 31)
    record = np.dtype([
        ("bias", "<i4"), ("multiplier", "<u4"), ("shift", "i1"), ("pad", "u1", PARAMETER_BYTES - 9)
    ])  # fmt: skip
    records = np.zeros(count, record)
    records["bias"], records["multiplier"], records["shift"] = bias, multiplier, shift
    records["pad"] = rng.integers(0, 256, records["pad"].shape)
    return records, accumulators, records.view(np.uint8)


def steps(cfg: AcceleratorConfig, fields: Fields) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (entry, column group, parameter group, output byte, live lanes) of every step."""
    lanes = cfg.requantize_lanes
    entry = fields["accumulator"]
    for line in range(fields["lines"]):
        for pixel in range(fields["pixels"]):
            place = fields["local"] + line * fields["line_pitch"] + pixel * fields["pixel_pitch"]
            for group in range(-(-fields["channels"] // lanes)):
                live = min(lanes, fields["channels"] - group * lanes)
                yield entry, group, fields["parameter"] + group, place + group * lanes, live
            entry += 1


def expected_output(
    cfg: AcceleratorConfig,
    program: list[Fields],
    records: npt.NDArray[Any],
    accumulators: npt.NDArray[np.int64],
    output: npt.NDArray[Any],
) -> None:
    """Run ``program`` into ``output``, one step after the other."""
    for fields in program:
        for entry, group, parameter, place, live in steps(cfg, fields):
            record = records[parameter * cfg.parameter_lanes :][:live]
            first = group * cfg.requantize_lanes
            output[place : place + live] = requantize(
                accumulators[entry, first : first + live],
                record["multiplier"], record["shift"].astype(np.int64), fields["zero_point"],
                fields["low"], fields["high"], cfg.requantize_mode, bias=record["bias"],
            ).astype(np.uint8)  # fmt: skip


def instructions(
    cfg: AcceleratorConfig, rng: np.random.Generator, count: int, longest: int = 12
) -> list[Fields]:
    """Return random legal instructions, some of a single step, pitches of either sign."""
    program: list[Fields] = []
    groups = cfg.parameter_channels // cfg.parameter_lanes
    while len(program) < count:
        channels = int(rng.integers(1, cfg.columns + 1))
        pixels, lines = (int(n) for n in rng.integers(1, longest, 2) // rng.integers(1, 5, 2) + 1)
        if rng.random() < 0.4:  # a step or so
            pixels, lines, channels = 1, 1, min(channels, cfg.requantize_lanes + 1)
        room = groups - -(-channels // cfg.requantize_lanes)
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
            "pixel_pitch": int(rng.integers(-2 * channels, 2 * channels + 1)),
            "line_pitch": int(rng.integers(-8 * channels, 8 * channels + 1)),
            "signal": int(rng.integers(16)),
        }
        corners = [
            fields["local"] + p * fields["pixel_pitch"] + n * fields["line_pitch"]
            for p in (0, pixels - 1)
            for n in (0, lines - 1)
        ]
        inside = min(corners) >= 0 and max(corners) + channels <= cfg.output_bytes
        if inside and fields["accumulator"] + pixels * lines <= cfg.accumulator_depth:
            program.append(fields)
    return program
