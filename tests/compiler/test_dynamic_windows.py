# SPDX-License-Identifier: Apache-2.0
"""Maxima of windows between dynamically quantized layers, and all of binary32 on the hardware."""

import numpy as np
import pytest
from onnx import helper

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnsupportedModel
from kiwicha.sim.inference import run_model

from ..support.bench import unit_simulator
from .test_dynamic import check, quantized
from .test_dynamic_conv import conv, fully_connected
from .test_dynamic_real import REAL, checked, configs, of

F32 = np.float32
node = helper.make_node
WINDOWS = {name: config.replace(pooling={"window": 3}) for name, config in REAL.items()}


@configs
@pytest.mark.parametrize("relu", ["each", "all"])
def test_pool_of_a_concatenation(tmp_path, config, relu):
    """As SqueezeNet and GoogLeNet have it: of codes, where nothing is negative."""
    rng, constants = np.random.default_rng(19), {}
    nodes = [conv("a", "x", (3, 3, 1, 1), rng, constants),
             conv("b", "x", (5, 3, 3, 3), rng, constants, pads=[1] * 4)]
    if relu == "each":
        nodes += [of("Relu", ["a"], "ra"), of("Relu", ["b"], "rb"),
                  of("Concat", ["ra", "rb"], "t", axis=1)]
    else:
        nodes += [of("Concat", ["a", "b"], "u", axis=1), of("Relu", ["u"], "t")]
    nodes += [of("MaxPool", ["t"], "p", kernel_shape=[3, 3], strides=[2, 2]),
              *fully_connected("p", 8 * 2 * 3, rng, constants)]
    kinds = checked(tmp_path, config, nodes, constants, [2, 3, 5, 7])
    assert kinds == ["dynamic_conv"] * 2 + ["dynamic_real", "pool", "dynamic"]


@pytest.mark.parametrize(("config", "relu", "pool"), [
    ("small", None, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("wide", None, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("small", "Relu", {"kernel_shape": [2, 2], "strides": [3, 3]}),
    ("wide", "LeakyRelu", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
])
def test_maxima_that_are_quantized(tmp_path, config, relu, pool):
    """The range is that of the maxima alone."""
    rng, constants = np.random.default_rng(14), {}
    nodes = [conv("a", "x", (5, 3, 3, 3), rng, constants, bias=False)]
    if relu:
        nodes.append(of(relu, ["a"], "r"))
    last = "r" if relu else "a"
    nodes += [of("MaxPool", [last], "p", **pool), conv("b", "p", (4, 5, 1, 1), rng, constants)]
    size = 4 if "pads" in pool else {2: 3, 3: 2}[pool["strides"][0]]
    nodes += fully_connected("b", 4 * size * size, rng, constants)
    model = quantized(tmp_path, nodes, constants, [2, 3, 9, 9])
    x = rng.normal(-0.5, 1, (2, 3, 9, 9)).astype(F32)
    graph, _ = check(model, WINDOWS[config], x)
    assert [n.kind for n in graph.nodes if n.kind != "view"] == [
        "dynamic_conv", "dynamic_conv", "dynamic"]


def test_stem_of_a_residual_network(tmp_path):
    """A pooled result is a summand, and quantized."""
    rng, constants = np.random.default_rng(15), {}
    nodes = [
        conv("stem", "x", (4, 3, 3, 3), rng, constants, pads=[1] * 4),
        of("Relu", ["stem"], "r"),
        of("MaxPool", ["r"], "p", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        conv("a", "p", (4, 4, 3, 3), rng, constants, pads=[1] * 4),
        of("Add", ["a", "p"], "s"), of("Relu", ["s"], "t"),
        *fully_connected("t", 4 * 5 * 4, rng, constants),
    ]
    model = quantized(tmp_path, nodes, constants, [1, 3, 9, 8])
    check(model, WINDOWS["wide"], rng.normal(size=(1, 3, 9, 8)).astype(F32))


def test_refuses_windows_that_no_machine_has(tmp_path):
    rng, constants = np.random.default_rng(16), {}
    nodes = [conv("a", "x", (4, 3, 1, 1), rng, constants),
             of("MaxPool", ["a"], "p", kernel_shape=[2, 2], dilations=[2, 2]),
             *fully_connected("p", 4 * 36, rng, constants)]
    model = quantized(tmp_path, nodes, constants, [1, 3, 8, 8])
    with pytest.raises(UnsupportedModel, match=r"MaxPool of a dynamically .* not known before"):
        legalize(lower(model))
    nodes[1] = of("MaxPool", ["a"], "p", kernel_shape=[5, 5], strides=[1, 1], pads=[1] * 4)
    model = quantized(tmp_path, nodes, constants, [1, 3, 8, 8])
    with pytest.raises(KiwichaError, match="pools before it quantizes; pooling.window is 3; 5 wou"):
        compile_graph(legalize(lower(model)), WINDOWS["wide"])


def test_simulated(tmp_path):
    """The hardware too: slopes, maxima in windows, a sum, a concatenation, parts of a layer."""
    rng, constants = np.random.default_rng(17), {"sizes": np.array([2, 3])}
    nodes = [
        conv("stem", "x", (4, 3, 2, 2), rng, constants),
        of("LeakyRelu", ["stem"], "l", alpha=0.1),
        of("MaxPool", ["l"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        conv("a", "p", (5, 4, 1, 1), rng, constants),
        node("Split", ["a", "sizes"], ["u", "v"], name="split", axis=1),
        of("Concat", ["u", "v", "p"], "t", axis=1),
        conv("b", "t", (4, 9, 1, 1), rng, constants), of("Relu", ["b"], "rb"),
        of("Add", ["rb", "p"], "s"),
        *fully_connected("s", 4 * 2 * 3, rng, constants),
    ]
    model = quantized(tmp_path, nodes, constants, [1, 3, 5, 7])
    x = rng.normal(size=(1, 3, 5, 7)).astype(F32)
    simulator = unit_simulator().name  # Icarus if it is there: no C++ to compile for one run
    report = run_model(model, WINDOWS["small"], {"x": x}, simulator=simulator).report
    assert report.exact
    assert report.reference["whole"]
