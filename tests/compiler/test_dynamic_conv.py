# SPDX-License-Identifier: Apache-2.0
"""CNNs from quantize_dynamic: golden machine, golden network and ONNX Runtime agree bit for bit."""

import numpy as np
import pytest
from onnx import helper
from onnxruntime.quantization import QuantType

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.blocks import with_blocks
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnsupportedModel
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset
from kiwicha.sim.golden_run import run_on_golden_machine
from kiwicha.sim.judge import judge

from .test_dynamic import CONFIGS, check, quantized

F32 = np.float32
node = helper.make_node


def conv(name, source, shape, rng, constants, bias=True, **attributes):
    """Return a convolution with random weights, which enter ``constants``."""
    constants[f"{name}.w"] = (rng.normal(size=shape) / 3).astype(F32)
    inputs = [source, f"{name}.w"]
    if bias:
        constants[f"{name}.b"] = rng.normal(size=shape[0]).astype(F32)
        inputs.append(f"{name}.b")
    return node("Conv", inputs, [name], name=name, **attributes)


def fully_connected(source, depth, rng, constants):
    """Return Flatten, MatMul and Add to graph output y."""
    constants |= {"fc.w": rng.normal(size=(depth, 5)).astype(F32),
                  "fc.b": rng.normal(size=5).astype(F32)}
    return [node("Flatten", [source], ["flat"], name="flat"),
            node("MatMul", ["flat", "fc.w"], ["fc"], name="fc"),
            node("Add", ["fc", "fc.b"], ["y"], name="bias")]


def lenet(rng, pool, image=(9, 8), batch=2):
    """Return nodes, constants and input shape of two convolutions with a pooling each."""
    constants = {}
    nodes = [
        conv("c1", "x", (4, 3, 3, 3), rng, constants, pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], name="r1"),
        node("MaxPool", ["r1"], ["p1"], name="p1", **pool),
        conv("c2", "p1", (6, 2, 3, 2), rng, constants, bias=False, group=2, strides=[1, 2]),
        node("Relu", ["c2"], ["r2"], name="r2"),
        *fully_connected("r2", 6 * 2 * 2, rng, constants),
    ]
    return nodes, constants, [batch, 3, *image]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("weight_type", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize(("pool", "image"), [
    ({"kernel_shape": [2, 2], "strides": [2, 2]}, (9, 8)),  # the last row is in no window
    ({"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 1, 0, 0]}, (9, 8)),
    ({"kernel_shape": [3, 3], "strides": [2, 2]}, (9, 10)),
])
def test_lenet(tmp_path, config, weight_type, pool, image):
    rng = np.random.default_rng(len(pool))
    nodes, constants, shape = lenet(rng, pool, image)
    model = quantized(tmp_path, nodes, constants, shape, weight_type=weight_type, per_channel=True)
    graph, _ = check(model, CONFIGS[config], rng.normal(size=shape).astype(F32))
    assert [n.kind for n in graph.nodes] == [
        "dynamic_conv", "pool", "dynamic_conv", "view", "dynamic"]


def test_every_layer_is_judged(tmp_path):
    """By the name that the model has for its result, behind pools and views."""
    rng = np.random.default_rng(1)
    nodes, constants, shape = lenet(rng, {"kernel_shape": [2, 2], "strides": [2, 2]})
    lowered = lower(quantized(tmp_path, nodes, constants, shape))
    graph = legalize(lowered)
    tensors = evaluate(graph, {"x": rng.normal(size=shape).astype(F32)})
    verdicts = [judge(lowered, graph, (n,), preset("default"), tensors) for n in graph.nodes]
    assert [bool(v.compared) for v in verdicts] == [False, True, True, True, True]
    assert not any(v.differ for v in verdicts)
    tensors[graph.nodes[1].y.name][0, 0] ^= 1
    assert judge(lowered, graph, graph.nodes[1:2], preset("default"), tensors).differ


@pytest.mark.parametrize("config", CONFIGS)
def test_sequences_and_outputs_of_convolutions(tmp_path, config):
    """1-D; the last convolution's sums are the host's, through a Transpose and a Reshape."""
    rng, constants = np.random.default_rng(2), {"shape": np.array([2, -1])}
    nodes = [
        conv("c1", "x", (5, 4, 3), rng, constants, strides=[2], pads=[2, 0]),
        conv("c2", "c1", (7, 5, 2), rng, constants, dilations=[2]),
        node("Relu", ["c2"], ["r"], name="r"),
        node("Transpose", ["r"], ["t"], name="t", perm=[0, 2, 1]),
        node("Reshape", ["t", "shape"], ["y"], name="v"),
    ]
    model = quantized(tmp_path, nodes, constants, [2, 4, 11], ("y", "c2"))
    check(model, CONFIGS[config], rng.normal(size=(2, 4, 11)).astype(F32))


def test_rows_of_an_image(tmp_path):
    """A product of pixels: the order in which the channels lie goes into the weights."""
    rng, constants = np.random.default_rng(3), {}
    nodes = [
        conv("c1", "x", (6, 2, 2, 2), rng, constants),
        node("Transpose", ["c1"], ["t"], name="t", perm=[0, 2, 3, 1]),
        node("MatMul", ["t", "w"], ["y"], name="mm"),
    ]
    constants["w"] = rng.normal(size=(6, 3)).astype(F32)
    model = quantized(tmp_path, nodes, constants, [2, 2, 4, 5])
    check(model, CONFIGS["small"], rng.normal(size=(2, 2, 4, 5)).astype(F32))


def test_slots_through_pools_and_views(tmp_path):
    """Five layers in a row, each quantization alive as long as its codes under any name."""
    rng, constants = np.random.default_rng(4), {}
    nodes, source = [], "x"
    for place in range(5):
        name = f"c{place}"
        nodes += [
            conv(name, source, (3, 3, 3, 3), rng, constants, pads=[1] * 4),
            node("Relu", [name], [f"r{place}"], name=f"r{place}"),
            node("MaxPool", [f"r{place}"], [f"p{place}"], name=f"p{place}", kernel_shape=[2, 2]),
        ]
        source = f"p{place}"
    nodes += fully_connected(source, 3 * 4 * 3, rng, constants)
    model = quantized(tmp_path, nodes, constants, [1, 3, 9, 8])
    check(model, CONFIGS["wide"], rng.normal(size=(1, 3, 9, 8)).astype(F32))


@pytest.mark.parametrize(("relu", "strides"), [(False, [2, 2]), (True, [3, 3])])
def test_pools_whose_range_is_not_that_of_the_layer(tmp_path, relu, strides):
    rng, constants = np.random.default_rng(5), {}
    nodes = [conv("c1", "x", (4, 3, 3, 3), rng, constants)]
    if relu:
        nodes.append(node("Relu", ["c1"], ["r1"], name="r1"))
    pool = node("MaxPool", ["r1" if relu else "c1"], ["p1"], name="p1", kernel_shape=[2, 2],
                strides=strides)
    nodes += [pool, *fully_connected("p1", 4 * 3 * 3 if strides == [2, 2] else 16, rng, constants)]
    size = [1, 3, 8, 8]
    graph = legalize(lower(quantized(tmp_path, nodes, constants, size)))
    with pytest.raises(KiwichaError, match=r"real.bytes is 0; .* and pooling.window is 0; 2 would"):
        compile_graph(graph, CONFIGS["small"])


def test_relu_behind_the_pool_is_as_good(tmp_path):
    rng, constants = np.random.default_rng(6), {}
    nodes = [
        conv("c1", "x", (4, 3, 3, 3), rng, constants),
        node("MaxPool", ["c1"], ["p1"], name="p1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Relu", ["p1"], ["r1"], name="r1"),
        *fully_connected("r1", 4 * 3 * 3, rng, constants),
    ]
    model = quantized(tmp_path, nodes, constants, [1, 3, 8, 8])
    check(model, CONFIGS["small"], rng.normal(size=(1, 3, 8, 8)).astype(F32))


def test_no_blocks_of_a_convolution(tmp_path):
    rng, constants = np.random.default_rng(7), {}
    nodes = [conv("c1", "x", (4, 3, 3, 3), rng, constants)]
    graph = legalize(lower(quantized(tmp_path, nodes, constants, [1, 3, 6, 6], ("c1",))))
    config = AcceleratorConfig(name="blocks", blocks={"channels": 8}, dynamic=True)
    with pytest.raises(KiwichaError, match="a convolution quantized dynamically"):
        with_blocks(graph, [graph.nodes[0].name], config)
    with pytest.raises(KiwichaError, match="dynamically; dynamic is false; true would do"):
        compile_graph(graph, preset("tiny"))


@pytest.mark.parametrize("averages", [
    [node("GlobalAveragePool", ["r2"], ["a"], name="average")],
    [node("AveragePool", ["r2"], ["a"], name="average", kernel_shape=[2, 2], strides=[1, 2])],
])
def test_averages_of_a_result(tmp_path, averages):
    """Of codes of a range of their own: golden-exact, close to the float."""
    rng, constants = np.random.default_rng(9), {}
    nodes = [
        conv("c1", "x", (4, 3, 3, 3), rng, constants, pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], name="r1"),
        node("MaxPool", ["r1"], ["p1"], name="p1", kernel_shape=[2, 2], strides=[2, 2]),
        conv("c2", "p1", (6, 4, 2, 2), rng, constants), node("Relu", ["c2"], ["r2"], name="r2"),
        *averages,
    ]
    depth = 6 if "Global" in averages[0].op_type else 6 * 3 * 2
    nodes += fully_connected("a", depth, rng, constants)
    model = quantized(tmp_path, nodes, constants, [2, 3, 10, 10])
    x = rng.normal(size=(2, 3, 10, 10)).astype(F32)
    outcome = run_on_golden_machine(model, CONFIGS["small"], {"x": x})
    assert outcome.wrong == ()
    expected = outcome.reference.outputs["y"]
    assert np.abs(outcome.outputs["y"] - expected).max() < 0.02 * np.abs(expected).max()
    golden = [n.name for n in legalize(lower(model)).nodes if n.promise == "golden"]
    assert len(golden) == 2
    assert golden[1] == "average"


def test_averages_with_padding_are_refused(tmp_path):
    rng, constants = np.random.default_rng(9), {}
    nodes = [conv("c1", "x", (4, 3, 3, 3), rng, constants), node(
        "AveragePool", ["c1"], ["a"], name="average", kernel_shape=[2, 2], pads=[1, 0, 0, 0])]
    nodes += fully_connected("a", 4 * 8 * 7, rng, constants)
    model = quantized(tmp_path, nodes, constants, [1, 3, 10, 10])
    with pytest.raises(UnsupportedModel, match="AveragePool of a dynamically quantized layer's"):
        legalize(lower(model))


@pytest.mark.parametrize("config", CONFIGS)
def test_channel_shuffle(tmp_path, config):
    """A copy into another order: its scale is that of what it copies."""
    rng, constants = np.random.default_rng(31), {}
    constants |= {"apart": np.array([0, 2, 3, 4, 5]), "back": np.array([0, 6, 4, 5])}
    nodes = [
        conv("a", "x", (6, 3, 1, 1), rng, constants), helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Reshape", ["r", "apart"], ["r1"]),
        helper.make_node("Transpose", ["r1"], ["r2"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["r2", "back"], ["s"]),
        conv("b", "s", (6, 1, 3, 3), rng, constants, group=6),
        conv("y", "b", (2, 6, 1, 1), rng, constants),
    ]
    model = quantized(tmp_path, nodes, constants, [2, 3, 4, 5])
    check(model, CONFIGS[config], rng.normal(size=(2, 3, 4, 5)).astype(np.float32))
