# SPDX-License-Identifier: Apache-2.0
"""Configurations: what is legal, what the errors say, and what files may hold."""

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwicha.golden.rounding import ROUNDINGS
from kiwicha.machine.config import (
    WEIGHT_FORMATS,
    AcceleratorConfig,
    BlockRounding,
    BlockScale,
    RequantizeMode,
)
from kiwicha.machine.isa import WeightFormat
from kiwicha.machine.presets import PRESETS, preset, read_config

BAD = {
    "rows": (0, "rows is 0; legal: 1 to 128"),
    "columns": (129, "columns is 129; legal: 1 to 128"),
    "axi_data_width": (32, "axi_data_width is 32; legal: 64, 128, 256"),
    "axi_address_width": (8, "axi_address_width is 8; legal: 16 to 48"),
    "axi_burst_beats": (3, "axi_burst_beats is 3; legal: a power of two, 1 to 256"),
    "axi_outstanding": (0, "axi_outstanding is 0; legal: 1 to 16"),
    "activation_bytes": (1000, "activation_bytes is 1000; legal: a power of two, 256 to 4194304"),
    "weight_bytes": (256, "weight_bytes is 256; legal: a power of two, 512 to 4194304"),
    "accumulator_depth": (8, "accumulator_depth is 8; legal: a power of two, 16 to 32768"),
    "output_bytes": (128, "output_bytes is 128; legal: a power of two, 256 to 4194304"),
    "parameter_channels": (16, "parameter_channels is 16; legal: a power of two, 32 to 4096"),
    "requantize_lanes": (17, "requantize_lanes is 17; legal: 1 to 16"),
    "requantize_multiplier_width": (7, "requantize_multiplier_width is 7; legal: 0, 9, 18"),
    "queue_words": (8, "queue_words is 8; legal: a power of two, 16 to 1024"),
    "requantize_mode": (
        "fast",
        "requantize_mode is 'fast'; legal: onnx, tflite, tflite-single, shift",
    ),
    "transposer": (1, "transposer is 1; legal: true or false"),
    "weight_formats": (
        ("csr", "zip"),
        "weight_formats names 'zip'; legal: bitmask, csc4, csc5, csc8, csc-absolute, "
        "csc4-codebook, csr, run-length",
    ),
    "sparse_entries": (17, "sparse_entries is 17; legal: 1 to 16"),
    "special_lanes": (3, "special_lanes is 3; legal: 0, 1, 2, 4, 8, 16"),
    "special_bytes": (128, "special_bytes is 128; legal: a power of two, 256 to 1048576"),
    "special_entries": (300, "special_entries is 300; legal: a power of two, 256 to 4096"),
    "softmax_mode": ("hard", "softmax_mode is 'hard'; legal: onnx, tflite, integer"),
    "dynamic": (0, "dynamic is 0; legal: true or false"),
    "block_channels": (4, "block_channels is 4; legal: a power of two, 8 to 1024"),
    "block_scale": ("log", "block_scale is 'log'; legal: pot, free, multiway"),
    "block_rounding": (
        "odd",
        "block_rounding is 'odd'; legal: half_even, half_up, half_away, pseudo, lfsr",
    ),
    "block_ways": (((9, 0),), "block_ways has 9 bits, clip 0; legal: 2 to 8 bits, clip 0 to 7"),
    "block_criterion": (
        "best",
        "block_criterion is 'best'; legal: l1, l2, bias, cosine, qem",
    ),
    "statistics_elements": (
        128,
        "statistics_elements is 128; legal: a power of two, 256 to 1073741824",
    ),
    "cells": ("gold", "cells is 'gold'; legal: generic, ecp5, ice40"),
    "pipeline": (
        ["fifo"],
        "pipeline names 'fifo'; legal: address, accumulator, memory, queue, requantizer, slice",
    ),
    "name": ("a b", "name is 'a b'; legal: letters, digits, '-' and '_'"),
}


@pytest.mark.parametrize("field", BAD)
def test_illegal_value_is_named(field: str) -> None:
    value, message = BAD[field]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        AcceleratorConfig(**{field: value})


@pytest.mark.parametrize(("columns", "lanes"), [(9, 3), (6, 4), (12, 12)])
def test_blocks_take_whole_steps(columns: int, lanes: int) -> None:
    message = (
        f"requantize_lanes is {lanes}; legal: divisors of block_channels 8, columns {columns}"
    )
    plain = AcceleratorConfig(columns=columns, requantize_lanes=lanes)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plain.replace(block_channels=8)


def test_the_best_of_several_ways_is_not_random() -> None:
    multiway = AcceleratorConfig(block_scale=BlockScale.MULTIWAY, block_rounding="pseudo")
    message = "block_rounding is 'lfsr'; legal: half_even, half_up, half_away, pseudo with block_"
    with pytest.raises(ValueError, match=f"^{message}scale multiway$"):
        multiway.replace(block_rounding="lfsr")
    assert not AcceleratorConfig(block_rounding="lfsr").random_blocks
    assert AcceleratorConfig(block_rounding="lfsr", block_channels=8).random_blocks


def test_roundings_have_the_golden_names() -> None:
    assert tuple(rounding.value for rounding in BlockRounding) == ROUNDINGS


def test_every_field_has_a_bad_value() -> None:
    assert set(BAD) == {field.name for field in fields(AcceleratorConfig)}


def test_wrong_type() -> None:
    with pytest.raises(ValueError, match=r"^rows is 4\.0; legal: an integer$"):
        AcceleratorConfig(rows=4.0)


def test_weight_formats_are_in_their_own_order() -> None:
    formats = AcceleratorConfig(weight_formats=("run-length", "csc4", "bitmask")).weight_formats
    assert formats == ("bitmask", "csc4", "run-length")
    with pytest.raises(ValueError, match=r"^weight_formats is 'csr'; legal: a list of names$"):
        AcceleratorConfig(weight_formats="csr")  # type: ignore[arg-type]


@pytest.mark.parametrize("ways", [(), 4, ((4,),), (4, 0), ((4, 0.5),), ((4, 0),) * 9])
def test_ways_are_pairs(ways: object) -> None:
    with pytest.raises(ValueError, match=r"^block_ways is .*; legal: 1 to 8 pairs of bits and"):
        AcceleratorConfig(block_ways=ways)  # type: ignore[arg-type]
    config = AcceleratorConfig(block_ways=[[8, 0], [4, 7]])  # type: ignore[arg-type]
    assert config.block_ways == ((8, 0), (4, 7))
    assert hash(config) == hash(config.replace(block_ways=((8, 0), (4, 7))))


def test_a_bitmask_takes_whole_bytes() -> None:
    message = r"^weight_formats names 'bitmask', columns is 4; legal: 5 to 128$"
    with pytest.raises(ValueError, match=message):
        preset("tiny").replace(weight_formats=["bitmask"])
    assert preset("tiny").replace(weight_formats=["bitmask"], columns=5).weight_pitch == 8


def test_weight_formats_have_their_names() -> None:
    numbers = [WeightFormat[name.upper().replace("-", "_")] for name in WEIGHT_FORMATS]
    assert numbers == [f for f in WeightFormat if f > WeightFormat.COLUMNS]


@given(st.integers(1, 128), st.integers(1, 128), st.sampled_from([64, 128, 256]))
def test_any_shape(rows: int, columns: int, width: int) -> None:
    config = AcceleratorConfig(rows=rows, columns=columns, axi_data_width=width, requantize_lanes=1)
    assert config.weight_pitch >= columns
    assert config.activation_banks >= max(rows, config.beat_bytes)


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        preset("tiny").rows = 5


def test_presets() -> None:
    assert {"tiny", "default"} <= set(PRESETS)
    assert (preset("tiny").rows, preset("default").columns) == (4, 16)
    assert any(config.rows != config.columns for config in PRESETS.values())
    with pytest.raises(ValueError, match="^unknown preset 'huge'; legal: tiny, "):
        preset("huge")


def test_fingerprint_tells_machines_apart_but_not_names() -> None:
    config = preset("tiny")
    assert config.fingerprint == config.replace(name="other").fingerprint
    assert config.fingerprint != config.replace(rows=5).fingerprint


def test_toml(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "tiny"\nrows = 3\nrequantize_mode = "shift"\n')
    config = read_config(path)
    assert (config.name, config.rows, config.columns) == ("mine", 3, 4)
    assert config.requantize_mode is RequantizeMode.SHIFT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows = ", "Invalid value"),
        ("row = 3", "unknown key 'row'; legal: "),
        ('preset = "huge"', "unknown preset 'huge'"),
        ("rows = 199", "rows is 199; legal: 1 to 128"),
        ('rows = "4"', "rows is '4'; legal: an integer"),
    ],
)
def test_broken_toml(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {re.escape(message)}"):
        read_config(path)
