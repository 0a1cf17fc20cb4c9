# SPDX-License-Identifier: Apache-2.0
"""The command ``kiwicha`` as a user meets it: what it prints, writes and returns."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import kiwicha.api.run
import kiwicha.sim.inference
from kiwicha.cli.main import main
from kiwicha.compiler.frontend.load import load_model
from kiwicha.errors import InputError
from kiwicha.machine.isa import Engine
from kiwicha.machine.presets import PRESETS
from kiwicha.models.lenet5 import CALIBRATION, FP32, INT8, TEST
from kiwicha.report.report import LayerReport, Report
from kiwicha.report.tables import layer_tables
from kiwicha.sim.inference import run_model
from kiwicha.sim.shipped import SHIPPED


@pytest.mark.parametrize("command", ["", "sim", "compile", "verilog", "ops", "diff", "presets"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert f"kiwicha {command or 'sim'}" in out.split("options:")[1]


def test_installed_command():
    command = [str(Path(sys.executable).with_name("kiwicha")), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("kiwicha 0.")


def test_presets(capsys):
    assert main(["presets"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    for name, config in PRESETS.items():
        assert f"{config.rows} x {config.columns} " in rows[name]
        assert f"{config.axi_data_width} bit" in rows[name]
        assert ("special" in rows[name]) == bool(config.special)


def test_ops(capsys):
    assert main(["ops"]) == 0
    everything = capsys.readouterr().out
    assert main(["ops", "QLinearConv"]) == 0
    one = capsys.readouterr().out
    assert "runtime-exact" in one
    assert "channels_last" in one
    assert len(one) < len(everything) / 4
    assert main(["ops", "GroupQueryAttention"]) == 2
    assert capsys.readouterr().err.startswith("kiwicha: error: GroupQueryAttention: is float")


def test_verilog_is_the_same_every_time(tmp_path, capsys):
    contents = []
    for name in ("a", "b/c"):
        assert main(["verilog", "--preset", "tiny", "--out", str(tmp_path / name)]) == 0
        files = [Path(line) for line in capsys.readouterr().out.splitlines()]
        assert sorted(files) == sorted((tmp_path / name).iterdir())
        contents.append({path.name: path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert {"accelerator.v", "manifest.json", "registers.h", "registers.py"} <= set(contents[0])


def test_shipped_models_are_there():
    assert SHIPPED["lenet5"].path == INT8
    assert SHIPPED["lenet5"].inputs == TEST != CALIBRATION
    assert SHIPPED["lenet5"].float32 == FP32


# One simulation serves all that follows ----------------------------------------------------------


def run(folder, *options, network="model.onnx"):
    """Run ``kiwicha sim`` with every result written; return exit code, report and outputs."""
    report, outputs = folder / "report.json", folder / "outputs.npz"
    code = main(
        ["sim", str(folder / network), "--report", str(report), "--outputs", str(outputs), *options]
    )
    with np.load(outputs) as file:
        return code, json.loads(report.read_text()), dict(file)


@pytest.fixture(scope="module")
def result(folder):
    return run(folder, "--preset", "tiny", "--input", str(folder / "good.npz"))


def test_report_has_every_field(result):
    code, report, _ = result
    assert code == 0
    assert report["exact"]
    assert report["mismatches"] == report["reference"]["mismatches"] == 0
    assert report["reference"]["runtime"] == "onnxruntime"
    assert report["reference"]["compared"]
    assert report["reference"]["version"]
    config = PRESETS["tiny"]
    peak = config.rows * config.columns
    assert report["utilization"] == pytest.approx(report["macs"] / report["cycles"] / peak)
    assert (
        report["macs"]
        == 2 * (4 * 3 * 9 * 16 + 64 * 10)
        == sum(layer["macs"] for layer in report["layers"])
    )
    assert [layer["op"] for layer in report["layers"]] == ["QLinearConv", "QGemm"]
    for layer in report["layers"]:
        assert layer["mismatches"] == 0
        assert layer["cycles"] > 0
        assert layer["bytes_read"] > 0
        assert layer["bytes_written"] > 0
        assert layer["utilization"] == pytest.approx(layer["macs"] / layer["cycles"] / peak)
    assert sum(layer["cycles"] for layer in report["layers"]) <= report["cycles"]
    assert report["accuracy"]["samples"] == 2
    assert report["accuracy"]["machine"] == report["accuracy"]["runtime"]
    assert report["accuracy"]["float32"] is None
    assert report["cycles_per_second"] > 0
    counters = report["counters"]
    for engine in Engine:
        if engine is Engine.UPDATE:  # counted only where there is one
            continue
        there = 0 if engine is Engine.SPECIAL else 1  # tiny has none
        assert there <= counters[f"{engine.name.lower()}_busy"] <= there * report["cycles"]
        assert 0 <= counters[f"{engine.name.lower()}_stalled"] <= there * report["cycles"]
    assert counters["read_beats"] > counters["written_beats"] > 0
    assert counters["steps"] > 0


def test_report_comes_back_from_json(result):
    _, values, _ = result
    report = Report.from_dict(values)
    assert isinstance(report.layers[0], LayerReport)
    assert report.accuracy.samples == 2
    assert json.loads(json.dumps(report.to_dict())) == values
    assert Report.from_dict({**values, "a later field": 1}) == report
    layer = dict(values["layers"][1])
    del layer["bound"]
    for wrong, culprit in (
        ({**values, "schema": 2}, "schema is 2; must be 1"),
        ({**values, "layers": [layer]}, "no 'bound' in LayerReport"),
    ):
        with pytest.raises(InputError, match=culprit):
            Report.from_dict(wrong)


def test_outputs_are_those_of_onnx_runtime(result, folder):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(folder / "model.onnx", options)
    with np.load(folder / "good.npz") as file:
        expected = session.run(["y"], {"x": file["x"]})[0]
    assert result[2].keys() == {"y"}
    np.testing.assert_array_equal(result[2]["y"], expected)


@pytest.mark.parametrize(("latency", "stall"), [(90, 100), (0, 255)])
def test_a_slow_memory_changes_cycles_but_no_bit(result, folder, capfd, latency, stall):
    options = ("--preset", "tiny", "--input", str(folder / "good.npz"))
    memory = ("--latency", str(latency), "--stall", str(stall))
    code, report, outputs = run(folder, *options, *memory)
    assert code == 0
    assert report["cycles"] > result[1]["cycles"]
    np.testing.assert_array_equal(outputs["y"], result[2]["y"])
    out, err = capfd.readouterr()
    assert "every bit equal (golden model, ONNX Runtime)" in out
    assert "accuracy on 2 samples: ONNX Runtime int8" in out
    assert "mismatches" in out
    assert "…" not in out
    stages = [line.split(" s  ")[1] for line in err.splitlines()]
    assert stages[-2:] == ["simulating", "comparing"]
    assert "generating Verilog" in stages


def test_random_inputs_follow_the_seed(result, folder):
    first = run(folder, "--preset", "tiny", "--seed", "5")[2]["y"]
    assert not np.array_equal(first, result[2]["y"])
    np.testing.assert_array_equal(run(folder, "--preset", "tiny", "--seed", "5")[2]["y"], first)


def test_another_rounding_is_not_compared_with_onnx_runtime(result, folder, capfd):
    _, report, _ = result
    config = {**report["config"], "requantize_mode": "tflite"}

    def other(*arguments, **options):
        outcome = run_model(*arguments, **options)
        reference = {**outcome.report.reference, "compared": False}
        return replace(outcome, report=replace(outcome.report, config=config, reference=reference))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kiwicha.api.run, "run_model", other)
        assert run(folder, "--preset", "tiny")[0] == 0
    out = capfd.readouterr().out
    assert "not compared with it (requantize mode tflite)" in out
    assert "every bit equal (golden model)" in out


@pytest.mark.parametrize("where", ["layer", "machine", "runtime"])
def test_one_wrong_bit_is_exit_code_1(where, result, folder, monkeypatch, capfd):
    def wrong(*arguments, **options):
        outcome = run_model(*arguments, **options)
        report = outcome.report
        if where == "runtime":
            report = replace(report, reference={**report.reference, "mismatches": 1})
        else:
            report = replace(report, mismatches=1)
        if where == "layer":
            first, *others = report.layers
            report = replace(report, layers=(replace(first, mismatches=1), *others))
        return replace(outcome, report=report)

    monkeypatch.setattr(kiwicha.api.run, "run_model", wrong)
    code, report, _ = run(folder, "--preset", "tiny")
    assert code == 1
    assert not report["exact"]
    out = capfd.readouterr().out
    culprit = {"layer": "layer 'conv1", "machine": "golden machine", "runtime": "onnxruntime's"}
    assert f"WRONG: {'1 bytes of memory' if where == 'machine' else ''}" in out
    assert culprit[where] in out.split("WRONG: ")[1]
    assert "every bit equal" not in out


def test_a_bit_that_the_hardware_gets_wrong_is_found_by_every_judge(
    result, folder, monkeypatch, capfd
):
    simulate = kiwicha.sim.inference._simulate

    def wrong(machine, compiled, *arguments):
        found = simulate(machine, compiled, *arguments)
        found.memory[compiled.addresses[compiled.layers[-1].node.y.name]] ^= 1
        return found

    monkeypatch.setattr(kiwicha.sim.inference, "_simulate", wrong)
    code, report, _ = run(folder, "--preset", "tiny", "--input", str(folder / "good.npz"))
    assert code == 1
    assert [layer["mismatches"] for layer in report["layers"]] == [0, 1]
    assert report["mismatches"] == 2  # against the golden operator and the golden machine
    assert report["reference"]["mismatches"] == 2  # of the layer, and of the model's output
    assert "2 elements differ from onnxruntime's" in capfd.readouterr().out


def test_table_is_readable_on_a_narrow_terminal(folder, result):
    config = PRESETS["tiny"]
    report = run_model(load_model(folder / "model.onnx"), config).report
    narrow = Console(width=80, file=io.StringIO())
    tables = layer_tables(report, narrow)
    assert len(tables) == 2
    for table in tables:
        narrow.print(table)
    text = narrow.file.getvalue()
    assert "…" not in text
    for heading in ("shapes", "MACs", "cycles", "bound", "written B", "mismatches"):
        assert heading in text
    assert len(layer_tables(report, Console(width=160))) == 1


def test_waves_and_four_states(icarus, result, folder):
    waves = folder / "waves.vcd"
    code, report, outputs = run(
        folder, "--preset", "tiny", "--simulator", icarus, "--waves", str(waves),
        "--input", str(folder / "good.npz"),
    )
    assert code == 0
    assert report["waves"] == str(waves)
    assert report["cycles"] == result[1]["cycles"]
    np.testing.assert_array_equal(outputs["y"], result[2]["y"])
    assert "m_axi_rdata" in waves.read_text(errors="replace")
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
