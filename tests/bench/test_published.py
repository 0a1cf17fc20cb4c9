# SPDX-License-Identifier: Apache-2.0
"""The trial of published networks, on a wheel that holds what such wheels hold."""

import zipfile

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.bench import published as trial
from kiwicha.bench.published_forms import Unusable, fixed, in_form

rng = np.random.default_rng(3)


def network(*, tail, opset=11, domain=""):
    """Return a convolution of images of open size, and an operator behind it."""
    weights = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
             helper.make_node(tail, ["a"], ["y"], domain=domain)]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "c", "h", "w0"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    sets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(domain, 1)] * bool(domain)
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "eyes-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, made in (
            ("exact", network(tail="Relu")), ("refused", network(tail="Det")),
            ("trees", network(tail="Normalizer", domain="ai.onnx.ml")),
        ):
            archive.writestr(f"eyes/models/{name}.onnx", made.SerializeToString())
    return path


def test_a_wheel_in_a_folder(wheel, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "FORMS", ("QDQ",))
    monkeypatch.setattr(trial, "_COLUMNS", (*trial._COLUMNS[:4], "QDQ", "as it is"))
    assert trial.main([str(wheel.parent), "--seconds", "100"]) == 0
    text = (tmp_path / trial.OUT / "published.md").read_text()
    exact, refused = (line.split(" | ") for line in text.splitlines() if "eyes 1.2" in line)
    assert exact[0] == "| exact"
    assert exact[3] == "1x3x64x64"
    word, cycles = exact[4].split(", ")
    assert word == "exact"
    assert int(cycles.replace(",", "")) > 1000
    assert refused[0] == "| refused"
    assert refused[4] == "with the host: exact"
    assert "\n- refused: refused: 'y' (Det)" in text
    assert "(Det): the machine has no such operation" in text
    assert "1 of 2 networks" in text
    assert "Networks of published packages" in capsys.readouterr().out


@pytest.mark.parametrize(("got", "code"), [
    ({"result": "exact"}, 0), ({"result": "crash: KeyError: 'x'"}, 1), ({}, 1),
    ({"result": "refused: why", "refused": True}, 1), ({"result": "wrong: y"}, 1),
])
def test_crashes_and_wrong_bits_are_an_exit_code(wheel, monkeypatch, tmp_path, got, code):
    """A fallback that crashes is one, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        trial, "_apart", lambda source, form, fallback, seconds: {} if fallback else got
    )
    assert trial.main([str(wheel)]) == code


def test_what_cannot_be_tried_is_said():
    made, feeds = fixed(network(tail="Relu"))
    assert [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 64]
    for form, operator in (("QOperator", "QLinearConv"), ("dynamic", "ConvInteger")):
        assert operator in {node.op_type for node in in_form(made, form, feeds).graph.node}
    with pytest.raises(Unusable, match="nowhere"):
        fixed(network(tail="Relu", domain="nowhere"))
    with pytest.raises(SystemExit):
        trial.main(["no-such-folder"])
