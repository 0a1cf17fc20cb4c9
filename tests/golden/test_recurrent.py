# SPDX-License-Identifier: Apache-2.0
"""The nodes of a recurrent layer compute `golden.recurrent`, and that is close to the float."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import numpy_helper

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.compiler.ops.recurrent_form import Activation, Direction, Recurrent
from kiwicha.compiler.ops.recurrent_scales import First, apart, cells_of
from kiwicha.golden.network import evaluate, outputs
from kiwicha.golden.recurrent import SLICES, Table, gru, lstm, rnn, slices
from kiwicha.machine.modes import RequantizeMode
from kiwicha.sim.reference import reference

from ..compiler.recurrent_models import layer, sequences

SIGMOID, TANH = Activation("Sigmoid"), Activation("Tanh")
USUAL = {"LSTM": (SIGMOID, TANH, TANH), "GRU": (SIGMOID, TANH), "RNN": (TANH,)}
LATE = {"linear_before_reset": 1}


def _without_x(cell):
    """The products of x come from somewhere else."""
    gates = {name: getattr(cell, name) for name in ("gates", "new")}
    return replace(cell, **{
        name: replace(part, x=None) for name, part in gates.items() if part is not None
    })


def cell_of(made, kind, attributes, codes=True):
    """The integers of the only direction of a model of `layer`."""
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    w, r, b = (np.array(numpy_helper.to_array(constants[name]), np.float64)[0] for name in "WRB")
    hidden = r.shape[-1]
    gates = len(w) // hidden
    way = Direction(
        False, w.reshape(gates, hidden, -1), r.reshape(gates, hidden, hidden),
        *b.reshape(2, gates, hidden), USUAL[kind],
    )
    coupled, late = (bool(attributes.get(k)) for k in ("input_forget", "linear_before_reset"))
    form = Recurrent(kind, hidden, (way,), np.inf, coupled, late, steps=9)
    if codes:
        (cell,) = cells_of(form, float(numpy_helper.to_array(constants["x_s"])), 135, First())
    else:
        form, _ = apart(form)
        cell = _without_x(cells_of(form, 1.0, 0, First())[0])
    tables = {
        name: tuple(Table(**vars(table)) for table in getattr(cell, name))
        for name in ("tables", "opposite")
    }
    last = None if cell.last is None else Table(**vars(cell.last))
    return type("Cell", (), {**vars(cell), **tables, "last": last})



@pytest.mark.parametrize("mode", [RequantizeMode.ONNX, RequantizeMode.TFLITE])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("kind", "attributes"), [
    ("LSTM", {}), ("LSTM", {"input_forget": 1}), ("GRU", {}), ("GRU", LATE), ("RNN", {}),
])
def test_the_nodes_compute_the_golden_cell(kind, attributes, batch, mode):
    made = layer(kind, steps=9, batch=batch, gain=2, **attributes)
    graph = legalize(lower(made))
    tensors = evaluate(graph, sequences(made), mode)
    cell = cell_of(made, kind, attributes)
    x = tensors["xq"].astype(np.int64) - 120
    h = np.zeros((batch, 7), np.int8)
    state = slices(np.zeros((batch, 7), np.int32))
    for step, codes in enumerate(x):
        if kind == "RNN":
            h = rnn(codes, h, cell, mode)
        else:
            h, state, total = {"LSTM": lstm, "GRU": gru}[kind](codes, h, state, cell, mode)
            assert np.array_equal(state.astype(np.int32).sum(axis=0), total)
        assert np.array_equal(h, tensors["cell/Y"][step, 0]), step
    assert len(np.unique(h)) > 3


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_the_same_of_x_in_float(kind, late):
    attributes = LATE if kind == "GRU" and late else {}
    made = layer(kind, steps=9, gain=2, codes=False, outputs=("Y", "Y_h"), **attributes)
    tensors = evaluate(legalize(lower(made)), sequences(made))
    cell = cell_of(made, kind, attributes, codes=False)
    h, state = np.zeros((1, 7), np.int8), slices(np.zeros((1, 7), np.int32))
    for step, codes in enumerate(tensors["cell/of x"].astype(np.int64) - 128):
        if kind == "RNN":
            h = rnn(codes, h, cell, RequantizeMode.ONNX)
        else:
            run = {"LSTM": lstm, "GRU": gru}[kind]
            h, state, _ = run(codes, h, state, cell, RequantizeMode.ONNX)
        assert np.array_equal(h, tensors["cell/Y"][step, 0]), step


def test_slices_tile_their_range():
    total = np.arange(-500, 501)
    parts = slices(total).astype(int)
    assert np.array_equal(parts.sum(axis=0), np.clip(total, -381, 381))
    assert np.array_equal(parts[1], np.clip(total - SLICES[1], -127, 127))


#: greatest and mean distance to the float operator over 6 networks each: hidden 32, 12 features
DISTANCES = {
    "lstm": ("LSTM", {}, 0.021, 0.0043),
    "lstm-forget1": ("LSTM", {"gain": 2, "forget": 1}, 0.044, 0.0048),
    "lstm-float": ("LSTM", {"codes": False, "outputs": ("Y_h", "Y")}, 0.025, 0.0047),
    "gru": ("GRU", {}, 0.017, 0.0042),
    "gru-late": ("GRU", {"linear_before_reset": 1}, 0.019, 0.0045),
    "rnn": ("RNN", {}, 0.027, 0.0064),
}


def measured(kind, attributes):
    """Greatest and mean distance of Y to ONNX Runtime's, which computes in float."""
    errors = []
    for seed in range(6):
        made = layer(kind, steps=50, features=12, hidden=32, seed=seed, **attributes)
        lowered, inputs = lower(made), sequences(made, seed)
        graph = legalize(lowered)
        codes = outputs(graph, evaluate(graph, inputs))["Y"]
        errors.append(np.abs(codes - reference(lowered, inputs).outputs["Y"]))
    return float(np.max(errors)), float(np.mean(errors))


@pytest.mark.parametrize("name", DISTANCES)
def test_it_is_close_to_the_float(name):
    kind, attributes, most, mean = DISTANCES[name]
    greatest, average = measured(kind, attributes)
    assert greatest < most
    assert average < mean
