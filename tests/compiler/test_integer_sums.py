# SPDX-License-Identifier: Apache-2.0
"""MatMulInteger and ConvInteger whose int32 sums are graph outputs."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.blocks import with_blocks
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnsupportedModel
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.judge import judge
from kiwicha.sim.reference import reference

from .onnx_models import model, node
from .test_dynamic import CONFIGS

U8, S8 = np.uint8, np.int8
KINDS = {U8: TensorProto.UINT8, S8: TensorProto.INT8}


def integers(operator, shape, weights, dtype, after=(), zeros=True, **attributes):
    """Return a layer of an integer input; ``zeros``: with zero points, one a column of products."""
    rng = np.random.RandomState(len(shape))
    info = np.iinfo(dtype)
    constants = {"w": rng.randint(0, 256, weights).astype(U8)}
    names = ["x", "w"]
    if zeros:
        columns = weights[-1:] if operator == "MatMulInteger" else ()
        constants |= {"x_z": dtype(rng.randint(info.min, info.max + 1)),
                      "w_z": rng.randint(0, 256, columns).astype(U8)}
        names += ["x_z", "w_z"]
    nodes = [node(operator, names, ["i"], name="layer", **attributes), *after]
    nodes[-1].output[0] = "y"
    types = {"x": KINDS[dtype], "y": TensorProto.INT32}
    return model(nodes, constants, {"x": shape}, types=types)


CASES = {
    "product": ("MatMulInteger", [4, 6], (6, 5), {}),
    "stack": ("MatMulInteger", [2, 3, 6], (6, 5), {}),
    "image": ("ConvInteger", [2, 4, 6, 5], (6, 2, 3, 2),
              {"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1]}),
    "sequence": ("ConvInteger", [1, 3, 9], (4, 3, 3), {"dilations": [2], "auto_pad": "NOTSET"}),
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(("name", "dtype"), [
    *((name, U8) for name in CASES), ("product", S8), ("stack", S8),
])
def test_equals_onnx_runtime(name, dtype, zeros, config):
    """ONNX Runtime has no ConvInteger of int8."""
    operator, shape, weights, given = CASES[name]
    lowered = lower(integers(operator, shape, weights, dtype, zeros=zeros, **given))
    graph = legalize(lowered)
    inputs = random_inputs(lowered.inputs, 5)
    tensors = evaluate(graph, inputs)
    (expected,) = reference(lowered, inputs).outputs.values()
    (found,) = outputs(graph, tensors).values()
    assert (found.dtype, found.shape) == (np.int32, expected.shape)
    assert np.array_equal(found, expected)
    compiled = compile_graph(graph, CONFIGS[config])
    memory = compiled.load(tensors)
    Machine(
        CONFIGS[config], memory, compiled.read_window, compiled.write_window
    ).run(compiled.words)
    for key, tensor in graph.tensors.items():
        np.testing.assert_array_equal(compiled.read(memory, tensor), tensors[key], key)
    verdict = judge(lowered, graph, graph.nodes, CONFIGS[config], tensors)
    assert verdict.compared == 4 * expected.size
    assert not verdict.differ


def test_of_a_dynamically_quantized_input():
    nodes = [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
             node("MatMulInteger", ["q", "w", "z"], ["i"], name="layer"),
             node("Transpose", ["i"], ["y"], name="t", perm=[1, 0])]
    made = model(nodes, {"w": np.arange(30, dtype=U8).reshape(6, 5)}, {"x": [4, 6]},
                 types={"y": TensorProto.INT32})
    lowered = lower(made)
    graph = legalize(lowered)
    inputs = random_inputs(lowered.inputs, 5)
    found = outputs(graph, evaluate(graph, inputs))
    assert np.array_equal(found["y"], reference(lowered, inputs).outputs["y"])


def test_they_have_no_blocks_and_no_scale():
    graph = legalize(lower(integers("MatMulInteger", [4, 6], (6, 5), U8)))
    config = AcceleratorConfig(name="blocks", blocks={"channels": 8}, dynamic=True)
    with pytest.raises(KiwichaError, match="makes integer sums, graph output 'y'"):
        with_blocks(graph, [graph.nodes[0].name], config)
    cast = node("Cast", ["i"], ["c"], name="cast", to=TensorProto.FLOAT)
    made = integers("MatMulInteger", [4, 6], (6, 5), U8, [cast])
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(UnsupportedModel, match="Cast of a dynamically quantized layer"):
        legalize(lower(made))
