# SPDX-License-Identifier: Apache-2.0
"""The command ``kiwicha`` as a user meets it: what it prints, writes and returns.

Errors are provoked with a build that must not happen: whatever gets that far fails the test.
"""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

import sim.cli_sim
import sim.files
import sim.inference
from compiler.load import load_model
from hw.config import PRESETS
from models.lenet5 import CALIBRATION, FP32, INT8, TEST
from models.variants import build, random_input
from sim.cli import main
from sim.inference import run_model
from sim.report import layer_tables
from sim.shipped import SHIPPED
from sim.simulation import MachineStopped
from sim.toolchain import SimulatorError

NETWORK = "flatten"  #: convolution, Flatten and Gemm; two samples, ten classes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, inputs for it, and inputs that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("cli")
    model, shape = build(NETWORK)
    onnx.save(model, folder / "model.onnx")
    onnx.save(build("sigmoid")[0], folder / "sigmoid.onnx")
    data = (folder / "model.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(data[: len(data) // 2])
    (folder / "text.onnx").write_text("not a model\n")
    x, labels = random_input(shape), np.arange(len(random_input(shape)))
    arrays = {
        "good": {"x": x, "labels": labels},
        "name": {"image": x},
        "more": {"x": x, "extra": x},
        "shape": {"x": x[:, :, :5]},
        "scalar": {"x": np.float32(1)},
        "empty": {"x": x[:0]},
        "dtype": {"x": x.astype(np.float64)},
        "nan": {"x": np.full_like(x, np.nan)},
        "labels": {"x": x, "labels": labels[:1]},
        "float_labels": {"x": x, "labels": labels.astype(np.float32)},
    }
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    (folder / "text.npz").write_text("not an archive\n")
    data = (folder / "good.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(data[: len(data) // 2])
    np.save(folder / "one.npy", x)
    (folder / "broken.toml").write_text("rows = = 4\n")
    (folder / "key.toml").write_text('preset = "tiny"\nrow = 4\n')
    (folder / "value.toml").write_text("rows = 65\n")
    (folder / "type.toml").write_text('rows = "4"\n')
    (folder / "bytes.toml").write_bytes(b"\xff\xfe")
    (folder / "narrow.toml").write_text('preset = "tiny"\naxi_address_width = 16\n')
    (folder / "tflite.toml").write_text('preset = "tiny"\nrequantize_mode = "tflite"\n')
    (folder / "nowhere.vcd").mkdir()
    return folder


@pytest.fixture
def no_build(monkeypatch):
    """Fail if the hardware is generated or built."""

    def never(*arguments, **options):
        pytest.fail("the build has begun")

    monkeypatch.setattr(sim.inference, "simulated_machine", never)
    monkeypatch.setattr("sim.cli_hardware.write_hardware", never)


BAD = {
    "no_command": ("", "COMMAND"),
    "unknown_command": ("simulate", "simulate"),
    "unknown_option": ("sim model.onnx --fast", "--fast"),
    "no_model": ("sim", "MODEL"),
    "unknown_model": ("sim lenet6", "lenet6: no such file; models that come along: lenet5"),
    "missing_model": ("sim nothing.onnx", "nothing.onnx"),
    "truncated_model": ("sim truncated.onnx", "truncated.onnx"),
    "text_model": ("sim text.onnx", "text.onnx"),
    "folder_as_model": ("sim .", ".: Is a directory"),
    "float_model": (f"sim {FP32}", "float model"),
    "missing_input": ("sim model.onnx --input none.npz", "none.npz"),
    "text_input": ("sim model.onnx --input text.npz", "text.npz: not an npz"),
    "truncated_input": ("sim model.onnx --input truncated.npz", "truncated.npz: not an npz"),
    "npy_input": ("sim model.onnx --input one.npy", "one.npy: one array"),
    "input_name": ("sim model.onnx --input name.npz", "'image'"),
    "input_more": ("sim model.onnx --input more.npz", "'extra'"),
    "input_shape": ("sim model.onnx --input shape.npz", "'x' is (2, 3, 5, 6)"),
    "input_scalar": ("sim model.onnx --input scalar.npz", "'x' holds 0 samples"),
    "input_empty": ("sim model.onnx --input empty.npz", "'x' holds 0 samples"),
    "input_dtype": ("sim model.onnx --input dtype.npz", "float64"),
    "input_nan": ("sim model.onnx --input nan.npz", "NaN"),
    "labels_length": ("sim model.onnx --input labels.npz", "'labels' is int64 (1,)"),
    "labels_type": ("sim model.onnx --input float_labels.npz", "'labels' is float32"),
    "samples_more": ("sim model.onnx --input good.npz --samples 3", "asks for 3"),
    "samples_fixed": ("sim model.onnx --samples 3", "3 samples do not fit input 'x'"),
    "samples_zero": ("sim model.onnx --samples 0", "--samples"),
    "latency": ("sim model.onnx --latency -1", "--latency"),
    "stall": ("sim model.onnx --stall 256", "'256' is not an integer, 0 to 240"),
    "seed": ("sim model.onnx --seed x", "--seed"),
    "simulator": ("sim model.onnx --simulator modelsim", "modelsim"),
    "preset": ("sim model.onnx --preset huge", "'huge'; legal: tiny"),
    "both": ("sim model.onnx --preset tiny --config key.toml", "--config"),
    "missing_config": ("sim model.onnx --config none.toml", "none.toml: No such file"),
    "folder_as_config": ("sim model.onnx --config .", ".: Is a directory"),
    "broken_config": ("sim model.onnx --config broken.toml", "broken.toml: Invalid value"),
    "config_key": ("sim model.onnx --config key.toml", "key.toml: unknown key 'row'"),
    "config_value": ("sim model.onnx --config value.toml", "value.toml: rows is 65"),
    "config_type": ("sim model.onnx --config type.toml", "type.toml: rows is '4'"),
    "config_bytes": ("sim model.onnx --config bytes.toml", "bytes.toml"),
    "too_large": ("sim lenet5 --config narrow.toml", "axi_address_width 16"),
    "report_folder": ("sim model.onnx --report none/r.json", "no folder 'none'"),
    "report_is_folder": ("sim model.onnx --report nowhere.vcd", "is a folder"),
    "outputs_is_input": ("sim model.onnx --input good.npz --outputs good.npz", "is read"),
    "same_file": ("sim model.onnx --report a --outputs ./a", "the file of --report"),
    "waves_folder": ("sim model.onnx --waves nowhere.vcd", "is a folder"),
    "waves_suffix": ("sim model.onnx --waves w.txt", "must end with .vcd or .fst"),
    "verilog_preset": ("verilog --preset huge", "'huge'"),
    "verilog_config": ("verilog --config value.toml", "rows is 65"),
    "verilog_out": ("verilog --out model.onnx", "is a file, not a folder"),
    "verilog_below": ("verilog --out model.onnx/a/b", "is a file, not a folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, folder, monkeypatch, capfd, no_build):
    command, culprit = BAD[case]
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert main(command.split()) == 2
    out, err = capfd.readouterr()
    *stages, line = err.splitlines()
    assert line.startswith("kiwicha: error: ")
    assert culprit in line
    assert not out
    assert all("lowering" in stage or "compiling" in stage for stage in stages)
    assert sorted(folder.rglob("*")) == before


def test_unsupported_model_lists_the_nodes(folder, capfd, no_build):
    assert main(["sim", str(folder / "sigmoid.onnx")]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert "kiwicha: error: 1 node cannot be mapped" in lines
    assert "QLinearSigmoid" in lines[-1]


def test_read_only_folder(folder, tmp_path, monkeypatch, capfd, no_build):
    monkeypatch.setattr(sim.files.os, "access", lambda path, mode: False)  # root may write anywhere
    assert main(["sim", str(folder / "model.onnx"), "--report", str(tmp_path / "r.json")]) == 2
    assert "no permission" in capfd.readouterr().err


@pytest.mark.parametrize(
    "error", [MachineStopped(4, 0x1000), SimulatorError("no Verilator: run `make setup`")]
)
def test_failures_of_the_machine_are_one_line(error, folder, monkeypatch, capfd, tmp_path):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(sim.inference, "simulated_machine", fail)
    report = tmp_path / "report.json"
    assert main(["sim", str(folder / "model.onnx"), "--report", str(report)]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == f"kiwicha: error: {error}"
    assert not report.exists()


def test_missing_simulator(folder, monkeypatch, capfd, no_build):
    def missing(name):
        raise SimulatorError(f"no {name} here")

    monkeypatch.setattr(sim.inference, "find_simulator", missing)
    model = str(folder / "model.onnx")
    assert main(["sim", model, "--simulator", "icarus"]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == "kiwicha: error: no icarus here"


@pytest.mark.parametrize("command", ["", "sim", "verilog", "presets"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert f"kiwicha {command or 'sim'}" in out.split("options:")[1]


def test_installed_command():
    command = [str(Path(sys.executable).with_name("kiwicha")), "--version"]
    if not Path(command[0]).exists():
        pytest.skip("Kiwicha is not installed in this environment")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("kiwicha 0.")


def test_presets(capsys):
    assert main(["presets"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    for name, config in PRESETS.items():
        assert f"{config.rows} x {config.columns} " in rows[name]
        assert f"{config.axi_data_width} bit" in rows[name]


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


def test_outputs_are_those_of_onnx_runtime(result, folder):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(folder / "model.onnx", options)
    with np.load(folder / "good.npz") as file:
        expected = session.run(["y"], {"x": file["x"]})[0]
    assert result[2].keys() == {"y"}
    np.testing.assert_array_equal(result[2]["y"], expected)


def test_a_slow_memory_changes_cycles_but_no_bit(result, folder, capfd):
    options = ("--preset", "tiny", "--input", str(folder / "good.npz"))
    code, report, outputs = run(folder, *options, "--latency", "90", "--stall", "100")
    assert code == 0
    assert report["cycles"] > result[1]["cycles"]
    np.testing.assert_array_equal(outputs["y"], result[2]["y"])
    out, err = capfd.readouterr()
    assert "every bit equal (golden model, ONNX Runtime)" in out
    assert "accuracy on 2 samples: ONNX Runtime int8" in out
    assert "mismatches" in out
    assert "…" not in out
    stages = [line.split(" s  ")[1] for line in err.splitlines()]
    assert stages[-1] == "simulating"
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
        patch.setattr(sim.cli_sim, "run_model", other)
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

    monkeypatch.setattr(sim.cli_sim, "run_model", wrong)
    code, report, _ = run(folder, "--preset", "tiny")
    assert code == 1
    assert not report["exact"]
    out = capfd.readouterr().out
    culprit = {"layer": "layer 'conv1", "machine": "golden machine", "runtime": "onnxruntime's"}
    assert f"WRONG: {'1 bytes of memory' if where == 'machine' else ''}" in out
    assert culprit[where] in out.split("WRONG: ")[1]
    assert "every bit equal" not in out


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
    )  # fmt: skip
    assert code == 0
    assert report["waves"] == str(waves)
    assert report["cycles"] == result[1]["cycles"]
    np.testing.assert_array_equal(outputs["y"], result[2]["y"])
    assert "m_axi_rdata" in waves.read_text(errors="replace")
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
