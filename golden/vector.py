# SPDX-License-Identifier: Apache-2.0
"""The VECTOR instruction in NumPy, in all its modes: accumulators to output buffer."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.golden.block_quantize import block_quantize
from kiwicha.golden.drain_check import illegal_field, windowed
from kiwicha.golden.dynamic import (
    added_values,
    dynamic_scale,
    linear_values,
    quantize_values,
    real_octets,
)
from kiwicha.golden.function_table import look_up
from kiwicha.golden.multiway import multiway_quantize
from kiwicha.golden.niti import magnitude, shifted
from kiwicha.golden.requantize import requantize
from kiwicha.golden.residual import beyond, residual_sum
from kiwicha.golden.statistics import StatisticsRecord
from kiwicha.golden.window_maximum import window_entries, window_maximum
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import flat_index, window
from kiwicha.machine.isa import (
    FUNCTION_ENTRIES,
    PARAMETER_BYTES,
    SLOTS,
    RealFunction,
    VectorMode,
)
from kiwicha.machine.modes import BlockScale
from kiwicha.machine.records import OFFSET_PLACE, PARAMETER_RECORD, SLOT_RECORD
from kiwicha.machine.shifts import exponent_of, settled

__all__ = ["VectorState", "quantized_pixels", "vector"]

Fields = dict[str, Any]


@dataclass
class VectorState:
    """What VECTOR keeps from one instruction to the next.

    Members
    -------
    slots : SLOT_RECORD records; ``slots.view(np.uint8)`` is what LOAD writes and STORE reads.
    low, high : of the measured values since ``begin``, with 0.
    magnitude : the greatest of RANGE since ``begin``.
    statistics : of the results that were counted.
    functions : tables, uint8[tables, 256], which LOAD writes; no machine has more than 8.
    addends : second operands of sums, uint8[output_bytes], which LOAD writes.
    sums : pairs of tables, uint8[2, SUM_BEATS, bytes of a beat], which LOAD writes.
    operands : second operands in binary32, uint8[real.bytes], which LOAD writes.
    bounds : of binary32 values, low and high in the first bytes, which LOAD writes.
    seed, step : of the random words that round blocks; nothing here changes them.
    clamped : sums on the way out that were beyond their bounds.
    """

    slots: npt.NDArray[Any] = field(default_factory=lambda: np.zeros(SLOTS, SLOT_RECORD))
    low: np.float32 = np.float32(0)
    high: np.float32 = np.float32(0)
    magnitude: int = 0
    statistics: StatisticsRecord = field(default_factory=StatisticsRecord)
    functions: npt.NDArray[np.uint8] = field(
        default_factory=lambda: np.zeros((8, FUNCTION_ENTRIES), np.uint8)
    )
    addends: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    sums: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((2, 0, 0), np.uint8))
    operands: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    bounds: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(8, np.uint8))
    seed: int = 0
    step: int = 0
    clamped: int = 0


def vector(
    cfg: AcceleratorConfig,
    fields: Fields,
    accumulator: npt.NDArray[np.int32],
    parameter: npt.NDArray[np.uint8],
    output: npt.NDArray[np.uint8],
    state: VectorState,
) -> None:
    """Execute a VECTOR instruction's fields; ``output`` and ``state`` change in place.

    Parameters
    ----------
    accumulator : int32 [accumulator_depth, columns].
    parameter : the parameter memory's bytes; output : the output buffer's.

    Raises
    ------
    ValueError
        For a mode or field that the machine has not.
    IndexError
        For a place outside a memory.
    OverflowError
        Where a range that is not finite would have to settle a slot.
    """
    if reason := illegal_field(cfg, fields):
        raise ValueError(reason)
    mode, channels = VectorMode(fields["mode"]), fields["channels"]
    acc = _accumulators(cfg, fields, accumulator)
    record = _parameters(cfg, fields, parameter)
    wide = 4 if mode in (VectorMode.RAW, VectorMode.REAL) else 1
    target = _places(fields, channels * wide, output.size)
    values = np.zeros(0, np.float32)
    if mode in (VectorMode.MEASURE, VectorMode.QUANTIZE, VectorMode.REAL):
        values = _values(cfg, fields, acc, record, state, target[:, ::wide])
    if mode == VectorMode.MEASURE:
        _measure(fields, values, state)
        return
    total = (acc.astype(np.int64) + record["bias"]).astype(np.int32)
    if mode == VectorMode.RANGE:
        _range(fields, total, state)
        return
    if mode == VectorMode.REQUANTIZE:
        octets = requantize(
            acc, record["multiplier"], record["shift"].astype(np.int64), fields["zero_point"],
            fields["low"], fields["high"], cfg.requantize_mode, bias=record["bias"],
        ).astype(np.uint8)
        if fields["residual"]:
            octets = _summed(fields, octets, state.addends[target], state)
        if fields["function"]:
            octets = look_up(state.functions[fields["table"]], octets)
    elif mode == VectorMode.QUANTIZE:
        octets = _quantized(fields, values, state)
    elif mode == VectorMode.REAL:
        octets = real_octets(values)
    elif mode == VectorMode.SHIFT:
        octets = _shifted(fields, total, target, state)
    elif mode == VectorMode.RAW:
        octets = total.astype("<i4").view(np.uint8)
    else:
        first, pitch = flat_index(fields)
        codes, scales = quantized_pixels(cfg, total, first, pitch, state.seed, state.step)
        octets, scales = codes.view(np.uint8), scales.reshape(-1)
        if fields["scales"] + scales.size > output.size:
            raise IndexError(f"scale at byte {fields['scales'] + scales.size - 1} out of range")
    _write(fields, output, target, octets)
    if mode == VectorMode.BLOCK:
        output[fields["scales"] : fields["scales"] + scales.size] = scales
    if fields["statistics"]:
        natural = mode in (VectorMode.REQUANTIZE, VectorMode.QUANTIZE) and fields["high"] > 127
        narrow = octets if natural else octets.view(np.int8)
        every = total if mode == VectorMode.RAW else narrow
        counted = every[:, fields["channel"]] if fields["only"] else every
        state.statistics.add(counted, cfg.statistics.elements, begin=bool(fields["begin"]))


def _range(fields: Fields, total: npt.NDArray[np.int32], state: VectorState) -> None:
    """Keep the greatest magnitude, and make a slot of it if asked to."""
    before = 0 if fields["begin"] else state.magnitude
    state.magnitude = max(before, magnitude(total))
    if not fields["settle"]:
        return
    exponent = exponent_of(float(state.slots["scale"][fields["slot"]])) + fields["zero_point"]
    floor = None
    if fields["scales"]:
        floor = exponent_of(float(state.slots["scale"][fields["scales"] - 1]))
    shift, exponent = settled(
        state.magnitude, fields["high"], exponent, gradient=bool(fields["relu"]), floor=floor
    )
    slot = state.slots[fields["target"]]
    slot["scale"], slot["zero_point"] = np.ldexp(np.float32(1), exponent), shift


def _shifted(
    fields: Fields, total: npt.NDArray[np.int32], target: npt.NDArray[np.int64], state: VectorState
) -> npt.NDArray[np.uint8]:
    """Return the bytes of shifted results: alone, summed up or masked."""
    shift = int(state.slots["zero_point"][fields["target"]])
    rounding = "pseudo" if fields["zero_point"] else "half_up"
    octets = shifted(total, shift, rounding, fields["low"], fields["high"]).view(np.uint8)
    if not fields["residual"]:
        return octets
    operand = state.addends[target]
    if fields["relu"]:
        return np.where(operand.view(np.int8) > 0, octets, 0).astype(np.uint8)
    return _summed(fields, octets, operand, state)


def _summed(
    fields: Fields, octets: npt.NDArray[np.uint8], operand: npt.NDArray[np.uint8],
    state: VectorState,
) -> npt.NDArray[np.uint8]:
    table = state.sums[fields["sums"]]
    state.clamped += beyond(table, octets, operand)
    return residual_sum(table, octets, operand)


def _accumulators(
    cfg: AcceleratorConfig, fields: Fields, accumulator: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Return [pixels, channels] of all column tiles, or of the maxima of windows."""
    if windowed(cfg, fields):
        asked = window(fields)
        entries = window_entries(
            fields["accumulator"], fields["pixels"], fields["lines"], asked, fields["tile_entries"]
        )
        steps = fields["tile_entries"], asked["pixel_entries"], asked["line_entries"]
        if max(entries.max(), *steps) >= cfg.accumulator_depth:
            raise IndexError(f"accumulator entry {entries.max()} or step {steps} out of range")
        return window_maximum(accumulator, entries)[:, : fields["channels"]]
    pixels = fields["pixels"] * fields["lines"]
    tile = np.arange(fields["tiles"] + 1) * fields["tile_entries"]
    entry = fields["accumulator"] + np.arange(pixels)[:, None] + tile
    if entry.max() >= cfg.accumulator_depth:
        raise IndexError(f"accumulator entry {entry.max()} out of range")
    return accumulator[entry].reshape(pixels, -1)[:, : fields["channels"]]


def _parameters(
    cfg: AcceleratorConfig, fields: Fields, parameter: npt.NDArray[np.uint8]
) -> npt.NDArray[Any]:
    """Return the parameter records of all channels."""
    used, lanes = cfg.requantize_lanes, cfg.parameter_lanes
    groups = -(-fields["channels"] // used)
    start = fields["parameter"] * lanes
    if (start + groups * lanes) * PARAMETER_BYTES > parameter.size:
        raise IndexError(f"parameter group {fields['parameter'] + groups - 1} out of range")
    record = parameter.view(PARAMETER_RECORD)[start : start + groups * lanes]
    return record.reshape(groups, lanes)[:, :used].reshape(-1)[: fields["channels"]]


def _places(fields: Fields, octets: int, size: int) -> npt.NDArray[np.int64]:
    """Return the output buffer bytes [pixels, octets] of all pixels."""
    pixel = np.arange(fields["pixels"] * fields["lines"])
    local = fields["local"] + (pixel // fields["pixels"]) * fields["line_pitch"]
    local = local + (pixel % fields["pixels"]) * fields["pixel_pitch"]
    if local.min() < 0 or local.max() + octets > size:
        raise IndexError(f"output buffer byte {local.max() + octets - 1} out of range")
    return np.asarray(local[:, None] + np.arange(octets))


def _write(
    fields: Fields, output: npt.NDArray[np.uint8], target: npt.NDArray[np.int64],
    octets: npt.NDArray[np.uint8],
) -> None:
    """Write pixels in order: a line may begin where the one before has not ended."""
    pixels, size = fields["pixels"], target.shape[1]
    line = (pixels - 1) * fields["pixel_pitch"] + size
    apart = abs(fields["line_pitch"]) >= line or fields["lines"] == 1
    if apart and (fields["pixel_pitch"] >= size or pixels == 1):
        output[target] = octets
        return
    for place, result in zip(target, octets, strict=True):
        output[place] = result


def quantized_pixels(
    cfg: AcceleratorConfig, total: npt.NDArray[np.int32], first: int, pitch: int, seed: int,
    step: int,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint8]]:
    """Return int8 values, each pixel in blocks from its first channel on, and their scales.

    They are int8 [pixels, channels] and uint8 [pixels, blocks, bytes of a scale].

    Parameters
    ----------
    total : int32 [pixels, channels].
    first, pitch : index of the first value in its tensor, and from pixel to pixel; they, ``seed``
        and ``step`` make the random words.
    """
    size, values, scales = cfg.blocks.channels, [], []
    rounding = cfg.blocks.rounding.value
    for number, pixel in enumerate(total):
        if cfg.blocks.scale is BlockScale.MULTIWAY:
            chosen = multiway_quantize(
                pixel, size, cfg.blocks.ways, criterion=cfg.blocks.criterion.value,
                rounding=rounding,
            )
            values.append(chosen.values)
            scales.append(np.stack([chosen.shift, chosen.way], axis=1).astype(np.uint8))
            continue
        part = block_quantize(
            pixel, size, scaling=cfg.blocks.scale.value, rounding=rounding,
            seed=seed, step=step, index=first + number * pitch,
        )
        values.append(part.values)
        pot = cfg.blocks.scale is BlockScale.POT
        found = part.shift.astype("<u1") if pot else part.magnitude.astype("<u4")
        scales.append(found.view(np.uint8).reshape(len(found), -1))
    return np.stack(values), np.stack(scales)


def _values(
    cfg: AcceleratorConfig, fields: Fields, acc: npt.NDArray[np.int32],
    record: npt.NDArray[Any], state: VectorState, places: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Return the binary32 values of a layer with dynamic scales, whose results are at ``places``
    of the output buffer, or begin there."""
    bias, w_scale = record["bias"].copy().view("<f4"), record["multiplier"].copy().view("<f4")
    scale = state.slots["scale"][fields["slot"]]
    v = linear_values(acc, scale, w_scale, bias, relu=False)
    operand = None
    if fields["residual"] and fields["mode"] != VectorMode.REQUANTIZE:
        step = 1 if fields["mode"] == VectorMode.REAL else 4
        first = fields["scales"] + step * (places - fields["local"])
        if first.min() < 0 or first.max() + 4 > state.operands.size:
            raise IndexError(f"second operand at byte {first.max()} out of range")
        operand = state.operands.view("<f4")[first // 4]
    asked = fields["table"] if cfg.real.functions else 0
    scaled, slope, offset = asked & RealFunction.SCALED, record["slope"].copy(), None
    if scaled:
        octets = np.ascontiguousarray(record).view(np.uint8).reshape(len(record), PARAMETER_BYTES)
        offset = octets[:, OFFSET_PLACE : OFFSET_PLACE + 4].copy().view("<f4").reshape(-1)
    low, high = state.bounds[:8].view("<f4") if asked & RealFunction.BOUNDED else (0, 0)
    return added_values(
        v, operand, alone=bool(fields["sums"]), relu=bool(fields["relu"]),
        slope=slope if fields["function"] or scaled else None, offset=offset,
        gated=bool(asked & RealFunction.GATED),
        bounds=(low, high) if asked & RealFunction.BOUNDED else None,
    )


def _measure(fields: Fields, v: npt.NDArray[np.float32], state: VectorState) -> None:
    """Keep the values' range; asked to settle, make a slot of it."""
    if fields["begin"]:
        state.low = state.high = np.float32(0)
    state.low, state.high = np.minimum(state.low, v.min()), np.maximum(state.high, v.max())
    if fields["settle"]:
        found = dynamic_scale(state.low, state.high)
        state.slots[fields["target"]] = (*found, np.zeros(11, np.uint8))


def _quantized(
    fields: Fields, v: npt.NDArray[np.float32], state: VectorState
) -> npt.NDArray[np.uint8]:
    """Return the values quantized with the scale of a slot."""
    slot = state.slots[fields["target"]]
    scale, zero_point = slot["scale"], int(slot["zero_point"])
    results = quantize_values(v, scale, zero_point, fields["low"], fields["high"])
    return results.astype(np.uint8)
