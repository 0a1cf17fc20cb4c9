# SPDX-License-Identifier: Apache-2.0
"""What COMPUTE's seven loops visit: position, address, weight row and accumulator of every step.

Defined by the field comments of `machine.isa.COMPUTE`; no cycles, no pipeline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kiwicha.golden.line_align import aligned_lanes
from kiwicha.machine.isa import LEVEL_CHANNEL, LEVEL_REDUCTION, LEVELS

__all__ = ["Steps", "activation_lanes", "compute_steps", "weight_tile"]


@dataclass(frozen=True)
class Steps:
    """One entry a step, in order; all arrays are int64 (flags bool) of the same length.

    Members
    -------
    y, x : image row, and byte within it, of lane 0; wrapped to 16 and 24 bits, signed.
    address : scratchpad byte address of lane 0; wrapped to 24 bits, signed.
    tile : index of the pass, that is of the weight tile in use.
    weight_row : first weight row of that tile; beyond 24 bits where the instruction says so.
    entry : accumulator entry; may lie beyond the accumulators.
    first : the entry is overwritten instead of added to.
    result : the step has a result; without one, its entry is that of the next step that has.
    pixels : steps of one pass (one number, not an array).
    """

    y: np.ndarray
    x: np.ndarray
    address: np.ndarray
    tile: np.ndarray
    weight_row: np.ndarray
    entry: np.ndarray
    first: np.ndarray
    result: np.ndarray
    pixels: int

    def __len__(self) -> int:
        return len(self.y)


def _wrap(value: np.ndarray, bits: int) -> np.ndarray:
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def compute_steps(fields: Mapping[str, Any]) -> Steps:
    """Return the steps of a COMPUTE instruction given by its fields (as `machine.encoding.decode`).

    Raises
    ------
    ValueError
        When a loop's count is zero, or not more than its tail.
    """
    levels: Sequence[Mapping[str, int]] = fields["levels"]
    counts = [int(level["count"]) for level in levels]
    if len(counts) != LEVELS or min(counts) < 1:
        raise ValueError(f"counts are {counts}; legal: {LEVELS} counts of at least 1")
    tails = int(fields["tail"]), int(fields["line_tail"])
    if tails[0] >= counts[0] or tails[1] >= counts[1]:
        raise ValueError(f"tails are {tails}; legal: less than the counts, {counts[:2]}")
    periods = np.cumprod([1, *counts])
    step = np.arange(periods[-1])

    def walk(name: str, bits: int) -> np.ndarray:
        # Loop l has stepped once for every multiple of its period that starts no outer loop.
        value = np.full(len(step), int(fields[name]))
        for index, level in enumerate(levels):
            steps = step // periods[index]
            if index + 1 < LEVELS:
                steps = steps - step // periods[index + 1]
            value += steps * int(level[name])
        return _wrap(value, bits)

    pixels = int(periods[LEVEL_REDUCTION])
    tile = step // pixels
    channel = step // periods[LEVEL_CHANNEL]
    result = (step % counts[0] < counts[0] - tails[0]) & (
        step // counts[0] % counts[1] < counts[1] - tails[1]
    )
    count = int(result[:pixels].sum())
    entries: np.ndarray = np.cumsum(result[:pixels]) - result[:pixels]
    reduction = tile - channel * (periods[LEVEL_CHANNEL] // pixels)
    return Steps(
        y=walk("y", 16),
        x=walk("x", 24),
        address=walk("address", 24),
        tile=tile,
        weight_row=int(fields["weight"]) + tile * int(fields["weight_stride"]),
        entry=int(fields["accumulator"]) + channel * count + entries[step % pixels],
        first=(reduction == 0) & (not fields["accumulate"]),
        result=result,
        pixels=pixels,
    )


def _extend(data: np.ndarray, signed: int, zero: int) -> np.ndarray:
    return _wrap((data.view(np.int8) if signed else data).astype(np.int64) - zero, 9)


def activation_lanes(
    fields: Mapping[str, Any], steps: Steps, activation: np.ndarray, rows: int,
    tags: np.ndarray | None = None,
) -> np.ndarray:
    """Return what enters the array: int64 ``[steps, rows]`` in 9 bits, zero point taken off.

    ``activation`` is the scratchpad, ``uint8[activation_bytes]``, a power of two; ``tags`` the
    exponents of its lines, ``int8``, by which lanes are ``aligned`` if they are asked to be.
    """
    lane = np.arange(rows)
    x = steps.x[:, None] + lane
    y = steps.y[:, None]
    inside = (y >= 0) & (y < fields["y_limit"]) & (x >= 0) & (x < fields["x_limit"])
    place = (steps.address[:, None] + lane) % len(activation)
    data = activation[place]
    if fields.get("aligned") and tags is not None:
        data = aligned_lanes(data, tags[place * len(tags) // len(activation)], fields["unit"])
    value = _extend(data, fields["activation_signed"], fields["activation_zero"])
    if fields["filter"]:
        return np.where(inside, value, fields["pad"])
    return np.where(lane < fields["rows"], np.where(inside, value, fields["pad"]), 0)


def weight_tile(
    fields: Mapping[str, Any], row: int, weight: np.ndarray, columns: int
) -> np.ndarray:
    """Return the tile that begins at weight row ``row``: int64 ``[rows field, columns]`` in 9 bits.

    ``weight`` is the scratchpad, ``uint8[weight rows, weight pitch]``.

    Raises
    ------
    IndexError
        When the tile reaches beyond the scratchpad.
    """
    end = row + fields["rows"]
    if end > len(weight):
        raise IndexError(f"weight rows {row} to {end - 1} of {len(weight)}")
    return _extend(weight[row:end, :columns], fields["weight_signed"], fields["weight_zero"])
