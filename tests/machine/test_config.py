# SPDX-License-Identifier: Apache-2.0
"""Configurations: what is legal, what the errors say, and what files may hold."""

import json
import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwicha.machine.capabilities import (
    FORMER,
    WEIGHT_FORMATS,
    Blocks,
    Capability,
    Sparse,
    Special,
)
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import WeightFormat
from kiwicha.machine.modes import BlockRounding, BlockScale, RequantizeMode, SoftmaxMode
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
    "depthwise": ("yes", "depthwise is 'yes'; legal: true or false"),
    "forwarding": ("no", "forwarding is 'no'; legal: true or false"),
    "sparse.formats": (
        ("csr", "zip"),
        "sparse.formats names 'zip'; legal: bitmask, csc4, csc5, csc8, csc-absolute, "
        "csc4-codebook, csr, run-length",
    ),
    "sparse.entries": (17, "sparse.entries is 17; legal: 1 to 16"),
    "special.lanes": (3, "special.lanes is 3; legal: 0, 1, 2, 4, 8, 16"),
    "special.bytes": (128, "special.bytes is 128; legal: a power of two, 256 to 1048576"),
    "special.entries": (300, "special.entries is 300; legal: a power of two, 256 to 4096"),
    "special.softmax": ("hard", "special.softmax is 'hard'; legal: onnx, tflite, integer"),
    "special.digits": (3, "special.digits is 3; legal: 1, 2"),
    "dynamic": (0, "dynamic is 0; legal: true or false"),
    "blocks.channels": (4, "blocks.channels is 4; legal: a power of two, 8 to 1024"),
    "blocks.scale": ("log", "blocks.scale is 'log'; legal: pot, free, multiway"),
    "blocks.rounding": (
        "odd",
        "blocks.rounding is 'odd'; legal: half_even, half_up, half_away, pseudo, lfsr",
    ),
    "blocks.ways": (((9, 0),), "blocks.ways has 9 bits, clip 0; legal: 2 to 8 bits, clip 0 to 7"),
    "blocks.criterion": (
        "best",
        "blocks.criterion is 'best'; legal: l1, l2, bias, cosine, qem",
    ),
    "pooling.window": (16, "pooling.window is 16; legal: 0, 2 to 15"),
    "residual.tables": (1, "residual.tables is 1; legal: 0, 2"),
    "functions.tables": (3, "functions.tables is 3; legal: 0, 2, 4, 8"),
    "interleave.rows": ((3, 4), "interleave.rows has 4; legal: odd numbers, 3 to 15"),
    "statistics.elements": (
        128,
        "statistics.elements is 128; legal: a power of two, 256 to 1073741824",
    ),
    "real.bytes": (256, "real.bytes is 256; legal: a power of two, 512 to 1048576"),
    "real.functions": (
        True, "real.functions is true, real.bytes is 0; legal: false, or real.bytes",
    ),
    "tags.lines": (1, "tags.lines is 1; legal: true, false"),
    "training.classes": (8, "training.classes is 8; legal: a power of two, 16 to 1024"),
    "update.lanes": (3, "update.lanes is 3; legal: 0, 1, 2, 4, 8"),
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
    table, _, inner = field.rpartition(".")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        AcceleratorConfig(**{table: {inner: value}} if table else {field: value})


@pytest.mark.parametrize(("columns", "lanes"), [(9, 3), (6, 4), (12, 12)])
def test_blocks_take_whole_steps(columns: int, lanes: int) -> None:
    message = (
        f"requantize_lanes is {lanes}; legal: divisors of blocks.channels 8, columns {columns}"
    )
    plain = AcceleratorConfig(columns=columns, requantize_lanes=lanes)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plain.replace(blocks={"channels": 8})


def test_real_values_are_of_what_is_dynamic_and_for_every_lane() -> None:
    plain = AcceleratorConfig(columns=64, requantize_lanes=64)
    with pytest.raises(ValueError, match=r"^real.bytes is 1024, dynamic is false; legal: 0, or"):
        plain.replace(real={"bytes": 1024})
    with pytest.raises(ValueError, match=r"^real.bytes is 512; legal: at least 1024 here$"):
        plain.replace(dynamic=True, real={"bytes": 512})
    assert plain.replace(dynamic=True, real={"bytes": 1024}).real


@pytest.mark.parametrize(("width", "lanes"), [(64, 4), (128, 8)])
def test_no_more_weights_a_cycle_than_a_beat_has(width: int, lanes: int) -> None:
    message = f"update.lanes is {lanes}, axi_data_width is {width}; legal: 0 to {width // 32}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        AcceleratorConfig(axi_data_width=width, update={"lanes": lanes})
    machine = AcceleratorConfig(axi_data_width=width, update={"lanes": width // 32})
    assert machine.capabilities == (machine.update,)


def test_the_best_of_several_ways_is_not_random() -> None:
    multiway = Blocks(scale=BlockScale.MULTIWAY, rounding=BlockRounding.PSEUDO)
    message = "blocks.rounding is 'lfsr'; legal: half_even, half_up, half_away, pseudo with blocks."
    with pytest.raises(ValueError, match=f"^{message}scale multiway$"):
        multiway.replace(rounding="lfsr")
    assert not Blocks(rounding=BlockRounding.LFSR).random
    assert Blocks(rounding=BlockRounding.LFSR, channels=8).random


def test_every_field_has_a_bad_value() -> None:
    names = set()
    for field in fields(AcceleratorConfig):
        part = field.default
        inner = fields(part) if isinstance(part, Capability) else ()
        names |= {f"{field.name}.{one.name}" for one in inner} or {field.name}
    assert set(BAD) == names


def test_a_capability_is_a_table() -> None:
    with pytest.raises(ValueError, match=r"^special is 4; legal: a table of lanes, bytes, entries"):
        AcceleratorConfig(special=4)
    with pytest.raises(ValueError, match=r"^unknown key 'special\.lane'; legal: lanes, bytes,"):
        AcceleratorConfig(special={"lane": 4})
    machine = AcceleratorConfig(special={"lanes": 2, "softmax": "tflite"})
    assert machine.special == Special(lanes=2, softmax=SoftmaxMode.TFLITE)
    assert machine.replace(special={"lanes": 4}).special.softmax is SoftmaxMode.TFLITE
    assert machine.capabilities == (machine.special,)
    assert not machine.blocks
    assert AcceleratorConfig(**machine.to_dict()) == machine


def test_wrong_type() -> None:
    with pytest.raises(ValueError, match=r"^rows is 4\.0; legal: an integer$"):
        AcceleratorConfig(rows=4.0)


def test_weight_formats_are_in_their_own_order() -> None:
    formats = Sparse(formats=("run-length", "csc4", "bitmask")).formats
    assert formats == ("bitmask", "csc4", "run-length")
    with pytest.raises(ValueError, match=r"^sparse\.formats is 'csr'; legal: a list of names$"):
        Sparse(formats="csr")  # type: ignore[arg-type]


@pytest.mark.parametrize("ways", [(), 4, ((4,),), (4, 0), ((4, 0.5),), ((4, 0),) * 9])
def test_ways_are_pairs(ways: object) -> None:
    with pytest.raises(ValueError, match=r"^blocks\.ways is .*; legal: 1 to 8 pairs of bits and"):
        Blocks(ways=ways)  # type: ignore[arg-type]
    config = AcceleratorConfig(blocks={"ways": [[8, 0], [4, 7]]})
    assert config.blocks.ways == ((8, 0), (4, 7))
    assert hash(config) == hash(config.replace(blocks=Blocks(ways=((8, 0), (4, 7)))))


def test_a_bitmask_takes_whole_bytes() -> None:
    message = r"^sparse\.formats names 'bitmask', columns is 4; legal: 5 to 128$"
    with pytest.raises(ValueError, match=message):
        preset("tiny").replace(sparse={"formats": ["bitmask"]})
    assert preset("tiny").replace(sparse={"formats": ["bitmask"]}, columns=5).weight_pitch == 8


def test_weight_formats_have_their_names() -> None:
    numbers = [WeightFormat[name.upper().replace("-", "_")] for name in WEIGHT_FORMATS]
    assert numbers == [
        f for f in WeightFormat if WeightFormat.COLUMNS < f < WeightFormat.INTERLEAVED
    ]


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


def test_toml_of_a_capability(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "default"\n[special]\nlanes = 2\n[blocks]\nchannels = 16\n')
    assert read_config(path).special == preset("default").special.replace(lanes=2)
    assert read_config(path).blocks == Blocks(channels=16)
    assert read_config(path).sparse == preset("default").sparse


@pytest.mark.parametrize("former", FORMER)
def test_toml_with_the_names_of_before(former: str, tmp_path: Path) -> None:
    capability, field = FORMER[former]
    value = {
        "formats": ["csc4"], "entries": 1024 if capability is Special else 3, "lanes": 2,
        "bytes": 512, "softmax": "tflite", "channels": 16, "scale": "free", "rounding": "pseudo",
        "ways": [[8, 0]], "criterion": "l1", "elements": 512,
    }[field]
    path = tmp_path / "old.toml"
    path.write_text(f"{former} = {json.dumps(value)}\n")
    assert getattr(read_config(path), capability.table) == capability(**{field: value})
    path.write_text(f"{former} = {json.dumps(value)}\n[{capability.table}]\n{field} = 1\n")
    message = f"{former} is {capability.table}.{field}, which is there too"
    with pytest.raises(ValueError, match=f"{re.escape(message)}$"):
        read_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("special = 4", "special is 4; legal: a table of lanes, bytes, entries, softmax"),
        ("special_lanes = 3", "special.lanes is 3; legal: 0, 1, 2, 4, 8, 16"),
        ("[special]\nlane = 4", "unknown key 'special.lane'; legal: lanes, bytes, entries"),
        ("special = 4\nspecial_lanes = 3", "special is 4; legal: a table"),
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


def test_places_on_chip_have_the_addresses_of_the_memory_port() -> None:
    least = {"activation_bytes": 1 << 20, "axi_address_width": 20, "forwarding": True}
    AcceleratorConfig(**least)
    message = "axi_address_width is 19; legal with forwarding: 20 to 48"
    with pytest.raises(ValueError, match=message):
        AcceleratorConfig(**{**least, "axi_address_width": 19})
    AcceleratorConfig(**{**least, "axi_address_width": 19, "forwarding": False})
