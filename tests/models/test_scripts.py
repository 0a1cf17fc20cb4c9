# SPDX-License-Identifier: Apache-2.0
"""The scripts that made the shipped models: the digits, a short training, all files written."""

import re

import numpy as np
import onnx
import pytest

from kiwicha.models import lenet5, lstm, resnet8, vit
from kiwicha.models.digits import load_npz
from kiwicha.models.script import CALIBRATION_STRIDE

MODULES = {"lenet5": lenet5, "lstm": lstm, "resnet8": resnet8, "vit": vit}
SCRIPTS = pytest.mark.parametrize("script", [m.SCRIPT for m in MODULES.values()], ids=MODULES)


def same(one, other):
    return np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)


@pytest.mark.train
@SCRIPTS
def test_a_short_training_writes_all_files(script, tmp_path, capsys):
    out = tmp_path / "new"
    script.run(["--epochs", "1", "--images", "60", "--out", str(out)])
    files = (script.fp32, script.int8, script.test, script.calibration)
    own = {path.name for path in files if path.parent == script.fp32.parent}
    assert {path.name for path in out.iterdir()} == own
    if script.test.name in own:
        assert same(load_npz(out / script.test.name), load_npz(script.test))
        assert len(load_npz(out / script.calibration.name).labels) == 60 // CALIBRATION_STRIDE
    for path in (script.fp32, script.int8):
        new, old = (onnx.load(file).graph for file in (out / path.name, path))
        assert [node.op_type for node in new.node] == [node.op_type for node in old.node]
    printed = capsys.readouterr().out
    for kind in ("fp32", "int8"):
        assert re.search(rf"^{kind}: [\d.]+% of 360 held-out images$", printed, re.M)


@pytest.mark.train
@SCRIPTS
def test_digits_are_those_that_ship(script):
    training, held_out = script.digits()
    assert same(held_out, load_npz(script.test))
    shipped = load_npz(script.calibration)
    assert np.array_equal(training.images[::CALIBRATION_STRIDE], shipped.images)
    assert np.array_equal(training.labels[::CALIBRATION_STRIDE], shipped.labels)


@SCRIPTS
@pytest.mark.parametrize("option", ["--epochs", "--images"])
def test_numbers_are_positive(script, option, capsys):
    with pytest.raises(SystemExit) as stop:
        script.run([option, "0"])
    assert stop.value.code == 2
    assert f"argument {option}: 0 is not at least 1" in capsys.readouterr().err
