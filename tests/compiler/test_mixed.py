# SPDX-License-Identifier: Apache-2.0
"""Layers quantized statically and dynamically in one model: bit for bit as ONNX Runtime has it."""

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.presets import preset
from kiwicha.sim.judge import judge
from kiwicha.sim.reference import reference

from .test_dynamic import CONFIGS, save
from .test_dynamic_conv import conv

F32 = np.float32
node = helper.make_node


class Calibration(CalibrationDataReader):
    """Four random inputs."""

    def __init__(self, shape):
        rng = np.random.default_rng(9)
        self._inputs = iter([{"x": rng.normal(size=shape).astype(F32)} for _ in range(4)])

    def get_next(self):
        """Return the next one."""
        return next(self._inputs, None)


def mixed(tmp_path, nodes, constants, shape, static, activations=QuantType.QUInt8):
    """Return a model whose nodes named in ``static`` are quantized so, all others dynamically."""
    names = [each.name for each in nodes]
    save(tmp_path / "float.onnx", nodes, constants, shape)
    quantize_static(
        tmp_path / "float.onnx", tmp_path / "static.onnx", Calibration(shape),
        nodes_to_quantize=static, activation_type=activations, weight_type=QuantType.QInt8,
    )
    quantize_dynamic(
        tmp_path / "static.onnx", tmp_path / "mixed.onnx",
        nodes_to_quantize=[name for name in names if name not in static],
    )
    return onnx.load(tmp_path / "mixed.onnx")


def check(model, shape, kinds):
    """Compare all of it with ONNX Runtime, and the program with the golden network."""
    lowered = lower(model)
    graph = legalize(lowered)
    assert [n.kind for n in graph.nodes if n.kind != "view"] == kinds
    x = np.random.default_rng(3).normal(size=shape).astype(F32)
    tensors = evaluate(graph, {"x": x})
    for name, expected in reference(lowered, {"x": x}).outputs.items():
        np.testing.assert_array_equal(outputs(graph, tensors)[name], expected, name)
    verdicts = [judge(lowered, graph, (n,), preset("default"), tensors) for n in graph.nodes]
    assert not any(verdict.differ for verdict in verdicts)
    assert verdicts[-1].compared
    for config in (*CONFIGS.values(), preset("default").replace(dynamic=True)):
        compiled = compile_graph(graph, config)
        memory = compiled.load(tensors)
        machine = Machine(config, memory, compiled.read_window, compiled.write_window)
        machine.run(compiled.words)
        assert not machine.tokens.any()
        there = {name: graph.tensors[name] for name in graph.tensors if name in compiled.addresses}
        # The others are nowhere: done on the way out, or never off the chip.
        assert len(there) > (1 if config.forwarding else len(graph.nodes) // 2)
        for name, tensor in there.items():
            np.testing.assert_array_equal(compiled.read(memory, tensor), tensors[name], name)


def network(rng):
    """Return three convolutions, Relu and poolings between them, and a product."""
    constants = {"fc": rng.normal(size=(4 * 3 * 2, 5)).astype(F32)}
    nodes = [
        conv("c1", "x", (4, 3, 3, 3), rng, constants, pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], name="r1"),
        node("MaxPool", ["r1"], ["p1"], name="p1", kernel_shape=[2, 2], strides=[2, 2]),
        conv("c2", "p1", (6, 4, 3, 3), rng, constants, pads=[1] * 4),
        node("MaxPool", ["c2"], ["p2"], name="p2", kernel_shape=[2, 2], strides=[1, 2]),
        conv("c3", "p2", (4, 6, 1, 1), rng, constants),
        node("Relu", ["c3"], ["r3"], name="r3"),
        node("Flatten", ["r3"], ["f"], name="f"),
        node("MatMul", ["f", "fc"], ["y"], name="fc"),
    ]
    return nodes, constants, [2, 3, 8, 8]


@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8])
@pytest.mark.parametrize(("static", "kinds"), [
    (["c1"], ["conv", "pool", "dynamic_scale", "dynamic_conv", "dynamic_conv", "dynamic"]),
    (["c2"], ["dynamic_conv", "pool", "conv", "pool", "dynamic_scale", "dynamic_conv", "dynamic"]),
    (["c1", "c3"], ["conv", "pool", "dynamic_scale", "dynamic_conv", "conv", "dynamic_scale",
                    "dynamic"]),
    (["fc"], ["dynamic_conv", "pool", "dynamic_conv", "dynamic_conv", "matmul"]),
])
def test_networks(tmp_path, static, kinds, activations):
    nodes, constants, shape = network(np.random.default_rng(len(static)))
    if static[0] != "c2":  # a pooling without Relu has no range that is known, if it is dynamic
        del nodes[4]
        nodes[4] = node("Conv", ["c2", *nodes[4].input[1:]], ["c3"], name="c3")
        constants["fc"] = np.random.default_rng(1).normal(size=(4 * 16, 5)).astype(F32)
    model = mixed(tmp_path, nodes, constants, shape, static, activations)
    check(model, shape, kinds)


def test_slots_beside_scales_that_are_known(tmp_path):
    """Fewer are left, and more scales in use at once."""
    rng, constants = np.random.default_rng(4), {"v": np.ones((5, 5), F32)}
    nodes = [node("MatMul", ["x", "v"], ["s"], name="s")]
    for name in "abc":
        constants[name] = rng.normal(size=(5, 5)).astype(F32)
        nodes.append(node("MatMul", ["s", name], [f"{name}1"], name=f"{name}1"))
    for name in "abc":
        constants[f"{name}2"] = rng.normal(size=(5, 5)).astype(F32)
        nodes.append(node("MatMul", [f"{name}1", f"{name}2"], [f"{name}3"], name=f"{name}3"))
    save(tmp_path / "float.onnx", nodes, constants, [3, 5], ("a3", "b3", "c3"))
    quantize_static(
        tmp_path / "float.onnx", tmp_path / "static.onnx", Calibration([3, 5]),
        nodes_to_quantize=["s"],
    )
    quantize_dynamic(
        tmp_path / "static.onnx", tmp_path / "mixed.onnx",
        nodes_to_quantize=[each.name for each in nodes[1:]],
    )
    model = onnx.load(tmp_path / "mixed.onnx")
    check(model, [3, 5], ["matmul", "dynamic_scale", *["dynamic"] * 6])


def test_signed_codes(tmp_path):
    """Where ONNX Runtime leaves int8, since a dynamic layer reads the codes, too."""
    rng, constants = np.random.default_rng(6), {}
    nodes = [conv("c1", "x", (4, 3, 3, 3), rng, constants),
             conv("c2", "c1", (5, 4, 2, 2), rng, constants),
             conv("c3", "c1", (2, 4, 1, 1), rng, constants)]
    shape = [2, 3, 6, 5]
    save(tmp_path / "float.onnx", nodes, constants, shape, ("c2", "c3"))
    quantize_static(
        tmp_path / "float.onnx", tmp_path / "static.onnx", Calibration(shape),
        nodes_to_quantize=["c2"], activation_type=QuantType.QInt8,
    )
    quantize_dynamic(
        tmp_path / "static.onnx", tmp_path / "mixed.onnx", nodes_to_quantize=["c1", "c3"]
    )
    model = onnx.load(tmp_path / "mixed.onnx")
    check(model, shape, ["dynamic_conv", "pool", "dynamic_scale", "conv", "dynamic_conv"])
