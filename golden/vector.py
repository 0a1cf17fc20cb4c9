# SPDX-License-Identifier: Apache-2.0
"""The VECTOR instruction in NumPy, in all its modes: accumulators to output buffer."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.block_quantize import block_quantize
from golden.dynamic import dynamic_scale, linear_values, quantize_values
from golden.requantize import requantize
from hw.config import AcceleratorConfig
from hw.isa import PARAMETER_BYTES, VectorMode

__all__ = ["SLOT", "SLOTS", "VectorState", "illegal_vector", "vector"]

Fields = dict[str, Any]

SLOTS = 4
SLOT = np.dtype([("scale", "<f4"), ("zero_point", "u1"), ("rest", "u1", 11)])
"""One slot of dynamic quantization, as LOAD and STORE move it."""

_RECORD = np.dtype([("bias", "<i4"), ("multiplier", "<u4"), ("shift", "i1"), ("pad", "V7")])


@dataclass
class VectorState:
    """What VECTOR keeps from one instruction to the next.

    Members
    -------
    slots : SLOT records; ``slots.view(np.uint8)`` is what LOAD writes and STORE reads.
    low, high : of the measured values since ``begin``, with 0.
    """

    slots: npt.NDArray[Any] = field(default_factory=lambda: np.zeros(SLOTS, SLOT))
    low: np.float32 = np.float32(0)
    high: np.float32 = np.float32(0)


def illegal_vector(cfg: AcceleratorConfig, fields: Fields) -> str | None:
    """Return why the hardware refuses the instruction's mode or channels, or None."""
    mode, has = fields["mode"], [VectorMode.REQUANTIZE]
    has += [VectorMode.RAW] if cfg.dynamic or cfg.block_channels else []
    has += [VectorMode.MEASURE, VectorMode.QUANTIZE] if cfg.dynamic else []
    has += [VectorMode.BLOCK] if cfg.block_channels else []
    dynamic = mode in (VectorMode.MEASURE, VectorMode.QUANTIZE)
    measure = mode == VectorMode.MEASURE
    wrong = {
        "mode": mode not in has,
        "scales": fields["scales"] and mode != VectorMode.BLOCK,
        "slot": fields["slot"] and not dynamic,
        "target": fields["target"] and not dynamic,
        "relu": fields["relu"] and not dynamic,
        "settle": fields["settle"] and not measure,
        "tiles": fields["tiles"] and not cfg.block_channels,
        "tile_entries": fields["tile_entries"] and not cfg.block_channels,
        "statistics": fields["statistics"],
        "begin": fields["begin"] and not measure,
        "channels": not 0 <= fields["channels"] - 1 - fields["tiles"] * cfg.columns < cfg.columns,
    }
    bad = [name for name, is_wrong in wrong.items() if is_wrong]
    return f"{bad[0]} is {fields[bad[0]]}" if bad else None


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
    """
    if reason := illegal_vector(cfg, fields):
        raise ValueError(reason)
    mode, channels = VectorMode(fields["mode"]), fields["channels"]
    acc = _accumulators(cfg, fields, accumulator)
    record = _parameters(cfg, fields, parameter)
    wide = 4 if mode == VectorMode.RAW else 1
    target = _places(fields, channels * wide, output.size)
    if fields["begin"]:
        state.low = state.high = np.float32(0)
    if mode in (VectorMode.MEASURE, VectorMode.QUANTIZE):
        _dynamic(fields, acc, record, target, output, state)
        return
    total = (acc.astype(np.int64) + record["bias"]).astype(np.int32)
    if mode == VectorMode.REQUANTIZE:
        results = requantize(
            acc, record["multiplier"], record["shift"].astype(np.int64), fields["zero_point"],
            fields["low"], fields["high"], cfg.requantize_mode, bias=record["bias"],
        )  # fmt: skip
        output[target] = results.astype(np.uint8)
    elif mode == VectorMode.RAW:
        output[target] = total.astype("<i4").view(np.uint8).reshape(target.shape)
    else:
        _blocks(cfg, fields, total, target, output)


def _accumulators(
    cfg: AcceleratorConfig, fields: Fields, accumulator: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Return [pixels, channels] of all column tiles."""
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
    record = parameter.view(_RECORD)[start : start + groups * lanes]
    return record.reshape(groups, lanes)[:, :used].reshape(-1)[: fields["channels"]]


def _places(fields: Fields, octets: int, size: int) -> npt.NDArray[np.int64]:
    """Return the output buffer bytes [pixels, octets] of all pixels."""
    pixel = np.arange(fields["pixels"] * fields["lines"])
    local = fields["local"] + (pixel // fields["pixels"]) * fields["line_pitch"]
    local = local + (pixel % fields["pixels"]) * fields["pixel_pitch"]
    if local.min() < 0 or local.max() + octets > size:
        raise IndexError(f"output buffer byte {local.max() + octets - 1} out of range")
    return np.asarray(local[:, None] + np.arange(octets))


def _blocks(
    cfg: AcceleratorConfig,
    fields: Fields,
    total: npt.NDArray[np.int32],
    target: npt.NDArray[np.int64],
    output: npt.NDArray[np.uint8],
) -> None:
    """Quantize in blocks, each pixel from its first channel on; one scale for every block."""
    scaling = cfg.block_scale.value
    parts = [block_quantize(pixel, cfg.block_channels, scaling=scaling) for pixel in total]
    scales = np.concatenate([part.shift if scaling == "pot" else part.magnitude for part in parts])
    octets = scales.astype("<u1" if scaling == "pot" else "<u4").view(np.uint8)
    if fields["scales"] + octets.size > output.size:
        raise IndexError(f"scale at byte {fields['scales'] + octets.size - 1} out of range")
    output[target] = np.stack([part.values for part in parts]).view(np.uint8)
    output[fields["scales"] : fields["scales"] + octets.size] = octets


def _dynamic(
    fields: Fields,
    acc: npt.NDArray[np.int32],
    record: npt.NDArray[Any],
    target: npt.NDArray[np.int64],
    output: npt.NDArray[np.uint8],
    state: VectorState,
) -> None:
    """MEASURE keeps the values' range, QUANTIZE writes them; the slots hold the scales."""
    bias, w_scale = record["bias"].copy().view("<f4"), record["multiplier"].copy().view("<f4")
    scale, to = state.slots["scale"][fields["slot"]], fields["target"]
    v = linear_values(acc, scale, w_scale, bias, bool(fields["relu"]))
    if fields["mode"] == VectorMode.QUANTIZE:
        slot = state.slots[to]
        output[target] = quantize_values(
            v, slot["scale"], int(slot["zero_point"]), fields["low"], fields["high"]
        ).astype(np.uint8)
        return
    state.low, state.high = np.minimum(state.low, v.min()), np.maximum(state.high, v.max())
    if fields["settle"]:
        state.slots[to] = (*dynamic_scale(state.low, state.high), np.zeros(11, np.uint8))
