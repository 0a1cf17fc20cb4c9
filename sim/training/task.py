# SPDX-License-Identifier: Apache-2.0
"""What is trained: a network of our own from random weights, or a quantized model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import Graph
from kiwicha.compiler.graph.optimizing import Units
from kiwicha.compiler.graph.trainable import Network
from kiwicha.compiler.graph.training import IMAGES, LABELS, LOGITS, training_graph
from kiwicha.golden.training import StepResult, evaluate_step
from kiwicha.sim.training.units import network_units

__all__ = ["NetworkTask", "Task", "Weights", "right_share"]

Weights = dict[str, NDArray[np.int8]]
"""By the names of tensors."""


class Task(Protocol):
    """Steps of training as graphs.

    Members
    -------
    name : for people; identity : plain values that have to be the same to go on with weights.
    images : name of the input with what is learned from, codes of 8 bits.
    weights : at the beginning; units : exponents that optimizers need.
    """

    @property
    def name(self) -> str: ...
    @property
    def identity(self) -> Any: ...
    @property
    def images(self) -> str: ...
    @property
    def weights(self) -> Weights: ...
    @property
    def units(self) -> Units: ...

    def graph(self, batch: int, bits: int) -> Graph:
        """Return a step of ``batch`` images whose gradients keep ``bits``."""

    def exponent(self, golden: StepResult) -> int:
        """Return the exponent of the logits of a step."""


@dataclass(frozen=True, eq=False)
class NetworkTask:
    """A network of our own; raises as `training_graph`."""

    network: Network
    weights: Weights
    images: str = IMAGES

    @property
    def name(self) -> str:
        """Of the network."""
        return self.network.name

    @property
    def identity(self) -> Any:
        """Its layers, as text."""
        return [repr(layer) for layer in self.network.layers]

    @property
    def units(self) -> Units:
        """Of its layers."""
        return network_units(self.network)

    def graph(self, batch: int, bits: int) -> Graph:
        """Return a step."""
        return training_graph(self.network, batch, bits)

    def exponent(self, golden: StepResult) -> int:
        """Return what the shifts made."""
        return golden.exponents[LOGITS]


def right_share(
    task: Task, weights: Mapping[str, NDArray[np.int8]], images: NDArray[Any],
    labels: NDArray[np.int64],
) -> float:
    """Return the share of images whose greatest logit is that of their label; all are one batch."""
    inputs = {task.images: images, LABELS: np.zeros(len(images), np.uint8), **weights}
    logits = evaluate_step(task.graph(len(images), 1), inputs).tensors[LOGITS]
    return float((logits.argmax(axis=1) == labels).mean())
