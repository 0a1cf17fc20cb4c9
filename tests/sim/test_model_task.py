# SPDX-License-Identifier: Apache-2.0
"""Layers of a quantized model that are tuned: the model's own bits, and weights that come back."""

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.errors import InputError, KiwichaError
from kiwicha.golden.machine import Machine
from kiwicha.golden.training import evaluate_step
from kiwicha.machine.presets import preset
from kiwicha.models.quantize import Form, quantize
from kiwicha.sim.training.learner import Learner
from kiwicha.sim.training.model_task import ModelTask
from kiwicha.sim.training.optimizer import Optimizer
from kiwicha.sim.training.plan import Plan

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 1, (40, 9)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40)


@cache
def model(per_channel: bool = False, activations: str = "s8") -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    shapes = {"w1": (7, 9), "b1": (7,), "w2": (3, 7), "b2": (3,)}
    constants = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Gemm", ["image", "w1", "b1"], ["sum"], "fc1", transB=1),
        helper.make_node("Relu", ["sum"], ["hidden"], "relu"),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], ["logits"], "fc2", transB=1),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("image", 9), ("logits", 3))
    ]
    graph = helper.make_graph(nodes, "n", ends[:1], ends[1:], constants)
    made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    form = Form(activations=activations, per_channel=per_channel)
    return quantize(made, form, IMAGES[:, None])


def run(proto: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return session.run(None, {"image": images})[0]


@pytest.mark.parametrize("activations", ["s8", "u8"])
@pytest.mark.parametrize("layers", [["last"], ["all"], ["fc1"]])
def test_step(layers, activations):
    """The program's bytes are the golden model's, and its forward pass ONNX Runtime's."""
    task = ModelTask("n", model(activations=activations), layers)
    data = task.data({"image": IMAGES, "labels": LABELS}, "f")
    graph, config = task.graph(4, 5), preset("training").replace(forwarding=False)
    labels = data.labels[:4].astype(np.uint8)
    inputs = {task.images: data.images[:4], "labels": labels, **task.weights}
    golden = evaluate_step(graph, inputs).tensors
    compiled = compile_graph(graph, config)
    machine = Machine(config, compiled.load(inputs), compiled.read_window, compiled.write_window)
    machine.run(compiled.words)
    for node in graph.nodes:
        if node.kind != "view":
            found = compiled.read(machine.memory, node.y)
            assert np.array_equal(found, golden[node.y.name]), node.name
    edge = task.lowered(4).dequantize[0]
    shown = IMAGES[np.arange(40) % 5 != 0][:4]
    assert np.array_equal(edge(golden[edge.tensor.name]), run(task.model, shown))
    changed = {name.removesuffix(":weights") for name in graph.updates.values()}
    assert changed == set(task.changed)


@pytest.mark.parametrize("layers", [["last"], ["all"]])
def test_step_of_an_optimizer(layers):
    """Scales are known and errors' exponents are not: some of both meet in UPDATE."""
    task = ModelTask("n", model(), layers)
    data = task.data({"image": IMAGES, "labels": LABELS}, "f")
    config = preset("training").replace(name="training-update", update={"lanes": 2})
    plan = Plan(4, 2, optimizer=Optimizer(name="adam", rates=(2.0**-6,)))
    learner = Learner(task, plan, data, config.beat_bytes)
    compiled = compile_graph(learner.graphs[0], config)
    for step, batch in enumerate(plan.order(0, len(data.images))[:3]):
        inputs = learner.inputs(batch)
        made = learner.step(0, step, batch)
        machine = Machine(
            config, compiled.load(inputs), compiled.read_window, compiled.write_window,
            rate=made.rate,
        )
        machine.run(compiled.words)
        for name in compiled.graph.updates:
            tensor = compiled.graph.tensors[name]
            found = compiled.read(machine.memory, tensor)
            assert np.array_equal(found, made.result.tensors[name]), name
        assert machine.saturated == made.result.saturated
    assert {name.removesuffix(":weights") for name in learner.weights} >= set(task.changed)
    changed = [n for n, w in task.weights.items() if not np.array_equal(w, learner.weights[n])]
    assert changed == [f"{name}:weights" for name in task.changed]


def test_new_weights_are_in_the_model():
    task = ModelTask("n", model(), ["last"])
    (name,) = task.weights
    other = (-task.weights[name]).astype(np.int8)
    again = ModelTask("n", task.tuned({name: other}), ["last"])
    assert np.array_equal(again.weights[name], other)
    assert np.array_equal(ModelTask("n", task.model, ["last"]).weights[name], task.weights[name])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelTask("n", model(), ["fc3"]), "no layer is called 'fc3'"),
    ],
)
def test_refused_models(make, message):
    with pytest.raises(KiwichaError, match=message):
        make()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": LABELS}, "f: has no array 'image'"),
        ({"image": IMAGES[:, :8], "labels": LABELS}, r"f: 'image' is \(40, 8\)"),
        ({"image": IMAGES * np.float32(np.nan), "labels": LABELS}, r"f: 'image' has nan at \[0, 0"),
        ({"image": IMAGES, "labels": LABELS + 3}, "labels: number"),
    ],
)
def test_refused_data(arrays, message):
    with pytest.raises(InputError, match=message):
        ModelTask("n", model(), ["last"]).data(arrays, "f")
