# SPDX-License-Identifier: Apache-2.0
"""The vision transformer: its trainer, its digits, and what ONNX Runtime makes of its graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from kiwicha.compiler.frontend.lower import lower
from kiwicha.models import lenet5, vit
from kiwicha.models.digits import enlarge, load_npz
from kiwicha.models.train_vit import (
    BARE,
    EMBEDDING,
    HEADS,
    LINEAR,
    NORMS,
    PATCH,
    TOKENS,
    forward,
    initialize,
    jitter,
)

#: what the lowered graph holds: each encoder block adds its operators to those around the blocks
AROUND = {
    "QLinearConv": 1, "QGemm": 1, "QLinearAdd": 1, "LayerNormalization": 1, "Reshape": 3,
    "Transpose": 1, "QuantizeLinear": 2, "DequantizeLinear": 4,
}
IN_BLOCK = {
    "QGemm": 6, "QLinearMatMul": 2, "QLinearSoftmax": 1, "QLinearAdd": 2, "LayerNormalization": 2,
    "Gelu": 1, "Reshape": 4, "Transpose": 4, "QuantizeLinear": 3, "DequantizeLinear": 7,
}


@pytest.fixture(scope="module")
def trained() -> dict[str, np.ndarray]:
    """The trainer's parameters, read back from the float model."""
    graph = onnx.load(vit.FP32).graph
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    parameters = {name: tensors[name] for name in initialize(np.random.RandomState(0))}
    parameters["patch.weight"] = parameters["patch.weight"].reshape(EMBEDDING, -1)
    factor = np.sqrt(EMBEDDING // HEADS, dtype=np.float32)
    return {n: value * factor if ".q." in n else value for n, value in parameters.items()}


@pytest.mark.parametrize(
    ("large", "small"), [(lenet5.TEST, vit.TEST), (lenet5.CALIBRATION, vit.CALIBRATION)]
)
def test_digits_are_those_of_lenet5(large, small) -> None:
    given, shipped = load_npz(large), load_npz(small)
    assert np.array_equal(enlarge(shipped.images[:, 0] * 16), given.images)
    assert np.array_equal(shipped.labels, given.labels)
    again = vit.shrink(given)
    assert np.array_equal(again.images, shipped.images)
    assert again.images.dtype == shipped.images.dtype == np.float32
    assert np.unique(shipped.images * 16).tolist() == list(range(17))


def test_gradients_are_the_slopes() -> None:
    rng = np.random.RandomState(3)
    parameters = {
        name: value.astype(np.float64) + rng.standard_normal(value.shape) * 0.1
        for name, value in initialize(rng).items()
    }
    images = rng.uniform(size=(2, 1, 8, 8))
    logits, backward = forward(parameters, images)
    direction = rng.standard_normal(logits.shape)
    gradients = backward(direction)
    assert gradients.keys() == parameters.keys()
    for name, value in parameters.items():
        change = rng.standard_normal(value.shape)
        height = [
            (forward(parameters | {name: value + step * change}, images)[0] * direction).sum()
            for step in (1e-5, -1e-5)
        ]
        slope = (height[0] - height[1]) / 2e-5
        # float32 constants of the network bound the agreement.
        assert slope == pytest.approx((gradients[name] * change).sum(), rel=1e-5, abs=1e-5), name


def test_exported_graph_computes_what_was_trained(trained) -> None:
    images = load_npz(vit.TEST).images
    expected = forward(trained, images)[0]
    session = onnxruntime.InferenceSession(vit.FP32, providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"image": images})[0], expected, atol=1e-3)


def test_shapes_of_the_float_model() -> None:
    model = onnx.load(vit.FP32)
    tensors = {t.name: t.dims for t in model.graph.initializer}
    assert tensors["patch.weight"] == [EMBEDDING, 1, PATCH, PATCH]
    assert {n: tuple(tensors[f"{n}.weight"]) for n in LINEAR if n != "patch"} == {
        name: shape for name, shape in LINEAR.items() if name != "patch"
    }
    assert {name for name in LINEAR if f"{name}.bias" not in tensors} == BARE
    assert all(tensors[f"{n}.{part}"] == [EMBEDDING] for n in NORMS for part in ("gamma", "beta"))
    assert tensors["position"] == [TOKENS, EMBEDDING]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_lowered_graph_is_integer_but_for_normalization_and_gelu() -> None:
    graph = lower(onnx.load(vit.INT8), 3).model.graph
    operators = [node.op_type for node in graph.node]
    names = AROUND.keys() | IN_BLOCK.keys()
    expected = {name: AROUND.get(name, 0) + 2 * IN_BLOCK.get(name, 0) for name in names}
    assert {name: operators.count(name) for name in set(operators)} == expected
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    used_by = {name: node.op_type for node in graph.node for name in node.input}
    for node in graph.node:
        if node.op_type in ("LayerNormalization", "Gelu"):
            assert {made_by[name] for name in node.input} == {"DequantizeLinear"}
            assert used_by[node.output[0]] == "QuantizeLinear"


def test_jitter_moves_images_and_little_else() -> None:
    images = load_npz(vit.CALIBRATION).images
    moved = jitter(np.random.RandomState(0), images)
    assert moved.shape == images.shape
    assert moved.dtype == np.float32
    assert 0 <= moved.min() <= moved.max() <= 1
    assert not np.array_equal(moved, images)
    assert 0.8 < moved.sum() / images.sum() < 1.2
    assert np.array_equal(moved, jitter(np.random.RandomState(0), images))
