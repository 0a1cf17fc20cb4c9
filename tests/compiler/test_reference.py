# SPDX-License-Identifier: Apache-2.0
"""The reference is ONNX Runtime on the model as given; nothing of ours gets into it."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from kiwicha.compiler.frontend.load import load_model
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import ModelError
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import PRESETS
from kiwicha.models.digits import load_npz
from kiwicha.models.lenet5 import INT8, TEST
from kiwicha.models.quantize import FORMS
from kiwicha.models.variants import build, lenet5, random_input
from kiwicha.sim.host import products_saturate
from kiwicha.sim.judge import judge
from kiwicha.sim.reference import node_reference, reference, runtime_info, runtime_tensors

LEVELS = onnxruntime.GraphOptimizationLevel


@pytest.fixture(scope="module")
def images():
    return {"image": load_npz(TEST).images[:20]}


def run(model, inputs, level, settings=()):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    for key, value in settings:
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


@pytest.mark.parametrize(
    "form", ["qdq-u8s8-channel-asyma-symw", "qdq-s8s8-tensor-syma-symw",
             "qoperator-u8u8-tensor-asyma-asymw"],
)
@pytest.mark.parametrize("level", [LEVELS.ORT_ENABLE_EXTENDED, LEVELS.ORT_ENABLE_ALL])
def test_no_level_of_optimization_changes_an_output(form, level, images):
    lowered = lower(lenet5(FORMS[form]), batch=20)
    expected = reference(lowered, images)
    direct = run(lowered.source, images, level, lowered.settings)
    assert np.array_equal(direct[0], expected.outputs["logits"])


def test_no_rule_of_ours_reaches_the_reference(images):
    lowered = lower(load_model(INT8), batch=20)
    expected = reference(lowered, images).outputs
    graph = legalize(lowered)
    node, tensors = graph.nodes[0], evaluate(graph, images)
    alone = node_reference(lowered, graph, node, tensors)
    copy = ModelProto()  # where no rule changes anything, both are one object
    copy.CopyFrom(lowered.model)
    lowered = replace(lowered, model=copy)
    for tensor in lowered.model.graph.initializer:
        if tensor.data_type == TensorProto.UINT8:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) ^ 1, tensor.name))
    if not products_saturate():
        assert np.array_equal(reference(lowered, images).outputs["logits"], expected["logits"])
        assert np.array_equal(node_reference(lowered, graph, node, tensors), alone)
    assert not np.array_equal(
        runtime_tensors(lowered, images)[node.y.name], tensors[node.y.name]
    )


def test_every_layer_is_there(images):
    lowered = lower(load_model(INT8), batch=20)
    expected = runtime_tensors(lowered, images)
    tensors = evaluate(legalize(lowered), images)
    assert tensors.keys() == expected.keys()
    assert len(tensors) == 9
    assert all(len(np.unique(array)) > 10 for array in expected.values())


def test_a_wrong_weight_is_seen(images):
    lowered = lower(load_model(INT8), batch=20)
    expected = runtime_tensors(lowered, images)
    graph = legalize(lowered)
    graph.nodes[0].weights[0, 0, 2, 2] ^= 1
    tensors = evaluate(graph, images)
    wrong = [name for name in tensors if not np.array_equal(tensors[name], expected[name])]
    assert wrong[0] == graph.nodes[0].y.name
    assert judge(lowered, graph, graph.nodes[:1], PRESETS["default"], tensors).differ


def test_integer_inputs_are_among_the_tensors():
    model, shape = build("pool_2x2", FORMS["qdq-u8s8-tensor-asyma-symw"])
    lowered, given = lower(model), {"x": random_input(shape)}
    found = runtime_tensors(lowered, given)
    assert {array.dtype for array in found.values()} == {np.dtype(np.uint8)}
    assert reference(lowered, given).outputs["y"].dtype == np.float32


def test_wrong_inputs_are_one_line():
    model, _ = build("pool_2x2")
    with pytest.raises(ModelError, match="^ONNX Runtime cannot run the model: ") as caught:
        reference(lower(model), {"x": np.zeros((1, 3, 7, 8), np.float32)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "form", ["qdq-u8s8-channel-asyma-symw", "qdq-s8s8-tensor-syma-symw"]
)
def test_each_node_by_itself(form, images):
    lowered = lower(lenet5(FORMS[form]), batch=20)
    graph = legalize(lowered)
    tensors = evaluate(graph, images)
    for node in graph.nodes:
        assert np.array_equal(node_reference(lowered, graph, node, tensors), tensors[node.y.name])


def test_a_node_is_judged_by_the_inputs_that_it_has(images):
    lowered = lower(load_model(INT8), batch=20)
    graph = legalize(lowered)
    tensors = evaluate(graph, images)
    node = next(node for node in graph.nodes if node.kind == "matmul")
    wrong = {**tensors, node.x.name: tensors[node.x.name] ^ 1}
    expected = node_reference(lowered, graph, node, wrong)
    assert expected is not None
    assert not np.array_equal(expected, tensors[node.y.name])
    renamed = replace(node, y=replace(node.y, name="no such value"))
    assert node_reference(lowered, graph, renamed, tensors) is None


def test_a_node_that_depends_on_more_is_named(images):
    lowered = lower(load_model(INT8), batch=20)
    graph = legalize(lowered)
    first, last = graph.nodes[0], graph.nodes[-1]
    skipped = replace(first, x=last.y)
    with pytest.raises(ModelError, match=f"^'{first.name}' also depends on "):
        node_reference(lowered, graph, skipped, evaluate(graph, images))


def test_info_names_runtime_version_and_processor():
    info = runtime_info().to_dict()
    assert info["runtime"] == "onnxruntime"
    assert info["version"] == onnxruntime.__version__
    assert all(info[field] for field in ("machine", "processor"))
    assert isinstance(info["features"], list)
