# SPDX-License-Identifier: Apache-2.0
"""Large weights in a file of their own: the same model, for the checker and for ONNX Runtime."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.compiler.frontend.load import Constants
from kiwicha.compiler.frontend.weights import weights_apart, without_weights

SHAPES = {"large": (256, 300), "larger": (3, 256, 256), "small": (8, 8)}


def model() -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    values = [
        numpy_helper.from_array(rng.integers(-128, 128, shape, dtype=np.int8), name)
        for name, shape in SHAPES.items()
    ]
    nodes = [helper.make_node("Identity", [name], [f"{name}/y"]) for name in SHAPES]
    results = [
        helper.make_tensor_value_info(f"{name}/y", TensorProto.INT8, shape)
        for name, shape in SHAPES.items()
    ]
    return helper.make_model(helper.make_graph(nodes, "g", [], results, values), producer_name="p")


def test_a_file_apart_is_the_same_model(tmp_path):
    given, path = model(), tmp_path / "given.onnx"
    path.write_bytes(weights_apart(given, tmp_path / "weights"))
    assert path.stat().st_size < 2000
    back = onnx.load(path)
    for tensor, other in zip(given.graph.initializer, back.graph.initializer, strict=True):
        assert tensor.name == other.name
        assert np.array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(other))
    assert back.graph.node == given.graph.node
    assert back.producer_name == "p"


def test_small_ones_stay(tmp_path):
    given = model()
    del given.graph.initializer[:2]
    data = weights_apart(given, tmp_path / "weights")
    assert not list(tmp_path.iterdir())
    assert onnx.ModelProto.FromString(data) == given


def test_without_them_they_are_inputs():
    given = model()
    given.graph.initializer[1].dims[0] = 4  # not as many bytes: for the checker
    light = without_weights(given)
    assert [tensor.name for tensor in light.graph.initializer] == ["larger", "small"]
    assert [value.name for value in light.graph.input] == ["large"]
    assert len(given.graph.initializer) == 3


@pytest.mark.parametrize("size, kept", [(1 << 20, True), ((1 << 20) + 1, False)])
def test_large_constants_are_made_when_asked_for(size, kept):
    value = np.arange(size, dtype=np.uint32).astype(np.uint8)
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(value, "w")])
    constants = Constants(graph)
    assert np.array_equal(constants["w"], value)
    assert (constants["w"] is constants["w"]) == kept
