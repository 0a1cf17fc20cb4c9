# SPDX-License-Identifier: Apache-2.0
"""examples/integrator: a bench of files alone, without a line of Kiwicha."""

import ast
from pathlib import Path

import numpy as np
import pytest

import kiwicha
from kiwicha.sim.simulator import build_design, find_verilator, run_design

from .support.sources import BUILD_ROOT

EXAMPLE = Path(__file__).parents[1] / "examples/integrator"
CASES = 1


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What an integrator is given, and a digit with what ONNX Runtime makes of it."""
    folder = tmp_path_factory.mktemp("files")
    model, machine = kiwicha.load_model("lenet5"), kiwicha.preset("tiny")
    kiwicha.write_verilog(machine, folder)
    kiwicha.write_program(model, folder, machine, samples=1)
    digits = model.test_inputs()["image"][:CASES, np.newaxis]
    found = [kiwicha.run_golden(model, {"image": each}, machine).expected for each in digits]
    np.savez(folder / "cases.npz", image=digits, logits=np.stack([e["logits"] for e in found]))
    return folder


def _run(files, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    build = build_design(
        find_verilator(), [files / "accelerator.v"], top="accelerator", name="integrator",
        cache=BUILD_ROOT,
    )
    return run_design(
        build, "integrator.integration", run_dir=tmp_path, env={"FILES": str(files)}, timeout=600
    )


def test_every_case_is_right(files, tmp_path, monkeypatch):
    outcome = _run(files, tmp_path, monkeypatch)
    assert outcome.passed, outcome.failures
    assert outcome.log.count("every bit right") == CASES


def test_another_machine_is_noticed(files, tmp_path, monkeypatch):
    for path in files.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    other = kiwicha.preset("tiny").replace(requantize_lanes=2)
    kiwicha.write_program("lenet5", tmp_path, other, samples=1)
    outcome = _run(tmp_path, tmp_path / "run", monkeypatch)
    (failure,) = outcome.failures
    assert failure.startswith("every_case_is_right")


def test_nothing_of_kiwicha_is_imported():
    for node in ast.walk(ast.parse((EXAMPLE / "integration.py").read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            assert not any(name.startswith("kiwicha") for name in names)
