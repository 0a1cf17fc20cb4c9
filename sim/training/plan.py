# SPDX-License-Identifier: Apache-2.0
"""What is to be learned: data, layers, batches in their order, and how fast.

Everything follows from the plan and its seed: initial weights, the order of the images in each
epoch, and the bits that gradients keep. Random numbers come from NumPy's ``RandomState``, whose
stream is frozen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log2, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.trainable import Bias, Convolution, Layer, Linear, Network, Residual
from kiwicha.compiler.graph.training_nodes import LIMIT
from kiwicha.errors import InputError
from kiwicha.sim.training.optimizer import Optimizer
from kiwicha.sim.training.task import NetworkTask, Weights

__all__ = ["Data", "Plan", "images_of", "random_network", "random_weights"]

_EXPONENT = -7  # of images


@dataclass(frozen=True, eq=False)
class Data:
    """Images and labels, to learn from and held out.

    Members
    -------
    images, held_images : codes of 8 bits [N, ...]; labels, held_labels : [N], 0 to ``classes`` - 1.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    held_images: NDArray[Any]
    held_labels: NDArray[np.int64]
    classes: int

    def __post_init__(self) -> None:
        for what, labels in (("labels", self.labels), ("held-out labels", self.held_labels)):
            if labels.size and not 0 <= labels.min() <= labels.max() < self.classes:
                bad = int(np.flatnonzero((labels < 0) | (labels >= self.classes))[0])
                raise InputError(
                    f"{what}: number {bad} is {labels[bad]}; legal: 0 to {self.classes - 1}"
                )


def images_of(values: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return numbers from -1 to 1 as int8 with the exponent -7 that `random_network` expects.

    Raises
    ------
    InputError
        For numbers that are not finite, or beyond -1 to 1.
    """
    wrong = ~(np.abs(values) <= 1)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InputError(f"images: element {list(place)} is {values[place]}; legal: -1 to 1")
    return np.rint(values * LIMIT).astype(np.int8)


@dataclass(frozen=True)
class Plan:
    """How it is learned.

    Members
    -------
    batch : images of a step; what is left of an epoch is left out.
    epochs : times that all images are seen.
    bits : that gradients keep, 1 to 7 (NITI's learning rate), in equal parts of the epochs.
    seed : of the initial weights and the order.
    optimizer : what moves the weights; None for NITI's difference, which ``bits`` are for.
    """

    batch: int = 16
    epochs: int = 30
    bits: tuple[int, ...] = (5, 4, 3, 2)
    seed: int = 0
    optimizer: Optimizer | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "epochs"):
            if (value := getattr(self, name)) < 1:
                raise InputError(f"{name} is {value}; legal: at least 1")
        if not self.bits or not all(1 <= bits <= 7 for bits in self.bits):
            raise InputError(f"bits are {list(self.bits)}; legal: numbers from 1 to 7")

    def bits_in(self, epoch: int) -> int:
        """Return the bits that gradients keep in an epoch, of which the first is 0."""
        return self.bits[min(epoch * len(self.bits) // self.epochs, len(self.bits) - 1)]

    def order(self, epoch: int, images: int) -> NDArray[np.int64]:
        """Return the numbers of the images of an epoch [steps, batch].

        Raises
        ------
        InputError
            Where there are fewer images than a batch has.
        """
        if images < self.batch:
            raise InputError(f"batch is {self.batch}; there are {images} images")
        rng = np.random.RandomState([self.seed & 0xFFFFFFFF, 1, epoch])
        order = rng.permutation(images)
        return order[: images // self.batch * self.batch].reshape(-1, self.batch)


def random_network(
    name: str, sizes: tuple[int, ...], seed: int, room: int = 0
) -> NetworkTask:
    """Return fully connected layers with ReLU in between, and random weights.

    Parameters
    ----------
    sizes : inputs, then outputs of each layer.
    room : as of `random_weights`.
    """
    pairs = list(enumerate(zip(sizes, sizes[1:], strict=False), 1))
    layers = [
        Linear(f"fc{index}", inputs, outputs, 0, relu=index < len(pairs))
        for index, (inputs, outputs) in pairs
    ]
    return random_weights(name, sizes[:1], layers, seed, room)


def random_weights(
    name: str, images: tuple[int, ...], layers: Sequence[Layer], seed: int, room: int = 0
) -> NetworkTask:
    """Return a network with random weights (Glorot, uniform); exponents are those of the weights,
    whatever the layers have.

    Parameters
    ----------
    room : bits by which weights may grow before they saturate.
    """
    rng, weights = np.random.RandomState([seed & 0xFFFFFFFF, 0]), Weights()

    def drawn(layer: Layer) -> Layer:
        if isinstance(layer, Residual):
            shortcut = tuple(map(drawn, layer.shortcut))
            return replace(layer, shortcut=shortcut, body=tuple(map(drawn, layer.body)))
        if isinstance(layer, Bias):
            weights[layer.name] = np.zeros(layer.weights, np.int8)
        if not isinstance(layer, Linear | Convolution):
            return layer
        taps, groups = 1, 1
        if isinstance(layer, Convolution):
            taps, groups = prod(layer.kernel), layer.groups
        bound = np.sqrt(6 * groups / (taps * (layer.inputs + layer.outputs)))
        real = rng.uniform(-1, 1, layer.weights) * bound
        exponent = ceil(log2(np.abs(real).max())) - 7 + room
        codes = np.clip(np.rint(np.ldexp(real, -exponent)), -LIMIT, LIMIT)
        weights[layer.name] = codes.astype(np.int8)
        return replace(layer, exponent=exponent)

    return NetworkTask(Network(name, images, tuple(map(drawn, layers)), _EXPONENT), weights)
