# SPDX-License-Identifier: Apache-2.0
"""Several trainings side by side on one simulated machine, and what came of them."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from kiwicha.report.training import Phase, Run, TrainingReport
from kiwicha.sim.simulation import simulated_machine
from kiwicha.sim.training.checkpoint import checkpoint_path, resume, save
from kiwicha.sim.training.loop import Epoch, Trainer
from kiwicha.sim.training.traffic import PHASES, phase_of, step_bytes

__all__ = ["Listener", "train"]

Listener = Callable[[str, int, int], None]


def train(
    trainers: Sequence[Trainer], listener: Listener, checkpoint: Path | None = None,
    again: bool = False,
) -> TrainingReport:
    """Train each to its end, as many at once as there are cores.

    Parameters
    ----------
    checkpoint : where each keeps its weights, with its seed behind the name; None for nowhere.
    again : go on from there.

    Raises
    ------
    InputError
        As `sim.training.checkpoint.resume`.
    Difference, MachineStopped, SimulatorError
        As `Trainer.run`.
    """
    first, started = trainers[0], time.monotonic()
    places = [checkpoint and checkpoint_path(checkpoint, each.plan.seed) for each in trainers]
    before = [
        resume(place, each) if again and place is not None else []
        for place, each in zip(places, trainers, strict=True)
    ]
    machine = simulated_machine(
        first.config, first.compiled.image.size, listener=lambda stage: listener(stage, 0, 0)
    )
    left = sum(each.plan.epochs - len(b) for each, b in zip(trainers, before, strict=True))
    count = _Count(listener, left)

    def run(trainer: Trainer, place: Path | None, epochs: list[Epoch]) -> list[Epoch]:
        for epoch in trainer.run(machine, len(epochs)):
            epochs.append(epoch)
            if place is not None:
                save(place, trainer, epochs)
            count(trainer, epoch)
        return epochs

    with ThreadPoolExecutor(min(len(trainers), os.cpu_count() or 1)) as pool:
        histories = list(pool.map(run, trainers, places, before))
    return _report(trainers, histories, time.monotonic() - started)


class _Count:
    """Counts the epochs of all trainings."""

    def __init__(self, listener: Listener, total: int) -> None:
        self.listener, self.total, self.done = listener, total, 0
        self.lock = threading.Lock()

    def __call__(self, trainer: Trainer, epoch: Epoch) -> None:
        with self.lock:
            self.done += 1
            self.listener("training, every step compared", self.done, self.total)


def _report(
    trainers: Sequence[Trainer], histories: Sequence[list[Epoch]], seconds: float
) -> TrainingReport:
    first = trainers[0]
    config, compiled, plan = first.config, first.compiled, first.plan
    steps = sum(epoch.steps for epochs in histories for epoch in epochs)
    cycles, macs = dict.fromkeys(PHASES, 0), dict.fromkeys(PHASES, 0)
    for each, epochs in zip(trainers, histories, strict=True):
        for epoch in epochs:
            for layer, count in epoch.cycles.items():
                cycles[phase_of(layer)] += count
            for name, count in each.macs(epoch).items():
                macs[name] += count * epoch.steps
    lanes = config.rows * config.columns
    phases = tuple(
        Phase(
            name, what, cycles[name] / steps, round(macs[name] / steps),
            # A phase may have nothing to do: the last layer alone has no errors to pass on.
            macs[name] / (lanes * max(1, cycles[name])),
        )
        for name, what in PHASES.items() if name != "UP" or plan.optimizer is not None
    )
    runs = tuple(
        Run(
            each.plan.seed, tuple(epoch.loss for epoch in epochs),
            tuple(epoch.accuracy for epoch in epochs), tuple(epoch.saturated for epoch in epochs),
            sum(sum(epoch.cycles.values()) for epoch in epochs),
            sum(epoch.steps for epoch in epochs),
            tuple(epoch.overflows for epoch in epochs),
        )
        for each, epochs in zip(trainers, histories, strict=True)
    )
    return TrainingReport(
        first.task.name, {"name": config.name, **config.to_dict()}, plan.batch, plan.epochs,
        plan.bits, len(first.data.images), len(first.data.held_images), runs, phases,
        step_bytes(compiled), compiled.timeline.total, seconds,
        None if plan.optimizer is None else asdict(plan.optimizer),
    )
