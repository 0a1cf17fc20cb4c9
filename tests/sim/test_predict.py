# SPDX-License-Identifier: Apache-2.0
"""``kiwicha sim --predict``: what a run would report, without hardware and simulator."""

import io
import json
from dataclasses import fields

import pytest
from rich.console import Console

import kiwicha
from kiwicha.cli.main import main
from kiwicha.errors import InputError
from kiwicha.machine.presets import PRESETS
from kiwicha.report.report import LayerReport, Report
from kiwicha.report.tables import prediction_tables

#: Of a layer or a run, what nobody knows before.
MEASURED = {
    "cycles", "compared", "differ", "rounded", "off", "mismatches", "cycles_saved", "simulator",
    "reference", "counters", "seconds", "accuracy", "waves", "statistics", "blocks", "exact",
    "cycles_per_second",
}


@pytest.fixture
def no_simulator(no_build, monkeypatch):
    for name in ("find_simulator", "reference", "run_golden_machine"):
        monkeypatch.setattr(f"kiwicha.sim.inference.{name}", lambda *_: pytest.fail("a run"))


def predicted(folder, *options):
    report = folder / "predicted.json"
    command = ["sim", str(folder / "model.onnx"), "--predict", "--report", str(report)]
    assert main([*command, *options]) == 0
    return json.loads(report.read_text())


def test_the_fields_are_those_of_a_run(folder, no_simulator, capfd):
    values = predicted(folder, "--preset", "tiny")
    out = capfd.readouterr().out
    made = kiwicha.compile_model(folder / "model.onnx", "tiny")
    assert (values["schema"], values["predicted"]) == (1, True)
    assert {field.name for field in fields(Report)} <= set(values)
    assert values["predicted_cycles"] == made.cycles
    assert f"{made.cycles:,} cycles predicted in " in out
    assert "nothing was run" in out
    assert "model on 'tiny' (4x4 array, predicted)" in out
    config = PRESETS["tiny"]
    assert values["config"] == json.loads(json.dumps(config.to_dict()))
    peak = config.rows * config.columns
    assert values["utilization"] == values["macs"] / made.cycles / peak
    for layer, one in zip(values["layers"], made.layers, strict=True):
        assert set(layer) == {field.name for field in fields(LayerReport)}
        assert layer["utilization"] == one.macs / one.cycles / peak <= layer["bound"] <= 1
        assert layer["predicted_cycles"] == one.cycles
        assert layer["bytes_read"] == one.bytes_read > 0 < layer["bytes_written"]
        assert layer["promise"] == "runtime-exact"
        assert {name for name in layer if layer[name] is None} == MEASURED & set(layer)
    assert {name for name in values if values[name] is None} == MEASURED & set(values)
    with pytest.raises(InputError, match="is a prediction"):
        Report.from_dict(values)


def test_it_is_what_the_run_reports(folder):
    report = kiwicha.simulate(folder / "model.onnx", machine="tiny").report
    values = predicted(folder, "--preset", "tiny")
    assert report.predicted_cycles == values["predicted_cycles"]
    run = report.to_dict()
    assert not run["predicted"]
    known = {field.name for field in fields(LayerReport)} - MEASURED - {"utilization"}
    for layer, one in zip(json.loads(json.dumps(run))["layers"], values["layers"], strict=True):
        assert {name: one[name] for name in known} == {name: layer[name] for name in known}


def test_samples_are_the_batch(no_simulator, capfd):
    assert main("sim lenet5 --preset tiny --predict --samples 3".split()) == 0
    assert "3x1x28x28 > 3x6x28x28" in capfd.readouterr().out


def test_tables_are_readable_on_a_narrow_terminal():
    prediction = kiwicha.compile_model("lenet5").prediction
    narrow = Console(width=80, file=io.StringIO())
    tables = prediction_tables(prediction, narrow)
    assert len(tables) == 3  # some weights are compressed
    for table in tables:
        narrow.print(table)
    assert "…" not in narrow.file.getvalue()
    assert "mismatches" not in narrow.file.getvalue()
    assert len(prediction_tables(prediction, Console(width=220))) == 1


def test_refused_nodes_are_a_line_each(folder, no_simulator, capfd):
    assert main(["sim", str(folder / "determinant.onnx"), "--predict"]) == 2
    out, err = capfd.readouterr()
    assert err.splitlines()[-2:] == [
        "kiwicha: error: 1 node cannot be mapped",
        "  'det1' (Det): the machine has no such operation",
    ]
    assert not out


@pytest.mark.parametrize(("options", "culprit"), [
    ("--input good.npz", "--input: --predict runs nothing; --samples sets the batch"),
    ("--waves w.vcd", "--waves: --predict runs nothing"),
    ("--outputs y.npz", "--outputs: --predict runs nothing"),
    ("--latency 30", "--latency 30 --stall 0: --predict reckons with a latency of 20"),
    ("--report model.onnx", "is also a file that is read"),
    ("--samples 3", "3 samples do not fit"),
])
def test_what_only_a_run_can_follow(options, culprit, folder, monkeypatch, no_simulator, capfd):
    monkeypatch.chdir(folder)
    assert main(["sim", "model.onnx", "--predict", *options.split()]) == 2
    out, err = capfd.readouterr()
    assert culprit in err.splitlines()[-1]
    assert not out
