# SPDX-License-Identifier: Apache-2.0
"""Programs of training steps, run by the golden machine: every tensor is the golden model's."""

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.graph.trainable import (
    AveragePool,
    Bias,
    Clip,
    Convolution,
    Linear,
    MaxPool,
    Network,
    Residual,
)
from kiwicha.compiler.graph.training import training_graph
from kiwicha.errors import KiwichaError, UnfitMachine
from kiwicha.golden.machine import Machine
from kiwicha.golden.training import evaluate_step
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

NARROW = AcceleratorConfig(
    name="narrow", rows=4, columns=4, axi_data_width=64, activation_bytes=4096, weight_bytes=4096,
    accumulator_depth=64, output_bytes=2048, parameter_channels=64, requantize_lanes=2,
    transposer=True, special={"lanes": 1, "bytes": 1024}, residual={"tables": 2},
    training={"classes": 16},
)
UNEQUAL = NARROW.replace(
    name="unequal", rows=8, columns=16, axi_data_width=128, weight_bytes=8192,
    activation_bytes=8192, accumulator_depth=128, requantize_lanes=4, special={"lanes": 2},
)
CONFIGS = {each.name: each for each in (NARROW, UNEQUAL, preset("training"))}

SAME, DOWN = (1, 1, 1, 1), (2, 2)
NETWORKS = {
    "linear": Network("linear", (20,), (Linear("a", 20, 17, -9, True), Linear("b", 17, 5, -7))),
    "one layer": Network("one layer", (9,), (Linear("a", 9, 3, -9),)),
    "no relu": Network("no relu", (12,), (
        Linear("a", 12, 6, -9), Linear("b", 6, 9, -6, True), Linear("c", 9, 4, -8),
    )),
    "convolution": Network("convolution", (6, 7, 3), (
        Convolution("a", 3, 5, (3, 3), -8, True, pads=SAME), Linear("b", 210, 4, -9),
    )),
    "one channel": Network("one channel", (9, 10, 1), (
        Convolution("a", 1, 6, (5, 3), -8, True), Convolution("b", 6, 1, (2, 2), -7),
        Linear("c", 28, 3, -9),
    )),
    "strides": Network("strides", (9, 8, 2), (
        Convolution("a", 2, 4, (3, 3), -8, True, DOWN, SAME),
        Convolution("b", 4, 6, (3, 2), -8, True, DOWN, (1, 0, 1, 1)), Linear("c", 36, 3, -9),
    )),
    "wide strides": Network("wide strides", (6, 6, 4), (
        Convolution("a", 4, 4, (2, 2), -8, True), Convolution("b", 4, 5, (1, 1), -8, True, (3, 3)),
        Linear("c", 20, 3, -9),
    )),
    "pooling": Network("pooling", (8, 8, 1), (
        Convolution("a", 1, 6, (3, 3), -8, True, pads=SAME), AveragePool("p", (2, 2)),
        Convolution("b", 6, 8, (3, 3), -8), AveragePool("q", (2, 1)), Linear("c", 16, 10, -9),
    )),
    "maxima": Network("maxima", (8, 8, 1), (
        Convolution("a", 1, 6, (3, 3), -8, True, pads=SAME), MaxPool("p", (2, 2)),
        Convolution("b", 6, 8, (3, 3), -8), MaxPool("q", (2, 1)), Linear("c", 16, 10, -9),
    )),
}


def random_inputs(network: Network, batch: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    given = {
        "images": rng.integers(-127, 128, (batch, *network.images)).astype(np.int8),
        "labels": rng.integers(0, network.shapes[-1][0], batch).astype(np.uint8),
    }
    for name, shape in network.weights.items():
        given[name] = rng.integers(-127, 128, shape).astype(np.int8)
    return given


@pytest.mark.parametrize("machine", CONFIGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_step(machine: str, name: str) -> None:
    network, batch = NETWORKS[name], 1 + len(name) % 4
    check_step(network, CONFIGS[machine], batch)
    step = evaluate_step(
        training_graph(network, batch, 5), random_inputs(network, batch, len(network.name))
    )
    assert (step.saturated > 0) == (name != "one layer")


def check_step(network: Network, config: AcceleratorConfig, batch: int) -> CompiledModel:
    """Compare every tensor that a step's program leaves in memory; return the program."""
    graph = training_graph(network, batch, 5)
    inputs = random_inputs(network, batch, len(network.name))
    step = evaluate_step(graph, inputs)
    golden = step.tensors
    compiled = compile_graph(graph, config)
    run = Machine(config, compiled.load(inputs), compiled.read_window, compiled.write_window)
    run.run(compiled.words)
    for node in graph.nodes:
        if node.kind != "view" and node.y.name in compiled.addresses:  # else only on chip
            found = compiled.read(run.memory, node.y)
            assert np.array_equal(found, golden[node.y.name]), node.name
    assert run.state.clamped == step.saturated
    assert any((golden[f"{layer}:new"] != inputs[layer]).any() for layer in network.weights)
    return compiled


def test_weights_lie_where_they_may_be_written() -> None:
    compiled = compile_graph(training_graph(NETWORKS["linear"], 2, 5), NARROW)
    base, limit = compiled.write_window
    for name in ("a", "b"):
        assert base <= compiled.addresses[name] < limit
        assert compiled.addresses[name] == compiled.addresses[f"{name}:new"]
    assert max(compiled.addresses["images"], compiled.addresses["labels"]) < base


def test_macs_are_those_of_three_products() -> None:
    """EB and WG have as many as FP; nobody asks for the errors of images."""
    compiled = compile_graph(training_graph(NETWORKS["linear"], 3, 5), NARROW)
    assert compiled.macs == 3 * (2 * 20 * 17 + 3 * 17 * 5)


LAST = Linear("b", 1, 2, 0)


def cell(name: str) -> Convolution:
    return Convolution(name, 2, 2, (1, 1), 0)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: Network("n", (4,), (Linear("a", 5, 3, 0),)), "a: takes 5 inputs; there are 4"),
        (
            lambda: Network("n", (4,), (Linear("a", 4, 3, 0, True),)),
            "n: the last layer is to be a linear one without ReLU",
        ),
        (lambda: Network("n", (), ()), "n: the last layer is to be a linear one without ReLU"),
        (lambda: Network("n", (4,), (Linear("a", 4, 257, 0),)), "a: 257 classes; legal: 1 to 256"),
        (
            lambda: Network("n", (3, 3, 2), (Convolution("a", 3, 2, (1, 1), 0), LAST)),
            r"a: takes images of 3 channels, not \(3, 3, 2\)",
        ),
        (
            lambda: Network("n", (3, 3, 3), (Convolution("a", 3, 2, (4, 4), 0), LAST)),
            r"a: 3x3 pixels have no window of \(4, 4\)",
        ),
        (
            lambda: Network("n", (3, 4, 3), (AveragePool("p", (2, 2)), LAST)),
            r"p: \(3, 4, 3\) is no whole number of windows of \(2, 2\)",
        ),
        (
            lambda: Clip("c", 5, 5),
            "c: bounds are 5 and 5; legal: -127 to 127, the low one below the high one",
        ),
        (
            lambda: Network("n", (2,), (Bias("b", 3, 0), LAST)), "b: has 3 channels; there are 2"
        ),
        (lambda: Residual("r", ()), "r: a sum needs a layer in its body"),
        (
            lambda: Network("n", (3, 3, 2), (
                Residual("r", (Convolution("a", 2, 2, (2, 2), 0),)), Linear("b", 8, 2, 0),
            )),
            r"r: branches of \(2, 2, 2\) and \(3, 3, 2\) have no sum",
        ),
        (
            lambda: Network("n", (1, 1, 3), (Convolution("a", 3, 4, (1, 1), 0, groups=2), LAST)),
            "a: 2 groups do not divide 3 and 4 channels",
        ),
        (
            lambda: Network("n", (4,), (Linear("a", 4, 4, 0), Linear("a", 4, 2, 0))),
            "n: several layers are called 'a'",
        ),
        (
            lambda: training_graph(Network("n", (1, 1, 2), (
                Residual("r", (
                    Residual("s", (cell("a"), cell("b")), (cell("c"),)), cell("d"),
                ), (cell("e"),)), Linear("g", 2, 2, 0),
            )), 1, 5),
            "a: sums inside sums have more exponents at once than the machine's 3",
        ),
        (lambda: training_graph(NETWORKS["linear"], 0, 5), "batch is 0; legal: at least 1"),
        (lambda: training_graph(NETWORKS["linear"], 1, 8), "bits is 8; legal: 1 to 7"),
    ],
)
def test_refusals(network, message: str) -> None:
    with pytest.raises(KiwichaError, match=f"^{message}$"):
        network()


def test_a_machine_that_does_not_train_is_named() -> None:
    with pytest.raises(UnfitMachine, match=r"training\.classes"):
        compile_graph(training_graph(NETWORKS["linear"], 1, 5), preset("default"))
