# SPDX-License-Identifier: Apache-2.0
"""Networks whose weights an optimizer moves, on simulated machines: the same weights on each, every
byte, and what saturates, the golden's."""

from dataclasses import replace

import numpy as np
import pytest

from kiwicha.machine.optimizer import split_state
from kiwicha.sim.training.checkpoint import checkpoint_path, save
from kiwicha.sim.training.loop import Trainer
from kiwicha.sim.training.optimizer import Optimizer
from kiwicha.sim.training.plan import Plan
from kiwicha.sim.training.run import train
from tests.compiler.test_training import NARROW, UNEQUAL

from ..support.slow import slow
from .test_training import TASKS, clusters, simulated

MACHINES = [
    NARROW.replace(name="narrow-update", update={"lanes": 1}),
    UNEQUAL.replace(name="unequal-update", update={"lanes": 2}),
]
PLAN = Plan(batch=4, epochs=2, seed=3)
OPTIMIZERS = {
    "sgd": Optimizer(name="sgd", rates=(0.05, 0.01)),
    "adam": Optimizer(name="adam", rates=(0.01,), decay=1e-3),
    # Every third batch ends a step; the six of two epochs make two.
    "summed": Optimizer(name="momentum", rates=(0.05,), accumulate=3),
    # So fast that weights reach their bounds.
    "saturated": Optimizer(name="rmsprop", rates=(2.0**-4,)),
}


def trainer(task: str, optimizer: str, config=MACHINES[0]) -> Trainer:
    made = TASKS[task]()
    plan = replace(PLAN, optimizer=OPTIMIZERS[optimizer])
    return Trainer(made, config, plan, clusters(made.network.images))


@slow("convolution-sgd")
@pytest.mark.parametrize(("task", "optimizer"), [
    ("linear", "sgd"), ("linear", "adam"), ("linear", "summed"), ("linear", "saturated"),
    ("convolution", "adam"), ("convolution", "sgd"),
])
def test_weights_do_not_depend_on_the_machine(task: str, optimizer: str) -> None:
    """Each byte is compared on the way, the register too, and at the end the machines."""
    found = []
    for config in MACHINES:
        each = trainer(task, optimizer, config)
        epochs = list(each.run(simulated(each)))
        assert [epoch.number for epoch in epochs] == [1, 2]
        over = sum(epoch.overflows for epoch in epochs)
        assert (over > 0) == (optimizer == "saturated")
        found.append(each)
    first, second = (each.learner.kept for each in found)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert np.array_equal(value, second[name]), name
    for name, value in TASKS[task]().weights.items():
        assert not np.array_equal(first[name], value)


def test_a_training_can_be_left_in_the_middle_of_a_sum(tmp_path) -> None:
    kept, optimizer = tmp_path / "kept.npz", OPTIMIZERS["summed"]
    plan = replace(PLAN, optimizer=replace(optimizer, accumulate=2))  # of three batches an epoch

    def made() -> Trainer:
        task = TASKS["linear"]()
        return Trainer(task, MACHINES[0], plan, clusters(task.network.images))

    whole = made()
    train([whole], lambda *_: None)
    stopped = made()
    run = stopped.run(simulated(stopped))
    save(checkpoint_path(kept, PLAN.seed), stopped, [next(run)])
    run.close()
    gone_on = made()
    report = train([gone_on], lambda *_: None, kept, again=True)
    assert {phase.name for phase in report.phases} == {"FP", "EB", "WG", "loss", "UP"}
    assert report.bytes["moments"] > 0 < report.bytes["gradients"]
    for name, value in whole.learner.kept.items():
        assert np.array_equal(value, gone_on.learner.kept[name]), name


def test_int8_weights_are_copies() -> None:
    each = trainer("linear", "adam")
    next(each.run(simulated(each)))
    for name, codes in each.weights.items():
        state = each.learner.state[f"{name}:state"]
        w, *_ = split_state(state, codes.size, True, True, MACHINES[0].beat_bytes)
        rounded = np.clip(((w >> 23) + 1) >> 1, -127, 127)
        assert np.array_equal(rounded.reshape(codes.shape), codes)
