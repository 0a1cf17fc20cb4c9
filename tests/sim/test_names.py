# SPDX-License-Identifier: Apache-2.0
"""What the command prints and writes whatever names are, and with nothing for the machine to do."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from kiwicha.cli.main import main
from kiwicha.errors import printable

from ..compiler.onnx_models import dq, model, node, q, scales

STRANGE = "[bold]caf\u00e9\n\x1b[2J \u540d\\"
"""Markup, two lines, a command to terminals, letters of two alphabets, a backslash."""
LONG = "n" * 3000
CONSTANTS = scales(
    x=(0.03, np.uint8(120)), w=(0.02, np.int8(0)), a=(0.1, np.uint8(130))
) | {"W": np.ones((3, 2), np.int8)}
PRODUCT = ["xq", "x_s", "x_z", "W", "w_s", "w_z", "a_s", "a_z"]
MODELS = {
    "layers": model(
        [q("x", "xq", "x"), node("QLinearMatMul", PRODUCT, ["p"], name=STRANGE),
         dq("p", STRANGE, "a"), node("Relu", [STRANGE], ["r"]), q("r", "rq", "a"),
         dq("rq", LONG, "a")],
        CONSTANTS, {"x": [2, 3]}, (STRANGE, LONG)),
    "nothing": model(
        [q("x", "xq", "x"), node("Flatten", ["xq"], ["f"], name=STRANGE), dq("f", STRANGE, "x"),
         q("one", "oq", "x"), dq("oq", LONG, "x"), dq("i", "d", "a")],
        CONSTANTS, {"x": [2, 1, 3], "one": [], "i": [2, 3]}, (STRANGE, LONG, "d"),
        types={"i": TensorProto.UINT8}),
}


@pytest.mark.parametrize("case", MODELS)
def test_any_name_on_a_terminal_of_ascii(case, tmp_path):
    """The process itself, for its standard output: nothing crashes, and everything is written."""
    onnx.save(MODELS[case], tmp_path / "model.onnx")
    names = ("model.onnx", "--report", "r.json", "--outputs", "o.npz")
    files = [name if name[0] == "-" else str(tmp_path / name) for name in names]
    arguments = ["sim", *files, "--preset", "tiny"]
    script = f"import sys; from kiwicha.cli.main import main; sys.exit(main({arguments}))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, timeout=600, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr.decode()
    out = done.stdout.decode("ascii")
    assert "every bit equal (golden model, ONNX Runtime)" in out
    assert "\x1b" not in out
    report = json.loads((tmp_path / "r.json").read_text())
    with np.load(tmp_path / "o.npz") as file:
        outputs = dict(file)
    if case == "nothing":
        assert report["layers"] == []
        assert {name: value.shape for name, value in outputs.items()} == {
            STRANGE: (2, 3), LONG: (), "d": (2, 3)
        }
    else:
        assert r"[bold]caf\xe9\n\x1b[2J \u540d" in out
        assert STRANGE in [layer["name"] for layer in report["layers"]]
        assert set(outputs) == {STRANGE, LONG}


def test_one_number_as_input(tmp_path, capfd, no_build):
    """A graph input of shape () has no samples, and its array must have that shape."""
    proto = model([q("x", "xq", "x"), dq("xq", "y", "x")], CONSTANTS, {"x": []})
    onnx.save(proto, tmp_path / "model.onnx")
    np.savez(tmp_path / "one.npz", x=np.zeros(1, np.float32))
    command = ["sim", str(tmp_path / "model.onnx"), "--input", str(tmp_path / "one.npz")]
    assert main(command) == 2
    assert "input 'x' is (1,); must be ()" in capfd.readouterr().err


def test_printable():
    assert printable("a\nb\t\u00e9\u202e") == r"a\nb\t" + "\u00e9" + r"\u202e"
    assert printable("x" * 50, 20) == "x" * 10 + "..." + "x" * 10


def test_a_name_that_no_archive_takes(tmp_path, capfd, no_build):
    name = "n" * 65_532
    onnx.save(model([q("x", "xq", "x"), dq("xq", name, "x")], CONSTANTS, {"x": [1]}, (name,)),
              tmp_path / "model.onnx")
    assert main(["sim", str(tmp_path / "model.onnx"), "--outputs", str(tmp_path / "o.npz")]) == 2
    assert "has 65532 bytes; an npz file takes 65531 at most" in capfd.readouterr().err
