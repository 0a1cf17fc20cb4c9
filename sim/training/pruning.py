# SPDX-License-Identifier: Apache-2.0
"""Training that prunes half-way, after Guo et al.: at an epoch masks by L2 norm, which stay.

Filters that go leave a smaller network, of which the machine computes and updates what is left.
Single weights have masks in memory: they are 0, and their gradients become 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kiwicha.compiler.graph.graph import Graph
from kiwicha.compiler.graph.pruned import compact, compact_network, expand
from kiwicha.compiler.graph.trainable import Bias, Network, Residual
from kiwicha.compiler.graph.training import training_graph
from kiwicha.compiler.graph.training_tape import mask_of
from kiwicha.errors import InputError
from kiwicha.golden.pruning import filter_masks, weight_masks
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.simulation import SimulatedMachine
from kiwicha.sim.training.loop import Epoch, Trainer
from kiwicha.sim.training.plan import Data, Plan
from kiwicha.sim.training.task import NetworkTask, Weights, right_share

__all__ = ["PrunedTrainer", "Pruning"]

Groups = Literal["filters", "weights"]


@dataclass(frozen=True)
class Pruning:
    """How much goes, and when.

    Members
    -------
    fraction : of the groups of each layer; of filters, each layer but the last.
    at : epochs before it.
    groups : filters, all that leads to an output; or single weights.
    """

    fraction: float
    at: int
    groups: Groups = "filters"

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise InputError(f"--prune: is {self.fraction:g}; legal: above 0, below 1")

    def masks(self, weights: Weights) -> Weights:
        """Return the mask of each layer, 0 and 1, of what it has learned so far."""
        chosen = filter_masks if self.groups == "filters" else weight_masks
        found = chosen([*weights.values()], self.fraction)
        return {
            name: mask.astype(np.int8) for name, mask in zip(weights, found, strict=True)
        }


@dataclass(frozen=True, eq=False)
class _MaskedTask(NetworkTask):
    """A network whose weights have masks, which are among ``weights``."""

    def graph(self, batch: int, bits: int) -> Graph:
        return training_graph(self.network, batch, bits, masked=True)


@dataclass(frozen=True, eq=False)
class _PrunedTask(NetworkTask):
    """What a checkpoint has to agree with."""

    pruning: Pruning = Pruning(0.5, 0)

    @property
    def identity(self) -> Any:
        return [*super().identity, repr(self.pruning)]


class PrunedTrainer(Trainer):
    """A `Trainer` that goes on with less behind some epochs.

    Members
    -------
    weights : of the whole network, 0 where they are gone, and their masks, 0 and 1.
    after : the trainer behind the pruning, None before.

    Raises
    ------
    InputError
        Where the epoch of the pruning is none of the plan's; for other optimizers than NITI's, and
        filters of networks with branches, biases, groups.
    KiwichaError
        Where the network does not fit the machine; before anything is built.
    """

    def __init__(
        self, task: NetworkTask, config: AcceleratorConfig, plan: Plan, data: Data,
        pruning: Pruning,
    ) -> None:
        if not 0 <= pruning.at < plan.epochs:
            raise InputError(f"--prune-at: is {pruning.at}; legal: 0 to {plan.epochs - 1}")
        if plan.optimizer is not None:
            raise InputError(f"--prune: only with --optimizer niti; is {plan.optimizer.name}")
        if pruning.groups == "filters":
            _check_filters(task.network)
        super().__init__(task, config, plan, data)
        self.pruning, self._names = pruning, [*task.weights]
        self.task = _PrunedTask(task.network, task.weights, pruning=pruning)
        self.after: Trainer | None = None
        self.weights.update({
            mask_of(name): np.ones(self.weights[name].shape, np.int8) for name in self._names
        })
        if pruning.groups == "weights":  # the greater of both graphs has to fit, too
            self._trainer({name: self.weights[mask_of(name)] for name in self._names})

    def run(
        self, machine: SimulatedMachine, first: int = 0, last: int | None = None
    ) -> Iterator[Epoch]:
        """Yield each epoch, as `Trainer.run`."""
        at, end = self.pruning.at, self.plan.epochs if last is None else last
        if first < at:
            before = Trainer(self._plain(), self.config, self.plan, self.data)
            for epoch in before.run(machine, first, min(at, end)):
                self.weights.update(before.weights)
                yield epoch
        if end <= at:
            return
        if first <= at:
            masks = self.pruning.masks({name: self.weights[name] for name in self._names})
            self.weights.update({mask_of(name): mask for name, mask in masks.items()})
            self.weights.update({n: self.weights[n] * mask for n, mask in masks.items()})
        masks = {name: self.weights[mask_of(name)] for name in self._names}
        self.after = self._trainer(masks)
        for epoch in self.after.run(machine, max(first, at), end):
            found = self.after.weights
            self.weights.update({
                name: expand(found[name], masks[name] > 0)
                if self.pruning.groups == "filters" else found[name]
                for name in self._names
            })
            yield epoch

    def macs(self, epoch: Epoch) -> dict[str, int]:
        """Return those of what is left, behind the pruning."""
        left = epoch.number > self.pruning.at and self.after is not None
        return self.after.macs(epoch) if left and self.after else super().macs(epoch)

    @property
    def pruned(self) -> str:
        """What went, and what a step costs by the prediction, in one sentence."""
        masks = [self.weights[mask_of(name)] for name in self._names]
        left, all_ = sum(int(mask.sum()) for mask in masks), sum(mask.size for mask in masks)
        now = (self.after or self).compiled.timeline.total
        return (
            f"seed {self.plan.seed}: behind epoch {self.pruning.at} {all_ - left:,} of {all_:,} "
            f"weights went; a step takes {now:,} cycles instead of "
            f"{self.compiled.timeline.total:,} (predicted)"
        )

    def accuracy(self) -> float:
        """Return the share of the held-out images that the network gets right."""
        data = self.data
        return right_share(self._plain(), self.weights, data.held_images, data.held_labels)

    def _plain(self) -> NetworkTask:
        """Return the network with the weights that it has now."""
        task = self.task
        assert isinstance(task, NetworkTask)
        return NetworkTask(task.network, {name: self.weights[name] for name in self._names})

    def _trainer(self, masks: Weights) -> Trainer:
        """Return who goes on with what is left."""
        task = self._plain()
        if self.pruning.groups == "weights":
            given = {mask_of(name): mask for name, mask in masks.items()}
            made: NetworkTask = _MaskedTask(task.network, {**task.weights, **given})
        else:
            kept = {name: mask > 0 for name, mask in masks.items()}
            made = NetworkTask(
                compact_network(task.network, kept),
                {name: compact(value, kept[name]) for name, value in task.weights.items()},
            )
        return Trainer(made, self.config, self.plan, self.data)


def _check_filters(network: Network) -> None:
    """Raise InputError where outputs of a layer cannot go alone."""
    for layer in network.layers:
        if isinstance(layer, Residual | Bias) or getattr(layer, "groups", 1) > 1:
            raise InputError(
                f"--prune: {network.name} has '{layer.name}', whose outputs belong to those of "
                "another layer; legal: digits, digits-lenet5, or --prune-groups weights"
            )
