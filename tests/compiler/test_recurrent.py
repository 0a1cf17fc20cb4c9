# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers of every kind: the golden machine's bits, close to ONNX Runtime's float."""

import numpy as np
import pytest
from onnx import numpy_helper

import kiwicha
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import JoinNode
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnfitMachine, UnsupportedModel
from kiwicha.machine.capabilities import Statistics
from kiwicha.machine.presets import PRESETS
from kiwicha.sim.golden_run import run_on_golden_machine

from .onnx_models import dq, model, node, q
from .recurrent_models import layer, sequences

ALL = ("Y", "Y_h", "Y_c")
CASES = {
    "lstm": layer("LSTM", outputs=ALL),
    "lstm-both-batch": layer("LSTM", batch=3, direction="bidirectional", outputs=ALL),
    "lstm-last-alone": layer("LSTM", direction="bidirectional", outputs=ALL[1:]),
    "lstm-reverse-first": layer("LSTM", batch=2, direction="reverse", first="hc", outputs=ALL),
    "lstm-constants": layer("LSTM", batch=2, direction="bidirectional", first="HC", outputs=ALL),
    "lstm-forget": layer("LSTM", input_forget=1, x_zero=np.uint8(0)),
    "lstm-clip": layer("LSTM", clip=0.5, outputs=("Y", "Y_c"), x_zero=np.int8(3)),
    "lstm-functions": layer("LSTM", activations=["HardSigmoid", "Tanh", "Softsign"]),
    "lstm-two-kinds": layer("LSTM", direction="bidirectional", activations=[
        "Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Tanh", "ScaledTanh"],
        activation_alpha=[0.3, 1.5], activation_beta=[0.4, 0.5]),
    "lstm-one": layer("LSTM", steps=1, features=1, hidden=1),
    "lstm-wide": layer("LSTM", steps=3, batch=2, features=20, hidden=19),
    "gru": layer("GRU", outputs=ALL[:2]),
    "gru-both-batch": layer("GRU", batch=3, direction="bidirectional", outputs=ALL[:2]),
    "gru-first": layer("GRU", batch=2, direction="reverse", first="h", outputs=ALL[1:2]),
    "gru-late": layer("GRU", linear_before_reset=1, outputs=ALL[:2]),
    "gru-late-first": layer("GRU", batch=2, linear_before_reset=1, first="h", clip=0.8),
    "gru-late-constant": layer("GRU", linear_before_reset=1, first="H", x_zero=np.int8(3)),
    "gru-hard": layer("GRU", activations=["HardSigmoid", "Softsign"]),
    "lstm-float": layer("LSTM", codes=False, outputs=ALL),
    "lstm-float-both": layer(
        "LSTM", codes=False, batch=2, direction="bidirectional", first="hC", clip=0.9),
    "lstm-float-states": layer("LSTM", first="hc", floats=True, outputs=ALL),
    "lstm-all-float": layer(
        "LSTM", codes=False, batch=2, direction="bidirectional", first="hc", floats=True,
        outputs=ALL),
    "gru-float-state": layer("GRU", batch=2, first="h", floats=True, outputs=ALL[:2]),
    "gru-late-float-state": layer(
        "GRU", codes=False, linear_before_reset=1, first="h", floats=True),
    "rnn-float-state": layer("RNN", first="h", floats=True, outputs=ALL[1:2]),
    "lstm-short": layer("LSTM", batch=2, length=4, outputs=ALL),
    "gru-short-both": layer("GRU", length=3, direction="bidirectional", outputs=ALL[:2]),
    "rnn-short-float": layer("RNN", codes=False, length=1),
    "gru-float": layer("GRU", codes=False, first="h"),
    "gru-float-late": layer("GRU", codes=False, batch=2, linear_before_reset=1, first="H"),
    "gru-float-late-one": layer("GRU", codes=False, linear_before_reset=1, outputs=ALL[:2]),
    "rnn-float": layer("RNN", codes=False, batch=2, direction="bidirectional"),
    "rnn": layer("RNN", batch=2, direction="bidirectional", outputs=ALL[:2]),
    "rnn-first": layer("RNN", first="h", outputs=ALL[1:2]),
    "rnn-written-default": layer("RNN", activations=["Tanh", "Tanh"]),
    "rnn-sigmoid": layer("RNN", activations=["Sigmoid"], first="H"),
}


def distance(made):
    """Greatest distance of any output to ONNX Runtime's, once the golden machine has run."""
    outcome = run_on_golden_machine(made, None, sequences(made))
    assert outcome.wrong == ()
    found, expected = outcome.outputs, outcome.reference.outputs
    assert all(found[name].shape == value.shape for name, value in expected.items())
    return max(np.abs(found[name] - value).max() for name, value in expected.items())


@pytest.mark.parametrize("name", CASES)
def test_it_is_close_to_the_float(name):
    assert distance(CASES[name]) < 0.032


UNBOUNDED = {
    "Affine": ([0.5], [0.1]), "Elu": ([0.5], []), "LeakyRelu": ([], []), "Relu": ([], []),
    "Softplus": ([], []), "ThresholdedRelu": ([], []),
}


@pytest.mark.parametrize("function", UNBOUNDED)
def test_functions_without_a_limit_have_coarser_codes(function):
    alpha, beta = UNBOUNDED[function]
    attributes = {"activation_alpha": alpha, "activation_beta": beta}
    given = {name: value for name, value in attributes.items() if value}
    assert distance(layer("RNN", steps=4, activations=[function], **given)) < 0.09


@pytest.mark.parametrize("function", ["Affine", "ScaledTanh"])
def test_alpha_and_beta_are_0_where_left_out(function):
    """As ONNX Runtime has it."""
    made = layer("RNN", activations=[function])
    outcome = run_on_golden_machine(made, PRESETS["default"], sequences(made))
    assert not outcome.reference.outputs["Y"].any()
    assert not outcome.outputs["Y"].any()


def test_behind_a_refused_node_nothing_is_said():
    made = layer("LSTM", codes=False)
    made.graph.node.insert(0, node("Det", ["x"], ["n"], name="det"))
    next(n for n in made.graph.node if n.name == "cell").input[0] = "n"
    made.graph.input[0].CopyFrom(model([], {}, {"x": [6, 1, 5, 5, 5]}, ()).graph.input[0])
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(made))
    assert [name for name, _, _ in caught.value.refusals] == ["det"]


def test_what_follows_reads_the_hidden_state():
    made = layer("LSTM", outputs=("Y_h",))
    graph = made.graph
    graph.node.extend([q("Y_h", "yq", "h"), dq("yq", "y", "h")])
    del graph.output[:]
    graph.output.extend(model([], {}, {}, ("y",)).graph.output)
    assert distance(made) < 0.03


def test_a_layer_is_one_row_of_the_report():
    graph = legalize(lower(CASES["lstm"]))
    compiled = compile_graph(graph, PRESETS["default"])
    assert [(layer.name, layer.op) for layer in compiled.layers] == [("cell", "LSTM")]
    assert len(compiled.layers[0].nodes) > 60
    # The weights of all steps but the first are the same ones.
    assert compiled.layers[0].weights.dense_bytes < 3 * 16 * 32


def test_a_machine_without_lanes_is_refused_in_a_line():
    with pytest.raises(UnfitMachine) as caught:
        kiwicha.compile_model(CASES["lstm"], "tiny")
    assert str(caught.value).startswith("cell (LSTM): ")
    assert "\n" not in str(caught.value)


def test_its_steps_are_not_counted():
    config = PRESETS["default"].replace(statistics=Statistics(elements=4096))
    graph = legalize(lower(layer("LSTM", codes=False, outputs=("Y_h",))))
    config = config.replace(dynamic=True)
    with pytest.raises(KiwichaError, match=r"'cell' \(LSTM\) is done in many steps"):
        compile_graph(graph, config, statistics=("cell",))
    made = compile_graph(graph, config, statistics=("all",))
    assert "cell" in {layer.name for layer in made.layers}
    assert not any(name.startswith("cell/") for name in made.statistics)


def test_parts_lie_where_they_are_read():
    graph = legalize(lower(CASES["lstm-both-batch"]))
    machine = PRESETS["default"].replace(forwarding=False)  # else some are on chip alone
    addresses = compile_graph(graph, machine).addresses
    joins = [node for node in graph.nodes if isinstance(node, JoinNode)]
    assert joins
    for join in joins:
        place = addresses[join.y.name]
        for part in join.parts:
            assert addresses[part.name] == place
            place += part.size


def test_weights_of_a_dynamic_layer():
    """com.microsoft.DynamicQuantizeLSTM has them transposed, with scales and zero points."""
    made = layer("LSTM", outputs=("Y",))
    tensors = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    for key in "WR":
        scale = np.abs(tensors[key]).max(axis=(1, 2)) / 127
        codes = np.rint(tensors[key] / scale[:, None, None]).astype(np.int8)
        tensors |= {key: codes.transpose(0, 2, 1), f"{key}_s": np.float32(scale),
                    f"{key}_z": np.zeros(1, np.int8)}
    cell = node(
        "DynamicQuantizeLSTM",
        ["xf", "W", "R", "B", "", "", "", "", "W_s", "W_z", "R_s", "R_z"], ["Y", "", ""],
        name="cell", domain="com.microsoft", hidden_size=7,
    )
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), cell]
    assert distance(model(nodes, tensors, {"x": [6, 1, 5]}, ("Y",))) < 0.05


def test_a_long_sequence_compiles():
    made = layer("RNN", steps=100, features=8, hidden=8)
    assert kiwicha.compile_model(made).cycles > 0


def test_a_float_state_further_out_is_cut_off():
    """At what the layer keeps; the host computes what is before it."""
    made = layer("LSTM", first="hc", floats=True, outputs=ALL)
    fed = sequences(made)
    graph = legalize(lower(made))
    edges = [edge for edge in graph.quantize if edge.source == "states"]
    edges.sort(key=lambda edge: edge.tensor.size)
    assert [edge.tensor.shape for edge in edges] == [(1, 1, 7), (3, 1, 7)]
    assert "Gather" in edges[0].before.operators
    far = edges[1](fed["states"] * 0 + 100)
    assert (far == 127).all()
    near = edges[1](fed["states"] * 0 + edges[1].tensor.scale * 130)
    assert near.astype(int).sum(axis=0).max() == near.astype(int).sum(axis=0).min() == 130


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_what_quantizes_the_result_promises_no_more_than_the_layer(kind):
    """The runtime has no codes to compare it with."""
    graph = legalize(lower(layer(kind, codes=False)))
    made = next(node for node in graph.nodes if node.y.name == "yq")
    assert made.y.name not in graph.wholes
    assert made.promise == "golden"
