# SPDX-License-Identifier: Apache-2.0
"""Models that leave the machine nothing to do: views, edges, and clips that clip nothing."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.presets import PRESETS
from kiwicha.sim.reference import reference

from .onnx_models import dq, model, node, q, scales

U8, S8, F32 = np.uint8, np.int8, np.float32
CONSTANTS = scales(x=(0.03, U8(120)), a=(0.1, S8(3)), c=(0.03, S8(-8))) | {
    "low": F32(-50), "high": F32(50), "shape": np.array([-1])
}
INTEGER = {"x": TensorProto.INT8}

#: nodes, shape of the input, types of inputs and outputs where not float32
MODELS = {
    "edges": ([q("x", "xq", "x"), dq("xq", "y", "x")], [2, 3], {}),
    "a view": ([q("x", "xq", "x"), node("Flatten", ["xq"], ["f"]), dq("f", "y", "x")],
               [2, 2, 3, 3], {}),
    "a view in float": ([q("x", "xq", "x"), dq("xq", "f", "x"), node("Transpose", ["f"], ["t"]),
                         q("t", "tq", "x"), dq("tq", "y", "x")], [2, 3, 4], {}),
    "a clip of nothing": ([q("x", "xq", "x"), dq("xq", "f", "x"),
                           node("Clip", ["f", "low", "high"], ["c"]), q("c", "cq", "x"),
                           dq("cq", "y", "x")], [5], {}),
    "a clip of nothing at the end": ([q("x", "xq", "x"), dq("xq", "f", "x"),
                                      node("Clip", ["f", "low", "high"], ["y"])], [5], {}),
    "one number": ([q("x", "xq", "x"), dq("xq", "y", "x")], [], {}),
    "one number of a vector": ([q("x", "xq", "x"), node("Squeeze", ["xq"], ["s"]),
                                dq("s", "y", "x")], [1, 1], {}),
    "quantized only": ([q("x", "y", "a")], [2, 3], {"y": TensorProto.INT8}),
    "dequantized only": ([dq("x", "y", "a")], [2, 3], INTEGER),
    "dequantized after a view": ([node("Reshape", ["x", "shape"], ["r"]), dq("r", "y", "a")],
                                 [1, 2, 3, 3], INTEGER),
    "images dequantized": ([dq("x", "y", "a")], [1, 2, 3, 3], INTEGER),
    "a view of integers": ([node("Flatten", ["x"], ["y"])], [2, 2, 2],
                           INTEGER | {"y": TensorProto.INT8}),
}


def run(proto):
    """Return the golden machine's outputs, ONNX Runtime's, and the compiled model."""
    lowered = lower(proto)
    graph = legalize(lowered)
    inputs = random_inputs(graph.inputs, 3)
    compiled = compile_graph(graph, PRESETS["tiny"])
    memory = compiled.load(evaluate(graph, inputs))
    Machine(
        compiled.config, memory, compiled.read_window, compiled.write_window
    ).run(compiled.words)
    found = {name: compiled.read(memory, tensor) for name, tensor in graph.tensors.items()}
    return outputs(graph, found), reference(lowered, inputs).outputs, compiled


@pytest.mark.parametrize("case", MODELS)
def test_values_and_no_layer(case):
    nodes, shape, kinds = MODELS[case]
    found, expected, compiled = run(model(nodes, CONSTANTS, {"x": shape}, types=kinds))
    assert compiled.layers == ()
    assert found.keys() == expected.keys() == {"y"}
    assert (found["y"].shape, found["y"].dtype) == (expected["y"].shape, expected["y"].dtype)
    assert found["y"].shape == compiled.graph.outputs[0].shape
    np.testing.assert_array_equal(found["y"], expected["y"])


def test_an_integer_input_that_is_an_output():
    nodes = [dq("x", "y", "a")]
    found, expected, _ = run(model(nodes, CONSTANTS, {"x": [2, 3]}, ("y", "x"), types=INTEGER))
    np.testing.assert_array_equal(found["x"], expected["x"])


def test_one_number_through_a_layer():
    """Shape () all the way, with work for the machine."""
    nodes = [q("x", "xq", "x"), dq("xq", "f", "x"), node("Relu", ["f"], ["r"]), q("r", "y", "c")]
    found, expected, compiled = run(
        model(nodes, CONSTANTS, {"x": []}, types={"y": TensorProto.INT8})
    )
    assert len(compiled.layers) == 1
    assert found["y"].shape == expected["y"].shape == ()
    assert found["y"] == expected["y"]
