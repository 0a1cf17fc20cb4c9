# SPDX-License-Identifier: Apache-2.0
"""The reference is ONNX Runtime on the lowered model; no setting of its own changes a bit."""

import numpy as np
import onnxruntime
import pytest

from compiler.errors import ModelError
from compiler.legalize import legalize
from compiler.load import load_model
from compiler.lower import lower
from compiler.reference import reference, runtime_info
from golden.network import evaluate
from models.digits import load_npz
from models.lenet5 import INT8, TEST
from models.quantize import FORMS
from models.variants import build, lenet5, random_input

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
)  # fmt: skip
@pytest.mark.parametrize("level", [LEVELS.ORT_ENABLE_EXTENDED, LEVELS.ORT_ENABLE_ALL])
def test_outputs_are_those_of_the_original_under_optimization(form, level, images):
    lowered = lower(lenet5(FORMS[form]), batch=20)
    expected = reference(lowered, images)
    direct = run(lowered.source, images, level, lowered.settings)
    assert np.array_equal(direct[0], expected.outputs["logits"])


def test_every_layer_is_there(images):
    lowered = lower(load_model(INT8), batch=20)
    expected = reference(lowered, images)
    tensors = evaluate(legalize(lowered), images)
    assert tensors.keys() == expected.tensors.keys()
    assert len(tensors) == 9
    assert all(len(np.unique(array)) > 10 for array in expected.tensors.values())


def test_a_wrong_weight_is_seen(images):
    lowered = lower(load_model(INT8), batch=20)
    expected = reference(lowered, images)
    graph = legalize(lowered)
    graph.nodes[0].weights[0, 0, 2, 2] ^= 1
    tensors = evaluate(graph, images)
    wrong = [name for name in tensors if not np.array_equal(tensors[name], expected.tensors[name])]
    assert wrong[0] == graph.nodes[0].y.name


def test_integer_inputs_are_among_the_tensors():
    model, shape = build("pool_2x2", FORMS["qdq-u8s8-tensor-asyma-symw"])
    expected = reference(lower(model), {"x": random_input(shape)})
    assert {array.dtype for array in expected.tensors.values()} == {np.dtype(np.uint8)}
    assert expected.outputs["y"].dtype == np.float32


def test_wrong_inputs_are_one_line():
    model, _ = build("pool_2x2")
    with pytest.raises(ModelError, match="^ONNX Runtime cannot run the model: ") as caught:
        reference(lower(model), {"x": np.zeros((1, 3, 7, 8), np.float32)})
    assert "\n" not in str(caught.value)


def test_info_names_runtime_version_and_processor():
    info = runtime_info().to_dict()
    assert info["runtime"] == "onnxruntime"
    assert info["version"] == onnxruntime.__version__
    assert all(info[field] for field in ("machine", "processor"))
    assert isinstance(info["features"], list)
