# SPDX-License-Identifier: Apache-2.0
"""What the formats of `machine.isa.WeightFormat` make of LOAD's bytes in the scratchpads."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden import bitmask, csc, csr, run_length
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.formats import (
    ABSOLUTE_BITS,
    INDEX_BITS,
    LONGEST,
    MOST_COLUMNS,
    compressed_formats,
)
from kiwicha.machine.isa import LoadTarget, WeightFormat

__all__ = [
    "MATRICES", "compressed_rows", "illegal_format", "interleaved_places", "machine_formats",
    "matrix_places",
]

Bytes = NDArray[np.uint8]

MATRICES = (WeightFormat.ROWS, WeightFormat.COLUMNS)
"""Matrices as they are; all others but DENSE and INTERLEAVED are compressed."""


def machine_formats(config: AcceleratorConfig) -> tuple[WeightFormat, ...]:
    """Return the formats that LOAD takes besides DENSE."""
    interleaved = (WeightFormat.INTERLEAVED,) if config.interleave else ()
    matrices = MATRICES if config.transposer else ()
    return (*matrices, *interleaved, *compressed_formats(config))


def illegal_format(config: AcceleratorConfig, fields: Mapping[str, Any]) -> str | None:
    """Return what the hardware refuses of a formatted LOAD before it reads, None if nothing."""
    name, pitch = WeightFormat(fields["format"]), config.weight_pitch
    if name not in machine_formats(config):
        return f"format {name.name} is not one of the machine's"
    if name == WeightFormat.INTERLEAVED:
        if fields["target"] != LoadTarget.ACTIVATION:
            return f"format {name.name} is for activations, not for {fields['target']!r}"
        rows = config.interleave.rows
        return None if fields["extent"] in rows else f"extent is {fields['extent']}; legal: {rows}"
    if fields["target"] != LoadTarget.WEIGHT:
        return f"format {name.name} is for weights, not for {LoadTarget(fields['target']).name}"
    if fields["local"] % pitch or fields["local_pitch"] % pitch:
        return f"local {fields['local']}, local_pitch {fields['local_pitch']}: not whole rows"
    if name in MATRICES:
        return None if fields["extent"] else "extent is 0; legal: at least 1"
    beat = config.beat_bytes
    if fields["extent"] or fields["local_pitch"] or fields["segments"] != 1:
        return "extent, local_pitch and segments; legal of a stream: 0, 0, 1"
    if fields["address"] % beat or fields["length"] % beat:
        return f"stream at {fields['address']:#x} of {fields['length']} bytes: not whole beats"
    return None


def interleaved_places(fields: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the place of each byte of all runs, int64 of shape (runs, bytes)."""
    run = np.arange(fields["segments"], dtype=np.int64)[:, None] * fields["local_pitch"]
    return fields["local"] + run + np.arange(fields["length"], dtype=np.int64) * fields["extent"]


def matrix_places(
    config: AcceleratorConfig, fields: Mapping[str, Any], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (weight row, column) of each of the ``count`` bytes of a matrix."""
    first, pitch = (fields[name] // config.weight_pitch for name in ("local", "local_pitch"))
    line, byte = np.divmod(np.arange(count, dtype=np.int64), fields["extent"])
    row, across = (byte, line) if fields["format"] == WeightFormat.COLUMNS else (line, byte)
    tile, column = np.divmod(across, config.columns)
    return first + tile * pitch + row, column


def compressed_rows(config: AcceleratorConfig, fields: Mapping[str, Any], octets: Bytes) -> Bytes:
    """Return the dense rows of a stream, uint8 of shape (rows, weight pitch).

    Raises
    ------
    ValueError
        Where no encoder makes such a stream, or the decoder does not hold so much.
    """
    name, lanes, beat = WeightFormat(fields["format"]), config.weight_pitch, config.beat_bytes
    columns, rows = fields["pitch"] & 0xFFFF, fields["pitch"] >> 16 & 0xFFFF
    if not (columns and rows):
        raise ValueError(f"a stream of {columns} columns of {rows} rows")
    if name is WeightFormat.BITMASK:
        return bitmask.decode(octets, columns * rows, lanes, beat_bytes=beat).view(np.uint8)
    length = rows * lanes
    if length > LONGEST:
        raise ValueError(f"columns of {length} elements; legal: up to {LONGEST}")
    if name is not WeightFormat.RUN_LENGTH and columns > MOST_COLUMNS:
        raise ValueError(f"{columns} columns; legal: up to {MOST_COLUMNS}")
    decoders: dict[WeightFormat, Callable[[], NDArray[np.int8]]] = {
        WeightFormat.RUN_LENGTH: lambda: run_length.decode(
            octets, length, columns, beat_bytes=beat
        ),
        WeightFormat.CSR: lambda: csr.decode(
            octets, columns, length, index_bits=ABSOLUTE_BITS, beat_bytes=beat
        ).T,
        WeightFormat.CSC_ABSOLUTE: lambda: csc.decode(
            octets, length, columns, index_bits=ABSOLUTE_BITS, relative=False, beat_bytes=beat
        ),
    }
    if name in decoders:
        matrix = decoders[name]()
    else:
        matrix = csc.decode(
            octets, length, columns, index_bits=INDEX_BITS[name],
            codebook=name is WeightFormat.CSC4_CODEBOOK, beat_bytes=beat,
        )
    return np.ascontiguousarray(matrix.T).reshape(-1, lanes).view(np.uint8)
