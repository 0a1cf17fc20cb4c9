# SPDX-License-Identifier: Apache-2.0
"""Convolutional models that are tuned: the runtime's bits, errors written down a second time."""

from functools import cache

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.api.model import load_model
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.errors import KiwichaError
from kiwicha.golden.machine import Machine
from kiwicha.golden.niti import magnitude, shifted
from kiwicha.golden.training import evaluate_step
from kiwicha.machine.presets import preset
from kiwicha.machine.shifts import settled
from kiwicha.models.quantize import Form, quantize
from kiwicha.sim.simulation import simulated_machine
from kiwicha.sim.training.loop import Trainer
from kiwicha.sim.training.model_task import ModelTask
from kiwicha.sim.training.plan import Plan
from tests.compiler.test_training import NARROW
from tests.sim.test_model_task import run

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (20, 2, 8, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 20)


@cache
def model(form: str, pool: str = "MaxPool", group: int = 1) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    shapes = {"w1": (4, 2 // group, 3, 3), "b1": (4,), "w2": (5, 4, 2, 2), "b2": (5,),
              "w3": (3, 15), "b3": (3,)}
    constants = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1],
                         group=group),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node(pool, ["r1"], ["p1"], "pool1", kernel_shape=[2, 1], strides=[2, 1]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], "conv2", strides=[1, 2],
                         kernel_shape=[2, 2]),
        helper.make_node("Flatten", ["r2"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["logits"], "fc", transB=1),
    ]
    nodes.insert(4, helper.make_node("MaxPool", ["c2"], ["r2"], "pool2", kernel_shape=[3, 1],
                                     strides=[3, 1]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *size])
        for name, size in (("image", (2, 8, 6)), ("logits", (3,)))
    ]
    graph = helper.make_graph(nodes, "n", ends[:1], ends[1:], constants)
    made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    activations, _, channels = form.partition(" ")
    options = Form(activations=activations, per_channel=bool(channels))
    return quantize(made, options, IMAGES[:, None])


def given(task: ModelTask, batch: int):
    data = task.data({"image": IMAGES, "labels": LABELS}, "f")
    labels = data.labels[:batch].astype(np.uint8)
    return {task.images: data.images[:batch], "labels": labels, **task.weights}


@pytest.mark.parametrize("form", ["s8", "u8", "u8 channels"])
@pytest.mark.parametrize("layers", [["all"], ["conv1"], ["conv2", "fc"]])
def test_step(form: str, layers: list[str]) -> None:
    """The program's bytes are the golden model's, its forward pass ONNX Runtime's."""
    task = ModelTask("n", model(form), layers)
    graph, config = task.graph(3, 5), preset("training").replace(forwarding=False)
    inputs = given(task, 3)
    golden = evaluate_step(graph, inputs).tensors
    compiled = compile_graph(graph, config)
    machine = Machine(config, compiled.load(inputs), compiled.read_window, compiled.write_window)
    machine.run(compiled.words)
    for node in graph.nodes:
        if node.kind != "view" and node.y.name not in compiled.within:
            found = compiled.read(machine.memory, node.y)
            assert np.array_equal(found, golden[node.y.name]), node.name
    edge = task.lowered(3).dequantize[0]
    shown = IMAGES[np.arange(20) % 5 != 0][:3]
    assert np.array_equal(edge(golden[edge.tensor.name]), run(task.model, shown))
    changed = {name.removesuffix(":weights") for name in graph.updates.values()}
    assert changed == set(task.changed)


def kept(acc, gradient=False, bits=7):
    shift, _ = settled(magnitude(acc), bits, 0, gradient=gradient)
    return shifted(acc, shift, "pseudo" if gradient else "half_up").astype(np.int64)


def test_errors_and_gradients() -> None:
    """In loops over images, channels and taps, from the codes that the forward pass has made."""
    task = ModelTask("n", model("u8"), ["all"])
    inputs = given(task, 2)
    tensors = evaluate_step(task.graph(2, 4), inputs).tensors
    by_name = {node.name: node for node in task.lowered(2).nodes}
    code = {name: tensors[by_name[name].y.name].astype(np.int64) for name in by_name}
    zero = {name: node.y.zero_point for name, node in by_name.items()}
    error = tensors["logits:e"].astype(np.int64)
    weights = by_name["fc"].weights.astype(np.int64)
    flat = code["pool2"].reshape(2, -1) - zero["pool2"]
    step = {"fc": kept(flat.T @ error, True, 4)}
    passed = code["pool2"] > max(by_name["conv2"].low, 0)
    error = kept(error @ weights.T).reshape(code["pool2"].shape) * passed
    wide = np.repeat(error, 3, axis=2)
    wide *= code["conv2"] == np.repeat(code["pool2"], 3, axis=2)
    error = kept(wide)
    x, w = code["pool1"] - zero["pool1"], by_name["conv2"].weights.astype(np.int64)
    back, own = np.zeros(x.shape, np.int64), np.zeros(w.shape, np.int64)
    for row in range(error.shape[2]):
        for column in range(error.shape[3]):
            e = error[:, :, row, column]
            rows, columns = slice(row, row + 2), slice(2 * column, 2 * column + 2)
            own += np.einsum("no,nchw->ochw", e, x[:, :, rows, columns])
            back[:, :, rows, columns] += np.einsum("no,ochw->nchw", e, w)
    step["conv2"] = kept(own, True, 4).transpose(1, 2, 3, 0)
    error = kept(back) * (code["pool1"] > max(by_name["conv1"].low, 0))
    wide = np.repeat(error, 2, axis=2)
    wide *= code["conv1"] == np.repeat(code["pool1"], 2, axis=2)
    error = kept(wide)
    x = inputs[task.images].astype(np.int64) - by_name["conv1"].x.zero_point
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    own = np.zeros((4, 2, 3, 3), np.int64)
    for row in range(8):
        for column in range(6):
            part = x[:, :, row : row + 3, column : column + 3]
            own += np.einsum("no,nchw->ochw", error[:, :, row, column], part)
    step["conv1"] = kept(own, True, 4).transpose(1, 2, 3, 0)
    for name, moved in step.items():
        before = task.weights[f"{name}:weights"].astype(np.int64)
        if name == "fc":
            moved = moved[by_name["fc"].order]
        expected = np.clip(before - moved, -127, 127)
        assert np.array_equal(tensors[f"{name}:new"], expected), name
        assert moved.any()


@pytest.mark.parametrize("form", ["u8", "s8 channels"])
def test_new_weights_are_in_the_model(form: str) -> None:
    """What is written is what ONNX Runtime computes with."""
    task = ModelTask("n", model(form), ["all"])
    rng = np.random.default_rng(4)
    other = {
        name: rng.integers(-127, 128, value.shape).astype(np.int8)
        for name, value in task.weights.items()
    }
    again = ModelTask("n", task.tuned(other), ["all"])
    assert all(np.array_equal(again.weights[name], value) for name, value in other.items())
    golden = evaluate_step(task.graph(3, 5), {**given(task, 3), **other}).tensors
    edge = task.lowered(3).dequantize[0]
    shown = IMAGES[np.arange(20) % 5 != 0][:3]
    assert np.array_equal(edge(golden[edge.tensor.name]), run(task.tuned(other), shown))


def test_it_is_tuned_on_the_machine() -> None:
    task = ModelTask("n", model("u8"), ["all"])
    data = task.data({"image": IMAGES, "labels": LABELS}, "f")
    each = Trainer(task, NARROW, Plan(4, 1, (4,)), data)
    (epoch,) = each.run(simulated_machine(each.config, each.compiled.image.size))
    assert epoch.steps == 4
    assert all((each.weights[name] != value).any() for name, value in task.weights.items())


def test_lenet5_is_tunable() -> None:
    task = ModelTask("lenet5", load_model("lenet5").only_onnx("train"), ["all"])
    assert task.changed == ("conv1", "conv2", "fc1", "fc2", "fc3")
    assert task.weights["fc1:weights"].shape == (400, 120)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: model("u8", "AveragePool"), r"pool1 .*: is no maximum of windows side by side"),
        (lambda: model("u8", group=2), r"conv1 .*: has 2 groups; must have one"),
    ],
)
def test_refusals(make, message: str) -> None:
    with pytest.raises(KiwichaError, match=message):
        ModelTask("n", make(), ["all"])
