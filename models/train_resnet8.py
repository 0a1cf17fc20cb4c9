# SPDX-License-Identifier: Apache-2.0
"""A small residual network in NumPy: forward and backward; `models.train.fit` trains it.

ResNet-8 as MLPerf Tiny has it (He et al., "Deep Residual Learning for Image Recognition", 2016: one
block a stage), half as wide and for one channel. It has no batch normalization: the second
convolution of each block begins at zero instead, so that a block begins as its shortcut.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kiwicha.models.train import Parameters, convolve, fit
from kiwicha.models.train_vit import jitter

__all__ = ["SHAPES", "STAGES", "forward", "initialize", "train"]

Array = NDArray[np.float32]

STAGES = (("block1", 8, 8, 1), ("block2", 8, 16, 2), ("block3", 16, 32, 2))
"""Name, channels in and out, stride."""

#: weight shapes: convolutions O x I x KH x KW, fully connected O x I (Gemm with transB=1)
SHAPES: dict[str, tuple[int, ...]] = {"stem": (8, 1, 3, 3)}
for _name, _before, _after, _stride in STAGES:
    SHAPES[f"{_name}.first"] = (_after, _before, 3, 3)
    SHAPES[f"{_name}.second"] = (_after, _after, 3, 3)
    if _stride > 1:
        SHAPES[f"{_name}.shortcut"] = (_after, _before, 1, 1)
SHAPES["head"] = (10, 32)


def initialize(rng: np.random.RandomState) -> Parameters:
    """He-normal weights but for what begins at zero. ``RandomState``: its stream is frozen."""
    p: Parameters = {}
    for name, shape in SHAPES.items():
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        weight = (rng.standard_normal(shape) * deviation).astype(np.float32)
        p[f"{name}.weight"] = weight * np.float32(not name.endswith("second"))
        p[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return p


def forward(p: Parameters, x: Array) -> tuple[Array, Callable[[Array], Parameters]]:
    """Logits (N x 10) of images (N x 1 x 28 x 28), and the function from dlogits to gradients."""
    steps, g = [], Parameters()

    def conv(name: str, x: Array, stride: int = 1) -> tuple[Array, Callable[[Array], Array]]:
        weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
        y, back = convolve(x, weight, bias, weight.shape[-1] // 2, stride)

        def backward(dy: Array) -> Array:
            dx, g[f"{name}.weight"], g[f"{name}.bias"] = back(dy)
            return np.asarray(dx)

        return y, backward

    stem, stem_back = conv("stem", x)
    x = np.maximum(stem, 0)
    for name, _, _, stride in STAGES:
        inner, first = conv(f"{name}.first", x, stride)
        y, second = conv(f"{name}.second", np.maximum(inner, 0))
        side, shortcut = conv(f"{name}.shortcut", x, stride) if stride > 1 else (x, None)
        x = np.maximum(y + side, 0)
        steps.append((x, inner, first, second, shortcut))
    mean = x.mean(axis=(2, 3))
    logits = mean @ p["head.weight"].T + p["head.bias"]
    area = x.shape[2] * x.shape[3]

    def backward(dy: Array) -> Parameters:
        g["head.weight"], g["head.bias"] = dy.T @ mean, dy.sum(axis=0)
        dx = np.broadcast_to((dy @ p["head.weight"])[:, :, None, None] / area, steps[-1][0].shape)
        for x, inner, first, second, shortcut in reversed(steps):
            dx = dx * (x > 0)
            side = dx if shortcut is None else shortcut(dx)
            dx = first(second(dx) * (inner > 0)) + side
        stem_back(dx * (stem > 0))
        return g

    return logits, backward


def train(images: Array, labels: NDArray[np.int64], *, epochs: int = 30, seed: int = 1,
          say: Callable[[str], None] = print) -> Parameters:
    """Train from scratch on jittered images; same seed, same weights (see `models.train.fit`)."""
    rng = np.random.RandomState(seed)
    return fit(forward, initialize(rng), images, labels, rng, epochs=epochs, augment=jitter,
               say=say)
