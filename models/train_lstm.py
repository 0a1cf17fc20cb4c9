# SPDX-License-Identifier: Apache-2.0
"""A recurrent network in NumPy: forward and backward; `models.train.fit` trains it.

A long short-term memory (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al.,
2000) reads an image row by row, from the top; what it remembers then is classified.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kiwicha.models.train import Parameters, fit
from kiwicha.models.train_vit import jitter

__all__ = ["CLASSES", "HIDDEN", "SIDE", "forward", "initialize", "train"]

Array = NDArray[np.float32]

SIDE, HIDDEN, CLASSES = 8, 48, 10

#: gates in the order of ONNX: input, output, forget, cell
SHAPES = {"lstm.x": (4 * HIDDEN, SIDE), "lstm.h": (4 * HIDDEN, HIDDEN), "head": (CLASSES, HIDDEN)}


def initialize(rng: np.random.RandomState) -> Parameters:
    """Weights of variance 1 / inputs, zero biases but of the forget gates, which begin open.
    ``RandomState``: its stream is frozen."""
    p: Parameters = {}
    for name, shape in SHAPES.items():
        weight = rng.standard_normal(shape) / np.sqrt(shape[1])
        p[f"{name}.weight"] = weight.astype(np.float32)
    p["lstm.bias"] = np.zeros(4 * HIDDEN, np.float32)
    p["lstm.bias"][2 * HIDDEN : 3 * HIDDEN] = 1
    p["head.bias"] = np.zeros(CLASSES, np.float32)
    return p


def forward(p: Parameters, x: Array) -> tuple[Array, Callable[[Array], Parameters]]:
    """Logits (N x 10) of images (N x 1 x 8 x 8), and the function from dlogits to gradients."""
    rows = x[:, 0].transpose(1, 0, 2)
    h = np.zeros((len(x), HIDDEN), x.dtype)
    c = np.zeros_like(h)
    steps = []
    for row in rows:
        arguments = row @ p["lstm.x.weight"].T + h @ p["lstm.h.weight"].T + p["lstm.bias"]
        i, o, f = np.split(1 / (1 + np.exp(-arguments[:, : 3 * HIDDEN])), 3, axis=1)
        g = np.tanh(arguments[:, 3 * HIDDEN :])
        before, past = c, h
        c = f * c + i * g
        shown = np.tanh(c)
        h = o * shown
        steps.append((row, past, before, i, o, f, g, shown))
    last = h
    logits = last @ p["head.weight"].T + p["head.bias"]

    def backward(dy: Array) -> Parameters:
        g = {name: np.zeros_like(p[name]) for name in p if name.startswith("lstm")}
        g["head.weight"], g["head.bias"] = dy.T @ last, dy.sum(axis=0)
        dh, dc = dy @ p["head.weight"], np.zeros_like(last)
        for row, past, before, i, o, f, new, shown in reversed(steps):
            dc = dc + dh * o * (1 - shown**2)
            d = np.concatenate([
                dc * new * i * (1 - i), dh * shown * o * (1 - o), dc * before * f * (1 - f),
                dc * i * (1 - new**2),
            ], axis=1)
            g["lstm.x.weight"] += d.T @ row
            g["lstm.h.weight"] += d.T @ past
            g["lstm.bias"] += d.sum(axis=0)
            dh, dc = d @ p["lstm.h.weight"], dc * f
        return g

    return logits, backward


def train(images: Array, labels: NDArray[np.int64], *, epochs: int = 250, seed: int = 2,
          say: Callable[[str], None] = print) -> Parameters:
    """Train from scratch on jittered images; same seed, same weights (see `models.train.fit`)."""
    rng = np.random.RandomState(seed)
    return fit(forward, initialize(rng), images, labels, rng, epochs=epochs, augment=jitter,
               say=say)
