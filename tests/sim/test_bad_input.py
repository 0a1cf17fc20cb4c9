# SPDX-License-Identifier: Apache-2.0
"""What the command says of bad input and of broken machines: one line, and nothing is written.

Every case runs with a build that must not happen: whatever gets that far fails the test.
"""

import pytest

import kiwicha.sim.files
import kiwicha.sim.inference
from kiwicha.cli.main import main
from kiwicha.models.lenet5 import FP32
from kiwicha.sim.simulation import MachineStopped
from kiwicha.sim.toolchain import SimulatorError

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
    "input_scalar": ("sim model.onnx --input scalar.npz", "'x' is (); must be (2, 3, 6, 6)"),
    "input_empty": ("sim model.onnx --input empty.npz", "'x' holds 0 samples"),
    "input_dtype": ("sim model.onnx --input dtype.npz", "float64"),
    "input_nan": ("sim model.onnx --input nan.npz", "NaN"),
    "labels_length": ("sim model.onnx --input labels.npz", "'labels' is int64 (1,)"),
    "labels_type": ("sim model.onnx --input float_labels.npz", "'labels' is float32"),
    "samples_more": ("sim model.onnx --input good.npz --samples 3", "asks for 3"),
    "samples_fixed": ("sim model.onnx --samples 3", "3 samples do not fit input 'x'"),
    "samples_zero": ("sim model.onnx --samples 0", "--samples"),
    "latency": ("sim model.onnx --latency -1", "--latency"),
    "stall": ("sim model.onnx --stall 256", "'256' is not an integer, 0 to 255"),
    "seed": ("sim model.onnx --seed x", "--seed"),
    "simulator": ("sim model.onnx --simulator modelsim", "modelsim"),
    "preset": ("sim model.onnx --preset huge", "'huge'; legal: tiny"),
    "both": ("sim model.onnx --preset tiny --config key.toml", "--config"),
    "missing_config": ("sim model.onnx --config none.toml", "none.toml: No such file"),
    "folder_as_config": ("sim model.onnx --config .", ".: Is a directory"),
    "broken_config": ("sim model.onnx --config broken.toml", "broken.toml: Invalid value"),
    "config_key": ("sim model.onnx --config key.toml", "key.toml: unknown key 'row'"),
    "config_value": ("sim model.onnx --config value.toml", "value.toml: rows is 129"),
    "config_type": ("sim model.onnx --config type.toml", "type.toml: rows is '4'"),
    "config_bytes": ("sim model.onnx --config bytes.toml", "bytes.toml"),
    "too_large": ("sim lenet5 --config narrow.toml", "axi_address_width is 16; 23 would do"),
    "report_folder": ("sim model.onnx --report none/r.json", "no folder 'none'"),
    "report_is_folder": ("sim model.onnx --report nowhere.vcd", "is a folder"),
    "outputs_is_input": ("sim model.onnx --input good.npz --outputs good.npz", "is read"),
    "same_file": ("sim model.onnx --report a --outputs ./a", "the file of --report"),
    "waves_folder": ("sim model.onnx --waves nowhere.vcd", "is a folder"),
    "waves_suffix": ("sim model.onnx --waves w.txt", "must end with .vcd or .fst"),
    "verilog_preset": ("verilog --preset huge", "'huge'"),
    "verilog_config": ("verilog --config value.toml", "rows is 129"),
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
    assert main(["sim", str(folder / "determinant.onnx")]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert "kiwicha: error: 1 node cannot be mapped" in lines
    assert "(Det)" in lines[-1]


def test_read_only_folder(folder, tmp_path, monkeypatch, capfd, no_build):
    # root may write anywhere
    monkeypatch.setattr(kiwicha.sim.files.os, "access", lambda path, mode: False)
    assert main(["sim", str(folder / "model.onnx"), "--report", str(tmp_path / "r.json")]) == 2
    assert "no permission" in capfd.readouterr().err


@pytest.mark.parametrize(
    "error", [MachineStopped(4, 0x1000), SimulatorError("no Verilator: run `make setup`")]
)
def test_failures_of_the_machine_are_one_line(error, folder, monkeypatch, capfd, tmp_path):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(kiwicha.sim.inference, "simulated_machine", fail)
    report = tmp_path / "report.json"
    assert main(["sim", str(folder / "model.onnx"), "--report", str(report)]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == f"kiwicha: error: {error}"
    assert not report.exists()


def test_missing_simulator(folder, monkeypatch, capfd, no_build):
    def missing(name):
        raise SimulatorError(f"no {name} here")

    monkeypatch.setattr(kiwicha.sim.inference, "find_simulator", missing)
    model = str(folder / "model.onnx")
    assert main(["sim", model, "--simulator", "icarus"]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == "kiwicha: error: no icarus here"
