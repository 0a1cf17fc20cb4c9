# SPDX-License-Identifier: Apache-2.0
"""A LeNet-5 trainer in NumPy: forward, backward, Adam. Enough for the shipped model, no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["Parameters", "convolve", "fit", "forward", "initialize", "train"]

Array = NDArray[np.float32]
Parameters = dict[str, Array]  #: weight and bias tensors by ONNX initializer name
Forward = Callable[[Parameters, Array], tuple[Array, Callable[[Array], Parameters]]]
Augment = Callable[[np.random.RandomState, Array], Array]

#: weight shapes: convolutions O x I x KH x KW, fully connected O x I (Gemm with transB=1)
SHAPES: dict[str, tuple[int, ...]] = {
    "conv1": (6, 1, 5, 5),
    "conv2": (16, 6, 5, 5),
    "fc1": (120, 400),
    "fc2": (84, 120),
    "fc3": (10, 84),
}


def initialize(rng: np.random.RandomState) -> Parameters:
    """He-normal weights, zero biases. ``RandomState`` because its stream is frozen for ever."""
    parameters: Parameters = {}
    for name, shape in SHAPES.items():
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        parameters[f"{name}.weight"] = (rng.standard_normal(shape) * deviation).astype(np.float32)
        parameters[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return parameters


def convolve(
    x: Array, weight: Array, bias: Array, pad: int, stride: int = 1
) -> tuple[Array, Callable[..., Any]]:
    """Convolution as one matrix product over patches; returns (y, backward)."""
    out, _, kh, kw = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(padded, (kh, kw), axis=(2, 3))[:, :, ::stride, ::stride]
    windows = windows.transpose(0, 2, 3, 1, 4, 5)
    n, h, w = windows.shape[:3]
    patches = np.ascontiguousarray(windows).reshape(n * h * w, -1)
    flat = weight.reshape(out, -1)
    y = (patches @ flat.T + bias).reshape(n, h, w, out).transpose(0, 3, 1, 2)

    def backward(dy: Array) -> tuple[Array, Array, Array]:
        rows = np.ascontiguousarray(dy.transpose(0, 2, 3, 1)).reshape(n * h * w, out)
        cells = (rows @ flat).reshape(n, h, w, -1, kh, kw).transpose(0, 3, 1, 2, 4, 5)
        dx = np.zeros_like(padded)
        for i in range(kh):
            for j in range(kw):
                down, right = slice(i, i + stride * h, stride), slice(j, j + stride * w, stride)
                dx[:, :, down, right] += cells[..., i, j]
        inner = dx[:, :, pad : dx.shape[2] - pad, pad : dx.shape[3] - pad]
        return inner, (rows.T @ patches).reshape(weight.shape), rows.sum(axis=0)

    return y, backward


def _pool(x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """2x2 max pooling, stride 2; returns (y, backward)."""
    n, c, h, w = x.shape
    cells = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    cells = cells.reshape(n, c, h // 2, w // 2, 4)
    first = np.eye(4, dtype=np.float32)[cells.argmax(axis=-1)]

    def backward(dy: Array) -> Array:
        dx = (first * dy[..., None]).reshape(n, c, h // 2, w // 2, 2, 2)
        return np.asarray(dx.transpose(0, 1, 2, 4, 3, 5).reshape(x.shape))

    return cells.max(axis=-1), backward


def forward(p: Parameters, x: Array) -> tuple[Array, Callable[[Array], Parameters]]:
    """Logits (N x 10) of images (N x 1 x 28 x 28), and the function from dlogits to gradients."""
    c1, conv1 = convolve(x, p["conv1.weight"], p["conv1.bias"], pad=2)
    s1, pool1 = _pool(np.maximum(c1, 0))
    c2, conv2 = convolve(s1, p["conv2.weight"], p["conv2.bias"], pad=0)
    s2, pool2 = _pool(np.maximum(c2, 0))
    inputs = [s2.reshape(len(x), -1)]
    for name in ("fc1", "fc2"):
        inputs.append(np.maximum(inputs[-1] @ p[f"{name}.weight"].T + p[f"{name}.bias"], 0))
    logits = inputs[-1] @ p["fc3.weight"].T + p["fc3.bias"]

    def backward(dy: Array) -> Parameters:
        g: Parameters = {}
        for name, value in zip(("fc3", "fc2", "fc1"), reversed(inputs), strict=True):
            g[f"{name}.weight"], g[f"{name}.bias"] = dy.T @ value, dy.sum(axis=0)
            dy = (dy @ p[f"{name}.weight"]) * (value > 0)
        # The last mask was the pooled feature map's, which is the mask of its ReLU as well.
        ds1, g["conv2.weight"], g["conv2.bias"] = conv2(pool2(dy.reshape(s2.shape)))
        _, g["conv1.weight"], g["conv1.bias"] = conv1(pool1(ds1 * (s1 > 0)))
        return g

    return logits, backward


def fit(forward: Forward, p: Parameters, images: Array, labels: NDArray[np.int64],
        rng: np.random.RandomState, *, epochs: int = 30, batch: int = 32, rate: float = 2e-3,
        augment: Augment = lambda _, images: images,
        say: Callable[[str], None] = print) -> Parameters:
    """Change ``p`` in place by Adam on cross entropy, cosine rate decay; returns ``p``.

    Bit-identical on one machine with one BLAS thread; another BLAS may differ in the last bits.

    Parameters
    ----------
    forward : (parameters, images) to (logits, function from dlogits to gradients)
    augment : changes the images of a batch at random before they are used
    """
    first = {k: np.zeros_like(v) for k, v in p.items()}
    second = {k: np.zeros_like(v) for k, v in p.items()}
    steps, step = epochs * -(-len(images) // batch), 0
    for epoch in range(epochs):
        order, loss = rng.permutation(len(images)), 0.0
        for chosen in np.split(order, range(batch, len(order), batch)):
            logits, backward = forward(p, augment(rng, images[chosen]))
            e = np.exp(logits - logits.max(axis=1, keepdims=True))
            probability = e / e.sum(axis=1, keepdims=True)
            rows = np.arange(len(chosen))
            loss -= float(np.log(probability[rows, labels[chosen]] + 1e-12).sum())
            probability[rows, labels[chosen]] -= 1
            step += 1
            now = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            for k, g in backward(probability / np.float32(len(chosen))).items():
                first[k] += np.float32(0.1) * (g - first[k])
                second[k] += np.float32(0.001) * (g * g - second[k])
                m, v = first[k] / (1 - 0.9**step), second[k] / (1 - 0.999**step)
                p[k] -= (now * m / (np.sqrt(v) + 1e-8)).astype(np.float32)
        say(f"epoch {epoch + 1:2d}/{epochs}: loss {loss / len(images):.4f}")
    return p


def train(images: Array, labels: NDArray[np.int64], *, epochs: int = 30, seed: int = 1,
          say: Callable[[str], None] = print) -> Parameters:
    """Train LeNet-5 from scratch; same seed, same weights (see `fit`)."""
    rng = np.random.RandomState(seed)
    return fit(forward, initialize(rng), images, labels, rng, epochs=epochs, say=say)
