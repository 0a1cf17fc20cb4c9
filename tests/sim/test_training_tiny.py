# SPDX-License-Identifier: Apache-2.0
"""Steps of the networks of MLPerf Tiny, whole, on simulated machines: every byte the golden's."""

import numpy as np
import pytest

from kiwicha.bench.training import tiny_machine, training_steps
from kiwicha.compiler.graph.trainable import AveragePool, Convolution, Linear, Residual
from kiwicha.sim.simulation import simulated_machine
from kiwicha.sim.training import tiny
from kiwicha.sim.training.loop import Trainer
from kiwicha.sim.training.plan import Data, Plan, random_weights
from tests.compiler.test_training_branches import FILTERS

from ..support.slow import slow

_SMALL = (
    Convolution("a", 2, 10, (3, 3), 0, True, (2, 2), (1, 1, 1, 1)),
    Residual("r", (
        Convolution("b", 10, 10, (3, 3), 0, True, pads=(1, 1, 1, 1), groups=10),
        Convolution("c", 10, 10, (1, 1), 0),
    ), relu=True),
    AveragePool("p", (5, 3)), Linear("d", 10, 4, 0),
)
CASES = {
    "small": (_SMALL, (10, 6, 2), FILTERS.replace(accumulator_depth=256)),
    "dscnn": (tiny.DSCNN, tiny.DSCNN_IMAGES, tiny_machine()),
    "resnet8": (tiny.RESNET8, tiny.RESNET8_IMAGES, tiny_machine()),
}


@slow("dscnn", "resnet8")
@pytest.mark.parametrize("name", CASES)
def test_a_step(name: str) -> None:
    layers, shape, config = CASES[name]
    rng = np.random.default_rng(0)
    images = rng.integers(-127, 128, (2, *shape)).astype(np.int8)
    data = Data(images, np.array([3, 1]), images[:1], np.array([3]), 4)
    task = random_weights(name, shape, layers, 0)
    each = Trainer(task, config, Plan(batch=1, epochs=1, bits=(5,)), data)
    epoch = next(each.run(simulated_machine(config, each.compiled.image.size)))
    assert epoch.steps == 2
    measured = sum(epoch.cycles.values()) / epoch.steps
    assert measured == pytest.approx(each.compiled.timeline.total, rel=0.1)
    assert all((value != task.weights[layer]).any() for layer, value in each.weights.items())


def test_predicted() -> None:
    """At least as many as were asked for."""
    found = {(row["network"], row["depth"]): row["macs_a_cycle"] for row in training_steps().values}
    assert found["ResNet-8", 2048] >= 40
    assert found["DS-CNN", 2048] >= 30
    assert found["ResNet-8", 512] >= 32
    assert found["DS-CNN", 512] >= 23
