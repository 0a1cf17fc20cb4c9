# SPDX-License-Identifier: Apache-2.0
"""Compressed weights as measured: whole figures from a small machine, and the formulas."""

import io

import pytest
from rich.console import Console

import kiwicha.sim.prepare
from kiwicha.bench import sparse as module
from kiwicha.bench.sparse import formats, pruned_product, sparse
from kiwicha.compiler.emit import residents
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.schedule.compress import compress
from kiwicha.machine.capabilities import WEIGHT_FORMATS
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.report.tables import layer_tables
from kiwicha.sim.inference import run_model

from ..support.bench import unit_simulator

__all__: list[str] = []

#: Two beats a weight row.
SMALL = AcceleratorConfig(
    name="small-port", rows=8, columns=16, axi_data_width=64, activation_bytes=1024,
    weight_bytes=4096, accumulator_depth=16, output_bytes=256, parameter_channels=32,
    requantize_lanes=4, sparse={"formats": ("csc4",)}, queue_words=32,
)


def test_formats_are_as_their_formulas() -> None:
    table = formats(size=1 << 18, progress=lambda _: None)
    assert len(table.values) >= 8
    for found in table.values:
        for name in WEIGHT_FORMATS:
            assert found[name] == pytest.approx(found[f"{name} formula"], rel=0.03), found


def test_a_layer_is_faster_and_smaller() -> None:
    table = sparse(SMALL, size=128, simulator=unit_simulator().name, progress=lambda _: None)
    dense, compressed = table.values
    assert dense["format"] == "dense"
    assert compressed["format"] == "csc4"
    assert dense["bytes_ratio"] == dense["cycles_ratio"] == 1
    assert compressed["bytes_ratio"] == compressed["bytes"] / 128**2 < 0.25
    assert compressed["cycles_ratio"] == compressed["cycles"] / dense["cycles"] < 0.7
    for found in (dense, compressed):
        assert found["cycles"] >= max(found["memory"], found["array"])
        assert found["predicted"] == pytest.approx(found["cycles"], rel=0.15)


def test_the_report_says_what_was_saved(monkeypatch) -> None:
    model = pruned_product(128, 0.1, 1)
    simulator = unit_simulator().name
    compiled = []

    def compile_once(*arguments):
        compiled.append(compile_graph(*arguments))
        return compiled[-1]

    monkeypatch.setattr(kiwicha.sim.prepare, "compile_graph", compile_once)
    report = run_model(model, SMALL, simulator=simulator).report
    assert len(compiled) == 1
    # The same program, but that nothing is compressed when it is written.
    plainly = SMALL.replace(sparse={"formats": ()})
    monkeypatch.setattr(
        residents, "compress", lambda rows, _, **how: compress(rows, plainly, **how)
    )
    dense = run_model(model, SMALL, simulator=simulator).report
    assert report.exact
    (layer,), (plain,) = report.to_dict()["layers"], dense.to_dict()["layers"]
    assert layer["weight_formats"] == ("csc4",)
    assert layer["weight_bytes"] == plain["weight_bytes"] == plain["stored_bytes"] == 128 * 128
    assert layer["density"] == plain["density"] == pytest.approx(0.1, abs=0.01)
    assert layer["stored_bytes"] < layer["weight_bytes"]
    assert layer["cycles_saved"] == plain["predicted_cycles"] - layer["cycles"] > 0
    # It is a prediction of the dense layer that is 2 % off at most, less what was simulated.
    saved = plain["cycles"] - layer["cycles"]
    assert layer["cycles_saved"] == pytest.approx(saved, abs=0.02 * plain["cycles"])
    assert plain["weight_formats"] == ("dense",)
    assert plain["cycles_saved"] is None

    def shown(which, width: int) -> str:
        console = Console(file=io.StringIO(), width=width)
        for table in layer_tables(which, console):
            console.print(table)
        return console.file.getvalue()  # type: ignore[attr-defined]

    for width in (250, 100):
        text = shown(report, width)
        assert "cycles saved" in text
        assert f"{layer['stored_bytes']:,}" in text
        assert "…" not in text
        assert "density" not in shown(dense, width)


def test_no_figure_comes_from_a_fault(monkeypatch) -> None:
    class Wrong:
        exact = False

    monkeypatch.setattr(module, "run_model", lambda *_, **__: type("Run", (), {"report": Wrong}))
    with pytest.raises(RuntimeError, match="results differ"):
        sparse(SMALL, size=16, progress=lambda _: None)
