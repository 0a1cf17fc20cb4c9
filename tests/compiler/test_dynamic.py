# SPDX-License-Identifier: Apache-2.0
"""Models from quantize_dynamic: golden machine, golden network and ONNX Runtime agree bit for bit.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from compiler.compile import compile_graph
from compiler.errors import KiwichaError, UnsupportedModel
from compiler.graph import DynamicLinearNode
from compiler.legalize import legalize
from compiler.lower import lower
from golden.machine import Machine
from golden.network import evaluate, outputs
from hw.config import AcceleratorConfig
from hw.isa import Opcode, VectorMode

SMALL = AcceleratorConfig(
    name="small", rows=4, columns=4, axi_data_width=64, activation_bytes=512, weight_bytes=256,
    accumulator_depth=16, output_bytes=512, parameter_channels=16, requantize_lanes=2,
    queue_words=16, dynamic=True,
)  # fmt: skip
WIDE = AcceleratorConfig(
    name="wide", rows=8, columns=8, axi_data_width=256, weight_bytes=16384, dynamic=True
)
CONFIGS = {"small": SMALL, "wide": WIDE}
EDGE = ("x", "float", [3, 4])


def save(path, nodes, constants, x_shape, outputs=("y",)):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, x_shape)],
        [value(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)


def mlp(rng, sizes, bias=True, relu=True, x_shape=None, spread=1.0):
    """Nodes and constants of a perceptron with layers of these sizes, Relu between and, where
    asked for, at the end."""
    nodes, constants, value = [], {}, "x"
    for index, (depth, columns) in enumerate(zip(sizes, sizes[1:], strict=False)):
        weights = rng.normal(0.1, 1, (depth, columns)) * spread / np.sqrt(depth)
        constants[f"w{index}"] = weights.astype(np.float32)
        nodes.append(helper.make_node("MatMul", [value, f"w{index}"], [f"m{index}"]))
        value = f"m{index}"
        if bias:
            constants[f"b{index}"] = rng.normal(0, 1, columns).astype(np.float32)
            nodes.append(helper.make_node("Add", [value, f"b{index}"], [f"a{index}"]))
            value = f"a{index}"
        if relu:
            nodes.append(helper.make_node("Relu", [value], [f"r{index}"]))
            value = f"r{index}"
    nodes.append(helper.make_node("Identity", [value], ["y"]))
    return nodes, constants


def quantized(tmp_path, nodes, constants, x_shape, outputs=("y",), **options):
    save(tmp_path / "float.onnx", nodes, constants, x_shape, outputs)
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx", **options)
    return onnx.load(tmp_path / "dynamic.onnx")


def check(model, config, x, batch=None):
    """Compile and run; return the program's builder fields as decoded by the golden machine."""
    graph = legalize(lower(model, batch))
    compiled = compile_graph(graph, config)
    tensors = evaluate(graph, {"x": x})
    memory = compiled.load(tensors)
    machine = Machine(config, memory, compiled.read_window, compiled.write_window)
    machine.run(compiled.words)
    assert not machine.tokens.any()
    found = {name: compiled.read(memory, t) for name, t in graph.tensors.items()}
    for name, array in found.items():
        np.testing.assert_array_equal(array, tensors[name], name)
    results = outputs(graph, found)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in model.graph.output]
    for name, expected in zip(names, session.run(names, {"x": x}), strict=True):
        assert results[name].dtype == expected.dtype and results[name].shape == expected.shape
        np.testing.assert_array_equal(results[name].view(np.uint32), expected.view(np.uint32))
    return graph, compiled


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("weight_type", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("bias", "relu"), [(True, True), (False, True), (True, False), (False,) * 2])
@pytest.mark.parametrize("sizes", [(5, 7), (19, 33, 3), (13, 21, 9, 11)])
def test_perceptrons(tmp_path, config, weight_type, per_channel, bias, relu, sizes):
    rng = np.random.default_rng([len(sizes), bias, relu, per_channel])
    nodes, constants = mlp(rng, sizes, bias, relu)
    model = quantized(
        tmp_path, nodes, constants, [None, sizes[0]], weight_type=weight_type,
        per_channel=per_channel,
    )  # fmt: skip
    for rows in (1, 7):
        x = rng.normal(0.5, 2, (rows, sizes[0])).astype(np.float32)
        check(model, CONFIGS[config], x, rows)
