# SPDX-License-Identifier: Apache-2.0
"""Open dimensions besides the batch: given a length by name, or refused by name."""

import numpy as np
import onnx
import pytest

import kiwicha
from kiwicha.cli.main import main
from kiwicha.compiler.frontend.batch import bind_dimensions
from kiwicha.errors import InputError

from .agree import agree
from .onnx_models import dq, model, node, q, scales

CONSTANTS = scales(x=(0.03, np.uint8(120)), y=(0.4, np.uint8(99)), w=(0.02, np.int8(0))) | {
    "W": np.ones((4, 5), np.int8), "last": np.array([-1]), "five": np.array([5]),
    "zero": np.array([0]),
}


def sequence(*shape):
    """A product of rows; its reshape computes with the input's shape, as exporters write it."""
    nodes = [
        q("x", "xq", "x"), dq("xq", "xf", "x"), dq("W", "wf", "w"),
        node("MatMul", ["xf", "wf"], ["m"]), q("m", "mq", "y"), dq("mq", "f", "y"),
        node("Shape", ["x"], ["s"]), node("Gather", ["s", "zero"], ["n"]),
        node("Concat", ["n", "last", "five"], ["r"], axis=0), node("Reshape", ["f", "r"], ["y"]),
    ]
    return model(nodes, CONSTANTS, {"x": shape})


def test_a_symbol_has_a_length():
    made = sequence("batch", "time", 4)
    bound = bind_dimensions(made, {"time": 6})
    graph = agree(bound, batch=2)
    assert graph.inputs[0].shape == (2, 6, 4)
    assert graph.outputs[0].shape == (2, 6, 5)
    assert made.graph.input[0].type.tensor_type.shape.dim[1].dim_param == "time"


def test_a_dimension_without_symbol_and_the_batch():
    graph = agree(bind_dimensions(sequence("batch", None, 4), {"x[1]": 3, "batch": 2}))
    assert graph.inputs[0].shape == (2, 3, 4)


@pytest.mark.parametrize(("lengths", "text"), [
    ({"tme": 3}, "no open dimension is called 'tme'; there is: batch, time"),
    ({"time": 0}, "dimension 'time' is 0; must be at least 1"),
])
def test_what_is_no_length(lengths, text):
    with pytest.raises(InputError) as caught:
        bind_dimensions(sequence("batch", "time", 4), lengths)
    assert str(caught.value) == text
    with pytest.raises(InputError, match="all are fixed"):
        bind_dimensions(sequence(2, 3, 4), {"time": 3})


def test_the_command_and_the_face(tmp_path, capfd):
    path = tmp_path / "sequence.onnx"
    onnx.save(sequence("batch", "time", 4), path)
    assert main(["sim", str(path), "--predict"]) == 2
    assert "--dim time=N gives it a length" in capfd.readouterr().err
    assert main(["sim", str(path), "--predict", "--dim", "time=6", "--samples", "2"]) == 0
    assert "2x6x4 > 2x6x5" in capfd.readouterr().out
    assert main(["compile", str(path), "--dim", "time=6", "--out", str(tmp_path / "out")]) == 0
    assert main(["sim", str(path), "--predict", "--dim", "time"]) == 2
    assert "'time' is not NAME=N" in capfd.readouterr().err
    loaded = kiwicha.load_model(path, {"time": 6})
    assert kiwicha.run_golden(loaded, machine="tiny").exact
