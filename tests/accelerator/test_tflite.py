# SPDX-License-Identifier: Apache-2.0
"""TFLite's operators beyond those of MLPerf Tiny on the real machine, in one network each for int8
and uint8, every layer equal to LiteRT's reference kernels."""

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from kiwicha.machine.presets import preset
from kiwicha.sim.golden_run import run_on_golden_machine
from kiwicha.sim.inference import run_model

from ..compiler.test_tflite import extremes
from ..compiler.test_tflite_batch_matmul import products
from ..compiler.test_tflite_mean import mean
from ..compiler.test_tflite_moves import concatenated, constant
from ..compiler.test_tflite_transpose_conv import transposed
from ..support.tflite_files import Network

MACHINE = preset("tiny").replace(
    name="tiny-tflite-all", requantize_mode="tflite", transposer=True,
    special={"lanes": 1, "softmax": "tflite"},
)
HALF = (1, 8, 8, 3)
OPERATORS = {
    "PAD", "TRANSPOSE_CONV", "HARD_SWISH", "RESIZE_NEAREST_NEIGHBOR", "STRIDED_SLICE", "SPLIT",
    "LEAKY_RELU", "TANH", "MUL", "SUB", "CONCATENATION", "MEAN",
}


def halves(network):
    """SPLIT of channels into two tensors."""
    axis = constant(network, "axis", 3)
    given = network.writer.graph.tensors[network.last].quantization
    parts = [
        network.writer.tensor(f"part{place}", HALF, network.kind, np.float32(given.scale[0]),
                              given.zeroPoint[0])
        for place in range(2)
    ]
    network.writer.operator(
        "SPLIT", [axis, network.last], parts, "Split", 2 if network.kind == "int8" else 1,
        numSplits=2,
    )
    return parts


def hyperbolic(network, x):
    """TANH, whose result has a scale of its own."""
    signed = network.kind == "int8"
    y = network.writer.tensor("t", HALF, network.kind, np.float32(1 / 128), 0 if signed else 128)
    network.writer.operator("TANH", [x], [y], version=2 if signed else 1)
    return y


def everything(kind):
    """A chain with two branches; results of scales that leave most codes inside their range."""
    network, signed = Network((1, 4, 3, 5), kind, seed=11), kind == "int8"
    pads = constant(network, "pads", ((0, 0), (0, 0), (1, 0), (0, 0)))
    network.add("PAD", [network.last, pads], (1, 4, 4, 5), "Pad", 2, network.last)
    transposed(network, 6, (3, 3), (2, 2), "SAME")
    network.writer.graph.tensors[network.last].quantization.scale = [np.float32(0.06)]
    network.add("HARD_SWISH", [network.last], network.shape)
    size = constant(network, "size", (12, 9))
    network.add("RESIZE_NEAREST_NEIGHBOR", [network.last, size], (1, 12, 9, 6),
                "ResizeNearestNeighbor", 3, network.last)
    bounds = [constant(network, name, values) for name, values in (
        ("begin", (0, 1, 0)), ("end", (0, 9, 6)), ("strides", (1, 1, 1)))]
    network.add("STRIDED_SLICE", [network.last, *bounds], (1, 12, 8, 6), "StridedSlice", 2,
                network.last, ellipsisMask=1)
    bounds = [constant(network, f"{name}s", values) for name, values in (
        ("begin", (0, 2)), ("end", (1, 10)), ("stride", (1, 1)))]
    network.add("STRIDED_SLICE", [network.last, *bounds], (1, 8, 8, 6), "StridedSlice", 2,
                network.last)
    left, right = halves(network)
    bent = network.add("LEAKY_RELU", [left], HALF, "LeakyRelu", 2, alpha=0.2).last
    curve = hyperbolic(network, right)
    version = 2 if signed else 1
    product = network.add("MUL", [bent, curve], HALF, "Mul", version).last
    network.add("SUB", [product, bent], HALF, "Sub", version, product)
    concatenated(network, [product, network.last], (1, 8, 8, 6), 3, product)
    if signed:
        network.conv(8, (1, 1), (8, 8))
        products(network, network.last, network.last, (1, 8, 8, 8), adjX=False, adjY=True)
    tensors, before = network.writer.graph.tensors, network.last
    mean(network, (1, 2))
    tensors[network.last].quantization = tensors[before].quantization
    return network


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_all_of_them(kind):
    file = everything(kind).file()
    rng, info = np.random.default_rng(5), np.iinfo(kind)
    drawn = rng.integers(info.min, info.max + 1, (1, 4, 3, 5)).astype(kind)
    inputs = [drawn, *([] if kind == "uint8" else list(extremes([drawn]))[2:])]
    for x in inputs:
        report = run_model(file, MACHINE, {"x": x}).report
        assert report.exact
        assert report.reference["whole"]
        assert {layer.promise for layer in report.layers} == {"runtime-exact"}
        made = {layer.op for layer in report.layers if layer.compared}
        assert made >= OPERATORS | ({"BATCH_MATMUL"} if kind == "int8" else set()), made


def test_the_codes_are_many():
    """What is compared is not all at the bounds."""
    for kind in ("int8", "uint8"):
        found = run_on_golden_machine(everything(kind).file(), MACHINE)
        assert not found.wrong
        (codes,) = found.outputs.values()
        info = np.iinfo(kind)
        assert np.unique(codes).size > 3
        assert not np.isin(codes, (info.min, info.max)).any()
