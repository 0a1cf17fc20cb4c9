# SPDX-License-Identifier: Apache-2.0
"""TFLite files through the frontend and the compiler to the golden machine, against LiteRT."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.tflite.lower import lower_tflite
from kiwicha.compiler.frontend.tflite.probe import FOUND, SUMS, rounding
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.litert import dense
from kiwicha.golden.requantize import requantize
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.scales import encode_scale
from kiwicha.sim import litert
from kiwicha.sim.golden_run import run_on_golden_machine
from kiwicha.sim.litert import kernel_notes
from kiwicha.sim.prepare import prepare, run_golden_machine

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from ..support.tflite_files import Network

CONFIG = AcceleratorConfig(
    name="small", rows=8, columns=8, requantize_mode="tflite",
    special={"lanes": 1, "softmax": "tflite"},
)


def extremes(values):
    """Inputs that no random ones are like: all lowest, all highest, by turns."""
    for value in values:
        info = np.iinfo(value.dtype)
        low, high = (np.full(value.shape, edge, value.dtype) for edge in (info.min, info.max))
        turns = np.where(np.arange(value.size).reshape(value.shape) % 2, low, high)
        yield from (low, high, turns.astype(value.dtype))


def agrees(network, config=CONFIG, copies=False):
    """As `compared`, and nothing is copied unless ``copies`` says so."""
    graph = compared(network, config)
    assert copies == any(node.kind == "move" for node in graph.nodes), "copies"
    return graph


def compared(network, config=CONFIG):
    """Every layer and the output are LiteRT's, for random inputs and for extreme ones; returns the
    graph."""
    file = network.file()
    graph = legalize(lower_tflite(file))
    rng = np.random.default_rng(7)
    info = np.iinfo(graph.inputs[0].dtype)
    drawn = rng.integers(info.min, info.max + 1, graph.inputs[0].shape).astype(info.dtype)
    for x in (drawn, *extremes([drawn])):
        found = run_on_golden_machine(file, config, {"x": x})
        assert found.wrong == ()
        (name,) = found.outputs
        np.testing.assert_array_equal(found.outputs[name], found.reference.outputs[name])
    return graph


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
def test_convolution(kind, activation):
    graph = agrees(
        Network((1, 9, 8, 3), kind).conv(10, (3, 3), (9, 8), padding="SAME",
                                         fusedActivationFunction=activation)
    )
    (node,) = [node for node in graph.nodes if node.kind == "conv"]
    assert node.op == ("CONV_2D" if activation == "NONE" else f"CONV_2D + {activation}")


@pytest.mark.parametrize("padding,stride,dilation,shape", [
    ("SAME", 2, 1, (5, 6)), ("SAME", 1, 2, (10, 11)), ("VALID", 2, 1, (4, 5)),
    ("VALID", 1, 3, (4, 5)), ("SAME", 3, 1, (4, 4)),
])
@pytest.mark.parametrize("depthwise", [False, True])
def test_windows(padding, stride, dilation, shape, depthwise):
    options = {"padding": padding, "strideH": stride, "strideW": stride, "dilation": dilation}
    network = Network((2, 10, 11, 4), seed=stride)
    if depthwise:
        agrees(network.depthwise(2, (3, 3), shape, **options))
    else:
        agrees(network.conv(7, (3, 3), shape, **options))


@pytest.mark.parametrize("bias,per_channel", [(False, True), (True, False), (False, False)])
def test_weights(bias, per_channel):
    """LiteRT itself refuses a CONV_2D without bias."""
    agrees(
        Network((1, 6, 6, 4)).conv(5, (2, 2), (5, 5), per_channel=per_channel)
        .depthwise(3, (2, 2), (4, 4), bias=bias, per_channel=per_channel)
    )


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_old_convolutions_round_the_product_of_scales(kind):
    file = Network((1, 4, 4, 3), kind).conv(5, (1, 1), (4, 4), per_channel=False).file()
    (node,) = [n for n in legalize(lower_tflite(file)).nodes if n.kind == "conv"]
    sx, sw, sy = (file.tensors[name].scale[0] for name in ("x", "w0", "y1"))
    assert float(sx * sw) != float(sx) * float(sw)
    product = float(sx * sw) if kind == "uint8" else float(sx) * float(sw)
    assert set(node.scale64) == {product / float(sy)}


def test_grouped_convolution():
    agrees(Network((1, 6, 6, 8)).conv(12, (3, 3), (4, 4), groups=4))


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("seed", range(4))
def test_dense(kind, seed):
    agrees(
        Network((5, 40), kind, seed=seed).dense(33, fusedActivationFunction="RELU")
        .dense(17, bias=False).dense(9, fusedActivationFunction="RELU6")
    )


def test_dense_of_giant_sums_is_within_one_code():
    """Where sums are so large that 31 bits of multiplier cannot round as a binary64 number does."""
    network = Network((2, 4096), seed=5)
    weights = network.weights((40, 4096), 0)
    network.add(
        "FULLY_CONNECTED", [network.last, *weights], (2, 40), "FullyConnected", 4
    )
    tensors = network.writer.graph.tensors
    scales = [tensors[place].quantization.scale[0] for place in (network.first, weights[0])]
    tensors[network.last].quantization.scale = [float(np.float32(np.prod(scales) * 2.0**20))]
    file = network.file()
    graph = legalize(lower_tflite(file))
    (node,) = graph.nodes
    assert (node.away, node.promise) == (False, "near")
    assert "at most one code apart" in graph.notes[0].text
    found = run_on_golden_machine(file, CONFIG)
    assert not found.wrong
    distance = found.outputs["y1"].astype(int) - found.reference.outputs["y1"]
    assert np.abs(distance).max() <= 1


def test_dense_of_images_and_of_more_axes():
    agrees(Network((2, 3, 4, 5)).conv(6, (1, 1), (3, 4)).dense(7, depth=72))
    agrees(Network((2, 3, 4, 5)).dense(7, keepNumDims=True))
    agrees(Network((2, 3, 20)).dense(7, per_channel=True, keepNumDims=True))


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("name", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
@pytest.mark.parametrize("padding,stride,kernel,shape", [
    ("VALID", 2, (2, 2), (4, 3)), ("SAME", 2, (3, 3), (4, 4)), ("VALID", 1, (8, 7), (1, 1)),
    ("SAME", 1, (2, 3), (8, 7)),
])
def test_pooling(kind, name, padding, stride, kernel, shape):
    agrees(
        Network((1, 8, 7, 5), kind, seed=len(name)).pool(
            name, kernel, shape, padding=padding, strideH=stride, strideW=stride,
            fusedActivationFunction="RELU" if stride == 2 else "NONE",
        )
    )


def test_reshapes_cost_nothing():
    graph = agrees(
        Network((1, 4, 6, 3)).conv(8, (1, 1), (4, 6)).reshape((1, 24, 8)).reshape((1, 8, 3, 8))
        .conv(5, (3, 3), (6, 1)).reshape((1, 30)).dense(4)
    )
    assert {node.kind for node in graph.nodes} == {"conv", "view", "matmul"}


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_softmax(kind):
    network = Network((3, 50), kind).dense(12)
    low = int(np.iinfo(kind).min)
    y = network.writer.tensor("y", (3, 12), kind, np.float32(1 / 256), low)
    network.writer.operator("SOFTMAX", [network.last], [y], "Softmax", 2 if low else 1, beta=1.0)
    network.last = y
    agrees(network)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("name,options", [("ADD", "Add"), ("SUB", "Sub"), ("MUL", "Mul")])
def test_pairs(kind, name, options):
    """A residual sum, and one that broadcasts, of tensors and with a constant of either side."""
    network = Network((1, 4, 5, 6), kind, seed=len(options)).conv(6, (1, 1), (4, 5))
    version = 2 if kind == "int8" else 1
    network.add(name, [network.last, network.first], (1, 4, 5, 6), options, version,
                fusedActivationFunction="RELU")
    whole = network.last
    network.pool("AVERAGE_POOL_2D", (4, 5), (1, 1))
    network.add(name, [network.last, whole], (1, 4, 5, 6), options, version)
    for first in (False, True):
        values = network.rng.integers(0, 256, (6,)).astype(np.uint8).view(kind)
        constant = network.writer.tensor(f"c{first}", (6,), kind, np.float32(0.07), 9,
                                         values=values)
        operands = [network.last, constant]
        network.add(name, operands[::-1] if first else operands, (1, 4, 5, 6), options, version)
    agrees(network)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("name", ["LOGISTIC", "TANH", "HARD_SWISH", "LEAKY_RELU", "RELU", "RELU6"])
def test_functions(kind, name):
    network = Network((1, 4, 5, 6), kind).conv(6, (1, 1), (4, 5))
    if name in ("LOGISTIC", "TANH"):
        scale, zero = (1 / 256, -128) if name == "LOGISTIC" else (1 / 128, 0)
        y = network.writer.tensor("f", network.shape, kind, np.float32(scale),
                                  zero if kind == "int8" else zero + 128)
        network.writer.operator(name, [network.last], [y], version=2 if kind == "int8" else 1)
        network.last = y
    elif name == "LEAKY_RELU":
        network.add(name, [network.last], network.shape, "LeakyRelu", 2, alpha=0.3)
    else:
        version = 1 if kind == "uint8" or name == "HARD_SWISH" else 2
        network.add(name, [network.last], network.shape, version=version)
    agrees(network.conv(4, (2, 2), (3, 4)))


def test_quantize_changes_scale_and_type():
    network = Network((1, 3, 4, 5)).conv(6, (1, 1), (3, 4))
    network.add("QUANTIZE", [network.last], network.shape, "Quantize", 2)
    agrees(network.conv(3, (1, 1), (3, 4)))
    network = Network((2, 40)).dense(16)
    network.kind = "uint8"
    agrees(network.add("QUANTIZE", [network.last], network.shape, "Quantize", 2).dense(5))


def test_float_edges():
    """Halves of codes at the input; what has no int32 is the lowest code."""
    network = Network((4, 8))
    real = network.writer.tensor("real", (4, 8), "float32")
    network.writer.operator("QUANTIZE", [real], [network.first], "Quantize", 1)
    network.dense(5)
    y = network.writer.tensor("y", (4, 5), "float32")
    network.writer.operator("DEQUANTIZE", [network.last], [y], "Dequantize", 2)
    network.first, network.last = real, y
    file = network.file()
    scale = np.float32(file.tensors["x"].scale[0])
    x = ((np.arange(32) - 16 + 0.5) * scale).astype(np.float32).reshape(4, 8)
    x[3] = [np.inf, -np.inf, 1e30, -1e30, 2e9, -2e9, 0, -0.0]
    found = run_on_golden_machine(file, CONFIG, {"real": x})
    assert not found.wrong
    np.testing.assert_array_equal(found.outputs["y"], found.reference.outputs["y"])
    assert found.outputs["y"].dtype == np.float32


def test_an_image_is_an_output_in_the_files_order():
    network = Network((1, 5, 4, 3)).conv(6, (2, 2), (4, 3))
    found = run_on_golden_machine(network.file(), CONFIG)
    assert found.outputs["y1"].shape == (1, 4, 3, 6)
    assert not found.wrong


def test_the_batch_is_open():
    file = Network((1, 6, 6, 3), batched=True).conv(4, (3, 3), (4, 4)).dense(5, depth=64).file()
    found = run_on_golden_machine(file, CONFIG, samples=3)
    assert found.outputs["y2"].shape == (3, 5)
    assert not found.wrong
    np.testing.assert_array_equal(found.outputs["y2"], found.reference.outputs["y2"])


def test_the_file_is_not_believed_blindly(monkeypatch):
    """The judge sees an activation that was forgotten."""
    network = Network((4, 40)).dense(33, fusedActivationFunction="RELU")
    monkeypatch.setattr("kiwicha.compiler.ops.matmul.activation", lambda node, y: (-128, 127))
    found = run_on_golden_machine(network.file(), CONFIG)
    assert any("LiteRT" in text for text in found.wrong)


def test_rounding_is_asked_of_the_interpreter(monkeypatch):
    """A build with one rounding gets a machine with one; FULLY_CONNECTED is asked by itself."""
    assert rounding("CONV_2D") == rounding("DEPTHWISE_CONV_2D") == "twice"
    assert rounding("FULLY_CONNECTED") == "away"
    file = Network((2, 3, 3, 4)).conv(6, (1, 1), (3, 3)).dense(7).file()
    graph = legalize(lower_tflite(file))
    assert (graph.requantize, graph.nodes[-1].away) == ("tflite", True)
    for found in ("once", "twice"):
        monkeypatch.setattr(
            "kiwicha.compiler.frontend.tflite.lower.rounding", lambda operator, found=found: found
        )
        graph = legalize(lower_tflite(file))
        expected = "tflite-single" if found == "once" else "tflite"
        assert (graph.requantize, graph.nodes[-1].away) == (expected, False)


@pytest.mark.parametrize("mode", ["tflite", "tflite-single"])
def test_the_probe_tells_the_roundings_apart(mode):
    """What it takes for one and for two roundings is what the golden models compute."""
    found = requantize(
        np.array(SUMS), *encode_scale(mode, 2.0**-9, np.float64(2.0**-9)), 0, -128, 127, mode
    )
    assert FOUND[tuple(found)] == ("twice" if mode == "tflite" else "once")
    assert FOUND[tuple(dense(np.array(SUMS), 2.0**-9, 0, -128, 127))] == "away"


def test_the_optimized_kernels_are_compared(monkeypatch):
    """Where LiteRT's own kernels differ, a note names layers and counts."""
    file = Network((1, 6, 6, 4), seed=3).conv(32, (3, 3), (4, 4)).file()
    made = prepare(file, CONFIG)
    tensors = run_golden_machine(made).tensors
    notes = kernel_notes(made.lowered, made.graph, made.graph.nodes, tensors, made.inputs)
    real = litert.operator_reference

    def other(model, name, values, optimized=False):
        return real(model, name, values) + np.int8(optimized)

    monkeypatch.setattr(litert, "operator_reference", other)
    (note,) = kernel_notes(made.lowered, made.graph, made.graph.nodes, tensors, made.inputs)
    assert "'y1' 512 of 512" in note.text
    assert len(notes) <= 1
