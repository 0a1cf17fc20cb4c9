# SPDX-License-Identifier: Apache-2.0
"""What the host computes of a graph input before it quantizes: ONNX Runtime's bits."""

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel
from kiwicha.machine.presets import preset
from kiwicha.sim.export import program_files

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8, F32 = np.uint8, np.int8, np.float32
CONSTANTS = scales(x=(0.03, U8(110)), w=(0.02, S8(0)), a=(0.1, U8(130))) | {
    "W": np.random.RandomState(1).randint(-99, 99, (4, 3, 3, 3)).astype(S8),
    "mean": F32([0.5, 0.4, 0.3]).reshape(3, 1, 1), "deviation": F32([0.2, 0.3, 0.25]).reshape(
        3, 1, 1), "gamma": F32(np.linspace(0.5, 2, 6)), "beta": F32(np.linspace(-1, 1, 6)),
    "half": F32(0.5), **{name: F32([0.8, 1.3, 0.5]) for name in ("g", "b", "m", "v")},
}
IMAGE = {"x": [2, 3, 6, 6]}
BEFORE = {
    "scaling": [node("Sub", ["x", "mean"], ["c"]), node("Div", ["c", "deviation"], ["f"])],
    "rows": [node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]),
             node("LayerNormalization", ["t", "gamma", "beta"], ["f"])],
    "two paths": [node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["f"])],
    "channels": [node("BatchNormalization", ["x", "g", "b", "m", "v"], ["f"])],
    "limits behind": [node("Mul", ["x", "half"], ["h"]), node("Relu", ["h"], ["f"])],
    "a pool behind": [node("Mul", ["x", "half"], ["h"]),
                      node("MaxPool", ["h"], ["f"], kernel_shape=[1, 1])],
}


def built(before, inputs=IMAGE):
    """A convolution behind it."""
    weights = ["W", "w_s", "w_z", "a_s", "a_z"]
    nodes = [*before, q("f", "fq", "x"),
             node("QLinearConv", ["fq", "x_s", "x_z", *weights], ["yq"], name="conv"),
             dq("yq", "y", "a")]
    return model(nodes, CONSTANTS, inputs)


@pytest.mark.parametrize("name", BEFORE)
def test_before_the_first_layer(name):
    graph = agree(built(BEFORE[name]))
    assert any("computed by the host" in note.text for note in graph.notes)
    runs(graph, "default")


def test_two_readers():
    """One of the input itself, one of what is made of it, as a transformer's first block has."""
    nodes = [node("LayerNormalization", ["x", "gamma", "beta"], ["n"]), q("n", "nq", "x"),
             q("x", "xq", "a"),
             node("QLinearAdd", ["nq", "x_s", "x_z", "xq", "a_s", "a_z", "a_s", "a_z"], ["yq"],
                  name="add", domain="com.microsoft"), dq("yq", "y", "a")]
    runs(agree(model(nodes, CONSTANTS, {"x": [3, 6]})), "default")


def test_dynamically():
    """The range is that of what the host computed."""
    nodes = [node("LayerNormalization", ["x", "gamma", "beta"], ["n"]),
             node("DynamicQuantizeLinear", ["n"], ["nq", "n_s", "n_z"]),
             node("MatMulInteger", ["nq", "M", "n_z"], ["i"]), node("Cast", ["i"], ["c"], to=1),
             node("Mul", ["n_s", "w_s"], ["s"]), node("Mul", ["c", "s"], ["y"])]
    constants = CONSTANTS | {"M": np.random.RandomState(2).randint(-9, 9, (6, 4)).astype(S8)}
    graph = agree(model(nodes, constants, {"x": [3, 6]}))
    assert graph.dynamic[0].before is not None


def test_the_written_program_says_so():
    compiled = compile_graph(legalize(lower(built(BEFORE["scaling"]))), preset("default"))
    manifest = program_files("it", compiled)["program.json"].decode()
    assert '"compute and quantize"' in manifest
    assert '"Div"' in manifest


def test_nothing_else_is_the_hosts():
    """Two inputs, and layers."""
    two = [node("Add", ["x", "z"], ["f"], name="it")]
    layer = [node("LRN", ["x"], ["f"], name="it", size=3)]
    for before, inputs in ((two, IMAGE | {"z": [2, 3, 6, 6]}), (layer, IMAGE)):
        with pytest.raises(UnsupportedModel, match="float from the graph input on"):
            legalize(lower(built(before, inputs)))


@pytest.mark.parametrize("before", [
    [node("Pad", ["x", "pads"], ["f"])], [node("Slice", ["x", "one", "five", "axis"], ["f"])],
    [node("Relu", ["x"], ["f"])],
])
def test_moves_before_a_range_is_taken(before):
    """Of an input that is quantized by its own range."""
    nodes = [*before, node("DynamicQuantizeLinear", ["f"], ["fq", "f_s", "f_z"]),
             node("ConvInteger", ["fq", "V", "f_z"], ["i"]), node("Cast", ["i"], ["c"], to=1),
             node("Mul", ["f_s", "w_s"], ["s"]), node("Mul", ["c", "s"], ["y"])]
    constants = CONSTANTS | {
        "V": np.random.RandomState(2).randint(0, 200, (4, 3, 2, 2)).astype(U8),
        "pads": np.array([0, 0, 1, 0, 0, 0, 0, 2]), "one": np.array([1]), "five": np.array([5]),
        "axis": np.array([2])}
    agree(model(nodes, constants, IMAGE))
