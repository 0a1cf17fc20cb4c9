# SPDX-License-Identifier: Apache-2.0
"""A training in the golden model: graphs of its steps, what they change, and one step more."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import Graph
from kiwicha.compiler.graph.optimizing import Phase, optimized
from kiwicha.compiler.graph.training import LABELS, LOGITS
from kiwicha.errors import InputError
from kiwicha.golden.training import StepResult, evaluate_step, loss_of
from kiwicha.machine.optimizer import join_state, split_state
from kiwicha.sim.training.optimizer import initial_state
from kiwicha.sim.training.plan import Data, Plan
from kiwicha.sim.training.task import Task, right_share

__all__ = ["Learner", "Made"]


@dataclass(frozen=True, eq=False)
class Made:
    """A step: which of the graphs it was, the register ``update_rate``, what came of it, and the
    loss before it."""

    variant: int
    rate: int
    result: StepResult
    loss: float


class Learner:
    """What is learned, without a machine.

    Parameters
    ----------
    beat : bytes of the memory port of which the optimizer's state has the layout.

    Members
    -------
    graphs : the steps that there are: by the bits that NITI's gradients keep, or by what becomes
        of a batch's gradients.
    weights : int8; state : what an optimizer keeps, as it lies in memory. Both as they are now.

    Raises
    ------
    InputError
        For a batch that is larger than the data, and a learning rate that no format holds.
    """

    def __init__(self, task: Task, plan: Plan, data: Data, beat: int = 16) -> None:
        self.task, self.plan, self.data, self.beat = task, plan, data, beat
        self.weights = {name: value.copy() for name, value in task.weights.items()}
        self.state: dict[str, NDArray[np.uint8]] = {}
        self.steps = len(plan.order(0, len(data.images)))  #: of an epoch
        if plan.optimizer is None:
            self._keys: list[Any] = sorted({plan.bits_in(epoch) for epoch in range(plan.epochs)})
            self.graphs = [task.graph(plan.batch, bits) for bits in self._keys]
            self.rates = np.zeros(plan.epochs * self.steps, np.int64)
        else:
            self._keys = [*dict.fromkeys(map(self._phase, range(plan.optimizer.accumulate)))]
            self.graphs = [self._optimized(phase) for phase in self._keys]
            self.rates = self._rates()
            self._begin()

    def _optimized(self, phase: Phase) -> Graph:
        plan, optimizer, units = self.plan, self.plan.optimizer, self.task.units
        assert optimizer is not None
        return optimized(
            self.task.graph(plan.batch, 1), units, optimizer.formats(units), plan.batch,
            self.beat, phase, optimizer.accumulate,
        )

    def _rates(self) -> NDArray[np.int64]:
        """Return the register for each batch of all epochs."""
        plan, optimizer = self.plan, self.plan.optimizer
        assert optimizer is not None
        batches = np.arange(plan.epochs * self.steps)
        taken = batches // optimizer.accumulate  # steps before
        if batches.size < optimizer.accumulate:
            raise InputError(
                f"--accumulate is {optimizer.accumulate}; there are {batches.size} batches"
            )
        first = np.unique(taken)
        part = first * optimizer.accumulate / batches.size
        return optimizer.words(self.task.units, first + 1, part)[taken]

    def _begin(self) -> None:
        optimizer = self.plan.optimizer
        assert optimizer is not None
        for place in self.graphs[0].updates.values():
            if place.endswith(":state"):
                codes = self.weights[place.removesuffix(":state")]
                self.state[place] = initial_state(codes, optimizer.moments, self.beat)
            elif place.endswith(":sums"):
                count = self.weights[place.removesuffix(":sums")].size
                self.state[place] = np.zeros(4 * count, np.uint8)

    def _phase(self, batch: int) -> Phase:
        """Return what becomes of a batch's gradients; batches are counted through all epochs."""
        assert self.plan.optimizer is not None
        several, place = self.plan.optimizer.accumulate, 0
        if several == 1:
            return "step"
        place = batch % several
        return "begin" if place == 0 else "last" if place == several - 1 else "add"

    def variant(self, epoch: int, step: int) -> int:
        """Return the number of the graph of a step; both from 0 on."""
        if self.plan.optimizer is None:
            return self._keys.index(self.plan.bits_in(epoch))
        return self._keys.index(self._phase(epoch * self.steps + step))

    def inputs(self, batch: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return all that a step reads: images and labels by their numbers, weights and state."""
        labels = self.data.labels[batch].astype(np.uint8)
        return {
            self.task.images: self.data.images[batch], LABELS: labels, **self.weights,
            **self.state,
        }

    def step(self, epoch: int, step: int, batch: NDArray[np.int64]) -> Made:
        """Make a step in the golden model, and keep what it changed."""
        variant, rate = self.variant(epoch, step), int(self.rates[epoch * self.steps + step])
        graph, inputs = self.graphs[variant], self.inputs(batch)
        result = evaluate_step(graph, inputs, rate)
        for name, place in graph.updates.items():
            kept = self.weights if place in self.weights else self.state
            kept[place] = result.tensors[name]
        exponent = self.task.exponent(result)
        loss = loss_of(result.tensors[LOGITS], exponent, self.data.labels[batch])
        return Made(variant, rate, result, loss)

    def accuracy(self) -> float:
        """Return the share of the held-out images that the network gets right."""
        data = self.data
        return right_share(self.task, self.weights, data.held_images, data.held_labels)

    @property
    def kept(self) -> dict[str, NDArray[Any]]:
        """What is to be kept to go on with, on any machine: the state without its layout."""
        found = dict[str, NDArray[Any]]()
        for name, value in self.state.items():
            if name.endswith(":sums"):
                found[name] = value.view("<i4")
                continue
            count = self.weights[name.removesuffix(":state")].size
            values = split_state(value, count, *self._moments, self.beat)
            found[name] = np.stack(values)
        return {**self.weights, **found}

    @kept.setter
    def kept(self, values: dict[str, NDArray[Any]]) -> None:
        self.weights = {name: values[name] for name in self.weights}
        for name in self.state:
            self.state[name] = (
                values[name].astype("<i4").view(np.uint8) if name.endswith(":sums")
                else join_state(list(values[name]), self.beat)
            )

    @property
    def _moments(self) -> tuple[bool, bool]:
        optimizer = self.plan.optimizer
        return (False, False) if optimizer is None else optimizer.moments
