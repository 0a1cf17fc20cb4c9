# SPDX-License-Identifier: Apache-2.0
"""What optimizers make of the handwritten digits: accuracy in the golden model, whose bytes are the
machine's, saturated weights, bytes and predicted cycles of a step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kiwicha.bench.table import Table, say
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.machine.presets import preset
from kiwicha.sim.training.digits import HIDDEN, digits
from kiwicha.sim.training.learner import Learner
from kiwicha.sim.training.optimizer import NITI, ROOM, Optimizer
from kiwicha.sim.training.plan import Plan, random_network
from kiwicha.sim.training.traffic import step_bytes

__all__ = ["RATES", "optimizers"]

RATES = {
    "sgd": (0.3, 0.1), "momentum": (0.04, 0.01), "adagrad": (0.04, 0.02),
    "rmsprop": (0.002, 0.0005), "adam": (0.004, 0.001),
}
"""Learning rates, each for half of the epochs."""


@dataclass(frozen=True)
class _Seed:
    """What came of a seed."""

    accuracy: float
    loss: float
    bound: int
    saturated: int


def _learned(plan: Plan) -> _Seed:
    data = digits()
    room = 0 if plan.optimizer is None else ROOM
    sizes = (data.images.shape[1], *HIDDEN, data.classes)
    learner = Learner(random_network("digits", sizes, plan.seed, room), plan, data)
    losses, saturated = list[float](), 0
    for epoch in range(plan.epochs):
        losses = []
        for step, batch in enumerate(plan.order(epoch, len(data.images))):
            made = learner.step(epoch, step, batch)
            losses.append(made.loss)
            saturated += made.result.saturated
    bound = sum(int((np.abs(each) == 127).sum()) for each in learner.weights.values())
    return _Seed(learner.accuracy(), float(np.mean(losses)), bound, saturated)


def _step(optimizer: Optimizer | None) -> tuple[int, int]:
    """Return bytes and predicted cycles of a step."""
    config = preset("training")
    if optimizer is not None:
        lanes = config.axi_data_width // 64
        config = config.replace(name="training-update", update={"lanes": lanes})
    data = digits()
    sizes = (data.images.shape[1], *HIDDEN, data.classes)
    plan = Plan(epochs=1, optimizer=optimizer)
    learner = Learner(random_network("digits", sizes, 0), plan, data, config.beat_bytes)
    compiled = compile_graph(learner.graphs[0], config)
    return sum(step_bytes(compiled).values()), compiled.timeline.total


def optimizers(
    *, epochs: int = 30, seeds: int = 3, progress: Callable[[str], None] = say
) -> Table:
    """Let a network learn with each; raises InputError without scikit-learn."""
    values, rows = [], []
    for name in (NITI, *RATES):
        progress(f"optimizers: {name}, {seeds} seeds")
        optimizer = None if name == NITI else Optimizer(name=name, rates=RATES[name])
        found = [_learned(Plan(epochs=epochs, seed=s, optimizer=optimizer)) for s in range(seeds)]
        moved, cycles = _step(optimizer)
        shares = [100 * seed.accuracy for seed in found]
        values.append({
            "optimizer": name, "accuracy": shares, "loss": [seed.loss for seed in found],
            "bound": [seed.bound for seed in found], "bytes": moved, "cycles": cycles,
            "saturated": [seed.saturated for seed in found],
        })
        rates = "5 4 3 2 bits" if optimizer is None else " ".join(f"{r:g}" for r in RATES[name])
        rows.append((
            name, rates, f"{np.mean(shares):.2f}", " ".join(f"{share:.1f}" for share in shares),
            f"{np.mean([seed.loss for seed in found]):.3f}",
            f"{np.mean([seed.bound for seed in found]):.0f}",
            "" if optimizer is None else f"{np.mean([seed.saturated for seed in found]):,.0f}",
            f"{moved:,}", f"{cycles:,}",
        ))
    return Table(
        "optimizers", f"Digits, 64-{HIDDEN[0]}-10, {epochs} epochs of batches of 16",
        ("optimizer", "rates", "held-out, %", "by seed", "loss", "at a bound", "saturated",
         "bytes of a step", "predicted cycles"),
        tuple(rows),
        (
            "Golden model, random weights, means over the seeds; `kiwicha train` compares the "
            "machine with it byte by byte. At a bound: int8 weights at +-127 in the end; "
            "saturated: weights in all steps, as `update_saturated` counts them.",
        ),
        tuple(values),
    )
