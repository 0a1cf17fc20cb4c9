# SPDX-License-Identifier: Apache-2.0
"""Clock frequencies that are kept, and the tables that multiply cycles with them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kiwicha.bench import mlperf_tiny
from kiwicha.bench.mlperf_tiny import MACHINES
from kiwicha.bench.options import with_also
from kiwicha.bench.placed import FILE, Frequency, frequencies, keep
from kiwicha.bench.synthesis import netlist_digest, synthesize
from kiwicha.bench.tiny_peers import NETWORKS, PUBLISHED, published_table
from kiwicha.hw.compute.systolic import SystolicArray
from kiwicha.machine.presets import preset

from ..support.sources import BUILD_ROOT

FOUND = Frequency(100.0, {"1": 90.0, "2": 100.0, "3": 101.0}, 9000, "abc", "--85k", "0.1", "2026")


def test_what_is_kept_is_found_again(tmp_path):
    file = tmp_path / "placed.json"
    assert frequencies(file) == {}
    keep("b", FOUND, file)
    keep("a", replace(FOUND, fmax=1.0), file)
    keep("b", replace(FOUND, lut_eq=1), file)
    assert frequencies(file) == {"a": replace(FOUND, fmax=1.0), "b": replace(FOUND, lut_eq=1)}
    assert list(json.loads(file.read_text())) == ["a", "b"]


def test_the_file_of_the_repository():
    """Medians are those of the seeds beside them; machines are presets with what is named."""
    for name, found in frequencies(Path(__file__).parents[2] / FILE).items():
        assert sorted(found.seeds.values())[(len(found.seeds) - 1) // 2] <= found.fmax
        assert found.fmax <= sorted(found.seeds.values())[len(found.seeds) // 2]
        assert name.startswith("ecp5-")


def test_the_digest_is_the_netlists():
    array = SystolicArray(2, 2)
    netlist = synthesize(array, "two-array", "ecp5", cache=BUILD_ROOT / "synth", quiet=True)
    assert netlist.directory.name == f"two-array-ecp5-{netlist_digest(SystolicArray(2, 2), 'ecp5')}"


def test_what_a_preset_gets_besides():
    both = with_also(preset("ecp5-8x8"), "depthwise", "tflite")
    assert (both.name, both.depthwise) == ("ecp5-8x8-depthwise-tflite", True)
    assert (both.requantize_mode, both.special.lanes) == ("tflite", 4)
    assert with_also(preset("tiny")) == preset("tiny")
    with pytest.raises(ValueError, match="no 'wings'; legal: depthwise, special, training, up"):
        with_also(preset("tiny"), "wings")


def test_ours_stand_beside_what_is_published(monkeypatch):
    """Cycles become milliseconds at the clock that was measured of that machine, or of its preset,
    and it says of which."""
    machine = MACHINES["8x8"]
    monkeypatch.setattr(mlperf_tiny, "frequencies", lambda: {machine.name: FOUND})
    monkeypatch.setattr(mlperf_tiny, "netlist_digest", lambda *_: "abc")
    one = {"predicted": 80_000, "cycles": 83_000}
    values = [{"network": "ds-cnn", "machines": {size: one for size in MACHINES}}]
    table = mlperf_tiny._beside(values)
    assert len(table.rows) == 1 + len(PUBLISHED)
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert (first["MHz"], first["DS-CNN"], first["ResNet-8"]) == ("100", "83 k = 0.83 ms", "-")
    assert first["what it is"] == "simulated, its own clock"
    assert "changed" not in table.how[-1]
    assert "not in it" not in table.how[-1]
    del one["cycles"]
    monkeypatch.setattr(mlperf_tiny, "frequencies", lambda: {"ecp5-8x8": FOUND})
    monkeypatch.setattr(mlperf_tiny, "netlist_digest", lambda *_: "other")
    table = mlperf_tiny._beside(values)
    assert table.rows[0][-1] == "predicted, ecp5-8x8's clock"
    assert "its Verilog has changed since" in table.how[-1]
    assert "Lanes and arithmetic of ecp5-8x8-tflite not in it" in table.how[-1]


def test_published():
    table = published_table()
    cells = {row[0]: row for row in table.rows}
    assert cells["fpgaConvNet, Zybo"][2] == "394 k = 3.15 ms"
    assert cells["fpgaConvNet, ZedBoard"][2] == "41-59 k"
    assert all(set(each.kilocycles) <= set(NETWORKS) for each in PUBLISHED)
