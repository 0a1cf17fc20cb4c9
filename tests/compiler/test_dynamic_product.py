# SPDX-License-Identifier: Apache-2.0
"""MatMulInteger of two dynamically quantized tensors: bit for bit as ONNX Runtime has it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnsupportedModel
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.presets import preset
from kiwicha.sim.inference import run_model
from kiwicha.sim.judge import judge
from kiwicha.sim.reference import reference

from ..support.bench import unit_simulator
from ..support.slow import slow
from .test_dynamic import CONFIGS

F32 = np.float32
node = helper.make_node
MACHINES = {
    **{name: config.replace(transposer=True) for name, config in CONFIGS.items()},
    "default": preset("default").replace(dynamic=True),
}


def quantized(tmp_path, nodes, constants, inputs, outputs=("y",)):
    """Return a model whose products are quantized dynamically, those of two activations too."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [value(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "f.onnx")
    quantize_dynamic(
        tmp_path / "f.onnx", tmp_path / "d.onnx", extra_options={"MatMulConstBOnly": False}
    )
    return onnx.load(tmp_path / "d.onnx")


def check(model, inputs):
    """Compare outputs and layers with ONNX Runtime, and each machine's memory with the golden
    network."""
    lowered = lower(model)
    graph = legalize(lowered)
    tensors = evaluate(graph, inputs)
    found = outputs(graph, tensors)
    for name, expected in reference(lowered, inputs).outputs.items():
        np.testing.assert_array_equal(found[name], expected, name)
    verdicts = [judge(lowered, graph, (n,), preset("default"), tensors) for n in graph.nodes]
    assert not any(v.differ for v in verdicts)
    products = zip(verdicts, graph.nodes, strict=True)
    assert all(v.compared for v, n in products if n.kind == "dynamic_product")
    for config in MACHINES.values():
        compiled = compile_graph(graph, config)
        memory = compiled.load(tensors)
        machine = Machine(config, memory, compiled.read_window, compiled.write_window)
        machine.run(compiled.words)
        assert not machine.tokens.any()
        for name, tensor in graph.tensors.items():
            if name in compiled.addresses or name in compiled.places:  # else only on chip
                np.testing.assert_array_equal(compiled.read(memory, tensor), tensors[name], name)
    return graph


SHAPES = [
    ((4, 6), (6, 5)), ((2, 3, 6), (2, 6, 5)), ((1, 70), (70, 1)), ((3, 2, 9, 17), (2, 17, 20)),
    ((5, 40), (2, 40, 33)), ((7, 1), (1, 9)),
]


@pytest.mark.parametrize(("x", "z"), SHAPES)
@pytest.mark.parametrize("relu", [False, True])
def test_of_two_inputs(tmp_path, x, z, relu):
    rng = np.random.default_rng(len(x) + relu)
    nodes = [node("MatMul", ["x", "z"], ["m"], name="two")]
    if relu:
        nodes.append(node("Relu", ["m"], ["r"], name="relu"))
    nodes.append(node("Identity", [nodes[-1].output[0]], ["y"], name="end"))
    model = quantized(tmp_path, nodes, {}, {"x": x, "z": z})
    inputs = {"x": rng.normal(0.3, 1, x).astype(F32), "z": rng.normal(-0.5, 2, z).astype(F32)}
    graph = check(model, inputs)
    assert graph.nodes[0].kind == "dynamic_product"


@pytest.mark.parametrize("batch", [1, 2])
def test_chain(tmp_path, batch):
    """Queries times keys times values: a range over all heads, transposed operands, scales that
    the machine itself has measured."""
    rng = np.random.default_rng(batch)
    constants = {name: (rng.normal(size=(8, 8)) / 3).astype(F32) for name in "qkv"}
    constants |= {"heads": np.array([0, -1, 2, 4]), "flat": np.array([0, -1, 8])}
    nodes = []
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            node("MatMul", ["x", name], [f"{name}0"], name=f"{name}0"),
            node("Reshape", [f"{name}0", "heads"], [f"{name}1"], name=f"{name}1"),
            node("Transpose", [f"{name}1"], [f"{name}2"], name=f"{name}2", perm=perm),
        ]
    nodes += [
        node("MatMul", ["q2", "k2"], ["s"], name="scores"),
        node("MatMul", ["s", "v2"], ["y"], name="mixed"),
    ]
    model = quantized(tmp_path, nodes, constants, {"x": (batch, 5, 8)})
    graph = check(model, {"x": rng.normal(size=(batch, 5, 8)).astype(F32)})
    assert [n.kind for n in graph.nodes if n.kind != "view"] == [
        "dynamic", "dynamic", "dynamic", "dynamic_product", "dynamic_product"]


def test_ranges(tmp_path):
    """Nothing but 0, one sign only, and far apart."""
    rng, zeros = np.random.default_rng(2), np.zeros((3, 9), F32)
    model = quantized(
        tmp_path, [node("MatMul", ["x", "z"], ["y"], name="two")], {}, {"x": (3, 9), "z": (9, 4)}
    )
    for x in (zeros, zeros + 2, zeros - 3, rng.normal(size=(3, 9)) * 1e6, zeros + 1e-9):
        for sign in (1, -1):
            z = (sign * rng.uniform(0, 1, (9, 4))).astype(F32)
            check(model, {"x": x.astype(F32), "z": z})


def test_more_inputs_than_slots(tmp_path):
    """Each is read twice, the second time in another order."""
    rng, nodes = np.random.default_rng(4), []
    inputs = {f"x{k}": rng.normal(size=(3, 3)).astype(F32) * (k + 1) for k in range(7)}
    for k in range(7):
        nodes.append(node("MatMul", [f"x{k}", f"x{(k + 1) % 7}"], [f"y{k}"], name=f"y{k}"))
    for k in range(6):
        nodes.append(node("MatMul", [f"x{6 - k}", f"y{k}"], [f"z{k}"], name=f"z{k}"))
    shapes = {name: array.shape for name, array in inputs.items()}
    model = quantized(tmp_path, nodes, {}, shapes, [f"z{k}" for k in range(6)])
    graph = check(model, inputs)
    assert len({edge.record.name for edge in graph.dynamic}) == 2
    assert sum(n.reload for n in graph.nodes) > 5


def test_refusals(tmp_path):
    nodes = [node("MatMul", ["x", "z"], ["m"], name="two"),
             node("Add", ["m", "b"], ["y"], name="add")]
    model = quantized(tmp_path, nodes, {"b": np.ones(5, F32)}, {"x": (4, 6), "z": (6, 5)})
    with pytest.raises(UnsupportedModel, match="Add of a dynamically quantized layer's result"):
        legalize(lower(model))
    model = quantized(tmp_path, [node("MatMul", ["x", "z"], ["y"], name="two")], {},
                      {"x": (4, 6), "z": (6, 5)})
    with pytest.raises(KiwichaError, match="transposer is false; true would do"):
        compile_graph(legalize(lower(model)), CONFIGS["small"])


@slow("x1-z1")
@pytest.mark.parametrize(("x", "z"), SHAPES[:2])
def test_simulated(tmp_path, x, z):
    rng = np.random.default_rng(6)
    nodes = [node("MatMul", ["x", "z"], ["m"], name="two"),
             node("MatMul", ["m", "w"], ["y"], name="one")]
    constants = {"w": rng.normal(size=(5, 7)).astype(F32)}
    model = quantized(tmp_path, nodes, constants, {"x": x, "z": z})
    inputs = {"x": rng.normal(size=x).astype(F32), "z": rng.normal(size=z).astype(F32)}
    simulator = unit_simulator().name
    report = run_model(model, MACHINES["small"], inputs, simulator=simulator).report
    assert report.exact
    assert all(layer.compared for layer in report.layers)
