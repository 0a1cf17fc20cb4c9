# SPDX-License-Identifier: Apache-2.0
"""Networks that learn on simulated machines: the same weights on each, every byte the golden's."""

from dataclasses import replace

import numpy as np
import pytest

from kiwicha.compiler.graph.trainable import (
    AveragePool,
    Bias,
    Convolution,
    Linear,
    Network,
    Residual,
)
from kiwicha.golden import training
from kiwicha.report.training import phase_table, traffic_table
from kiwicha.sim.simulation import MachineStopped, simulated_machine
from kiwicha.sim.steps import run_steps
from kiwicha.sim.training import learner
from kiwicha.sim.training.checkpoint import checkpoint_path, save
from kiwicha.sim.training.loop import Difference, Trainer
from kiwicha.sim.training.plan import Data, Plan, random_network, random_weights
from kiwicha.sim.training.run import train
from kiwicha.sim.training.task import NetworkTask
from tests.compiler.test_training import NARROW, UNEQUAL

PLAN = Plan(batch=4, epochs=2, bits=(5, 3), seed=3)
MACHINES = {each.name: each for each in (NARROW, UNEQUAL)}


def clusters(inputs: tuple[int, ...]) -> Data:
    """Two classes of noisy images, so that there is something to learn."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(-80, 80, (2, *inputs))
    labels = np.arange(22) % 2
    images = centres[labels] + rng.normal(0, 15, (22, *inputs))
    codes = np.clip(np.rint(images), -127, 127).astype(np.int8)
    return Data(codes[:12], labels[:12], codes[12:], labels[12:], 2)


def convolution() -> NetworkTask:
    network = Network("convolution", (6, 6, 1), (
        Convolution("a", 1, 5, (3, 3), -8, True, (1, 1), (1, 1, 1, 1)), AveragePool("p", (2, 2)),
        Convolution("b", 5, 6, (2, 2), -8, True), Linear("c", 24, 2, -8),
    ))
    rng = np.random.default_rng(1)
    weights = {
        name: rng.integers(-90, 91, shape).astype(np.int8)
        for name, shape in network.weights.items()
    }
    return NetworkTask(network, weights)


def branches() -> NetworkTask:
    layers = (
        Convolution("a", 1, 6, (3, 3), 0, True, (2, 2), (1, 1, 1, 1)),
        Residual("r", (
            Convolution("b", 6, 6, (3, 3), 0, True, pads=(1, 1, 1, 1), groups=6),
            Convolution("c", 6, 6, (1, 1), 0), Bias("e", 6, -10),
        ), relu=True),
        AveragePool("p", (3, 3)), Linear("d", 6, 2, 0),
    )
    return random_weights("branches", (6, 6, 1), layers, 5)


TASKS = {
    "linear": lambda: random_network("linear", (9, 7, 2), 3), "convolution": convolution,
    "branches": branches,
}


def trainer(task: str, config=NARROW, plan: Plan = PLAN) -> Trainer:
    made = TASKS[task]()
    return Trainer(made, config, plan, clusters(made.network.images))


def simulated(each: Trainer):
    return simulated_machine(each.config, each.compiled.image.size)


@pytest.mark.parametrize("task", TASKS)
def test_weights_do_not_depend_on_the_machine(task: str) -> None:
    """Each byte is compared on the way, and at the end the machines with each other."""
    found = []
    for config in MACHINES.values():
        each = trainer(task, config)
        epochs = list(each.run(simulated(each)))
        assert [epoch.number for epoch in epochs] == [1, 2]
        assert all(epoch.steps == 3 and min(epoch.cycles.values()) > 0 for epoch in epochs)
        found.append((each.weights, [epoch.loss for epoch in epochs]))
    (first, losses), (second, others) = found
    assert losses == others
    assert losses[1] < losses[0]
    for name, value in first.items():
        assert np.array_equal(value, second[name])
        assert not np.array_equal(value, TASKS[task]().weights[name])


def test_cycles_are_predicted() -> None:
    each = trainer("linear")
    epoch = next(each.run(simulated(each)))
    measured = sum(epoch.cycles.values()) / epoch.steps
    # Small programs on a small machine: what is between instructions weighs.
    assert measured == pytest.approx(each.compiled.timeline.total, rel=0.1)


def test_a_training_can_be_left_and_gone_on_with(tmp_path) -> None:
    kept = tmp_path / "kept.npz"
    whole = trainer("linear")
    train([whole], lambda *_: None)
    stopped = trainer("linear")
    run = stopped.run(simulated(stopped))
    save(checkpoint_path(kept, PLAN.seed), stopped, [next(run)])
    run.close()
    gone_on = trainer("linear")
    report = train([gone_on], lambda *_: None, kept, again=True)
    assert all((gone_on.weights[name] == whole.weights[name]).all() for name in whole.weights)
    assert len(report.runs[0].loss) == 2
    assert sum(report.bytes.values()) > 0
    assert {phase.name for phase in report.phases} == {"FP", "EB", "WG", "loss"}
    assert phase_table(report).row_count == 5
    assert traffic_table(report).row_count == 7


def test_a_byte_that_differs_ends_it(monkeypatch) -> None:
    def other(graph, inputs, rate):
        found = training.evaluate_step(graph, inputs, rate)
        found.tensors["fc1:new"] = found.tensors["fc1:new"].copy()
        found.tensors["fc1:new"][2, 1] ^= 1
        return found

    monkeypatch.setattr(learner, "evaluate_step", other)
    each = trainer("linear")
    message = r"epoch 1, step 1: 'fc1:new' has 1 other bytes .* first \[2, 1\]"
    with pytest.raises(Difference, match=message):
        next(each.run(simulated(each)))


def test_a_machine_that_stops_says_why() -> None:
    each = trainer("linear")
    steps = each._steps([PLAN.order(0, 12)], 0)
    nothing = replace(steps, write_window=(steps.write_window[0], steps.write_window[0] + 64))
    with pytest.raises(MachineStopped, match="WRITE_WINDOW"):
        list(run_steps(simulated(each), nothing))
