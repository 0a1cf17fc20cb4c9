# SPDX-License-Identifier: Apache-2.0
"""Machines that have a name, and machines from configuration files."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from kiwicha.machine.capabilities import (
    FORMER,
    Functions,
    Interleave,
    Pooling,
    Residual,
    Sparse,
    Special,
    Training,
)
from kiwicha.machine.config import NAME_LENGTH, AcceleratorConfig
from kiwicha.machine.modes import CellFamily

__all__ = ["PRESETS", "preset", "read_config"]

_FULL = {
    "transposer": True, "dynamic": True, "functions": Functions(tables=2),
    "pooling": Pooling(window=8), "residual": Residual(tables=2),
}
"""Beside lanes of SPECIAL: products of activations, dynamic quantization, functions by table,
maximum pooling and sums of two tensors behind convolutions."""

# What Lattice's ECP5-85F takes: 156 multipliers, 208 block RAMs. A requantizer takes four.
_ECP5 = AcceleratorConfig(
    name="ecp5-8x8",
    rows=8,
    columns=8,
    cells=CellFamily.ECP5,
    axi_data_width=64,
    activation_bytes=32768,
    weight_bytes=32768,
    accumulator_depth=512,
    output_bytes=16384,
    parameter_channels=256,
    requantize_lanes=2,
    requantize_multiplier_width=18,
    queue_words=32,
)

PRESETS: dict[str, AcceleratorConfig] = {
    config.name: config
    for config in (
        AcceleratorConfig(
            name="tiny",
            rows=4,
            columns=4,
            axi_data_width=64,
            axi_burst_beats=16,
            activation_bytes=4096,
            weight_bytes=4096,
            accumulator_depth=256,
            output_bytes=2048,
            parameter_channels=64,
            requantize_lanes=1,
            queue_words=32,
        ),
        AcceleratorConfig(
            name="small",
            rows=8,
            columns=8,
            axi_data_width=64,
            activation_bytes=16384,
            weight_bytes=16384,
            accumulator_depth=512,
            output_bytes=8192,
            parameter_channels=256,
            requantize_lanes=2,
            queue_words=32,
        ),
        AcceleratorConfig(
            name="wide",
            rows=8,
            columns=16,
            axi_data_width=64,
            activation_bytes=32768,
            weight_bytes=32768,
        ),
        # Eight lanes drain a 64-deep product as fast as the array computes it.
        AcceleratorConfig(
            name="default",
            requantize_lanes=8,
            transposer=True,
            sparse=Sparse(formats=("bitmask", "csc5")),
            forwarding=True,
            special=Special(lanes=4, digits=2),
            functions=Functions(tables=2),
            pooling=Pooling(window=8),
            residual=Residual(tables=2),
            interleave=Interleave(rows=(3, 5, 7)),
        ),
        AcceleratorConfig(
            name="large",
            rows=32,
            columns=32,
            axi_data_width=256,
            activation_bytes=131072,
            weight_bytes=131072,
            output_bytes=65536,
            requantize_lanes=8,
            transposer=True,
            sparse=Sparse(formats=("bitmask", "csc5")),
            forwarding=True,
            special=Special(lanes=8, digits=2),
            functions=Functions(tables=2),
            pooling=Pooling(window=8),
            residual=Residual(tables=2),
        ),
        _ECP5,
        _ECP5.replace(name="ecp5-12x12", rows=12, columns=12, activation_bytes=65536),
        # Its memory is on the FPGA: 128 KiB, all that 17 bits address, hold LeNet-5 and an image.
        AcceleratorConfig(
            name="ulx3s-85f",
            rows=8,
            columns=8,
            cells=CellFamily.ECP5,
            axi_data_width=64,
            axi_address_width=17,
            axi_burst_beats=16,
            activation_bytes=16384,
            weight_bytes=16384,
            accumulator_depth=512,
            output_bytes=8192,
            parameter_channels=256,
            requantize_lanes=2,
            requantize_multiplier_width=18,
            queue_words=32,
        ),
    )
}

# What networks beyond plain convolutions need besides: whatever the compiler takes runs on these.
PRESETS |= {
    config.name: config
    for config in (
        # Twice the requantizers: results pass them twice, for their range and to be shifted.
        PRESETS["default"].replace(
            name="training", requantize_lanes=16, training=Training(classes=16),
        ),
        PRESETS["small"].replace(name="small-full", special=Special(lanes=1), **_FULL),
        PRESETS["default"].replace(name="full", **_FULL),
        _ECP5.replace(
            name="ecp5-8x8-full", special=Special(lanes=1), interleave=Interleave(rows=(3, 5)),
            depthwise=True, **_FULL,
        ),
    )
}


def preset(name: str) -> AcceleratorConfig:
    """Return a named machine.

    Raises
    ------
    ValueError
        When there is no such preset; the message lists those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; legal: {', '.join(PRESETS)}")
    return PRESETS[name]


def read_config(path: str | Path) -> AcceleratorConfig:
    """Read a TOML file: fields of ``AcceleratorConfig`` as keys, optionally ``preset``.

    A capability is a table, as ``[special]`` with ``lanes = 4``; what it does not name stays as the
    preset has it. Names of version 0.1 (``special_lanes = 4``) are read as before.

    A machine that the file does not name is called as the file is, without the suffix, and with
    ``-`` for what no name may hold.

    Raises
    ------
    ValueError
        For broken TOML, an unknown key or an illegal value; the message names the file.
    OSError
        When the file cannot be read.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        base = preset(table.pop("preset")) if "preset" in table else AcceleratorConfig()
        known = {field.name for field in fields(AcceleratorConfig)}
        for former in [key for key in table if key in FORMER]:
            capability, field = FORMER[former]
            inner = table.setdefault(capability.table, {})
            if field in capability.check_table(inner):
                raise ValueError(f"{former} is {capability.table}.{field}, which is there too")
            inner[field] = table.pop(former)
        if unknown := sorted(set(table) - known):
            raise ValueError(f"unknown key {unknown[0]!r}; legal: {', '.join(sorted(known))}")
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(path).stem).strip("-")
        return base.replace(**{"name": stem[:NAME_LENGTH] or "custom", **table})
    except (ValueError, TypeError) as error:  # TOMLDecodeError is a ValueError
        raise ValueError(f"{path}: {error}") from None
