# SPDX-License-Identifier: Apache-2.0
"""A small vision transformer in NumPy: forward and backward; `models.train.fit` trains it.

The network has the pre-norm blocks of "An Image is Worth 16x16 Words" (Dosovitskiy et al., 2021),
without a class token: the classifier reads all tokens. Each stage is a function from its input to
its output and a ``backward``, which takes the output's gradient, writes the gradients of the
parameters into ``g`` and returns the input's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from kiwicha.models.train import Parameters, fit

__all__ = [
    "BLOCKS", "CLASSES", "EMBEDDING", "EPSILON", "HEADS", "HIDDEN", "PATCH", "SIDE", "TOKENS",
    "forward", "initialize", "jitter", "train",
]

Array = NDArray[np.float32]
Backward = Callable[[Array], Array]

SIDE, PATCH = 8, 2  #: pixels per side of an image and of a patch
TOKENS = (SIDE // PATCH) ** 2
EMBEDDING, HEADS, BLOCKS, HIDDEN, CLASSES = 32, 2, 2, 64, 10
EPSILON = 1e-5  #: of layer normalization
SHIFT, TURN, STRETCH = 0.7, 0.15, 0.08  #: of the training images: pixels, radians, share

#: fully connected layers, O x I (Gemm with transB=1); a patch is one row of PATCH * PATCH pixels
LINEAR: dict[str, tuple[int, int]] = {"patch": (EMBEDDING, PATCH * PATCH)}
for _block in range(BLOCKS):
    LINEAR |= {f"block{_block}.{_n}": (EMBEDDING, EMBEDDING) for _n in ("q", "k", "v", "out")}
    LINEAR[f"block{_block}.up"] = (HIDDEN, EMBEDDING)
    LINEAR[f"block{_block}.down"] = (EMBEDDING, HIDDEN)
LINEAR["head"] = (CLASSES, TOKENS * EMBEDDING)
#: these have no bias: what all keys share cancels in the softmax
BARE = {f"block{b}.k" for b in range(BLOCKS)}
NORMS = [*(f"block{b}.norm{n}" for b in range(BLOCKS) for n in (1, 2)), "norm"]


def initialize(rng: np.random.RandomState) -> Parameters:
    """Weights of variance 1 / inputs, zero biases. ``RandomState``: its stream is frozen."""
    p: Parameters = {}
    for name, shape in LINEAR.items():
        weight = rng.standard_normal(shape) / np.sqrt(shape[1])
        p[f"{name}.weight"] = weight.astype(np.float32)
        if name not in BARE:
            p[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    for name in NORMS:
        p[f"{name}.gamma"] = np.ones(EMBEDDING, np.float32)
        p[f"{name}.beta"] = np.zeros(EMBEDDING, np.float32)
    p["position"] = (rng.standard_normal((TOKENS, EMBEDDING)) * 0.1).astype(np.float32)
    return p


def _linear(p: Parameters, g: Parameters, name: str, x: Array) -> tuple[Array, Backward]:
    """Fully connected layer over the last axis."""
    weight, bias = p[f"{name}.weight"], p.get(f"{name}.bias")

    def backward(dy: Array) -> Array:
        rows = dy.reshape(-1, dy.shape[-1])
        g[f"{name}.weight"] = rows.T @ x.reshape(-1, x.shape[-1])
        if bias is not None:
            g[f"{name}.bias"] = rows.sum(axis=0)
        return np.asarray(dy @ weight)

    y = x @ weight.T
    return y if bias is None else y + bias, backward


def _norm(p: Parameters, g: Parameters, name: str, x: Array) -> tuple[Array, Backward]:
    """Layer normalization over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    factor = 1 / np.sqrt(variance + np.float32(EPSILON))
    unit, gamma = centred * factor, p[f"{name}.gamma"]

    def backward(dy: Array) -> Array:
        g[f"{name}.gamma"] = (dy * unit).reshape(-1, EMBEDDING).sum(axis=0)
        g[f"{name}.beta"] = dy.reshape(-1, EMBEDDING).sum(axis=0)
        du = dy * gamma
        along = (du * unit).mean(axis=-1, keepdims=True)
        return np.asarray(factor * (du - du.mean(axis=-1, keepdims=True) - unit * along))

    return unit * gamma + p[f"{name}.beta"], backward


def _gelu(x: Array) -> tuple[Array, Backward]:
    """GELU, x times the normal distribution function of x."""
    share = 0.5 * (1 + erf(x * np.float32(0.5**0.5)))

    def backward(dy: Array) -> Array:
        density = np.exp(-0.5 * x * x) * np.float32((2 * np.pi) ** -0.5)
        return np.asarray(dy * (share + x * density))

    return x * share, backward


def _split(x: Array) -> Array:
    """Tokens N x S x E to heads N x H x S x D."""
    return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)


def _join(x: Array) -> Array:
    """Heads N x H x S x D to tokens N x S x E."""
    return x.transpose(0, 2, 1, 3).reshape(len(x), x.shape[2], -1)


def _attention(p: Parameters, g: Parameters, name: str, x: Array) -> tuple[Array, Backward]:
    """Self-attention of all tokens, the projections included."""
    (q, q_back), (k, k_back), (v, v_back) = (_linear(p, g, f"{name}.{n}", x) for n in "qkv")
    q, k, v = _split(q), _split(k), _split(v)
    scale = np.float32(q.shape[-1] ** -0.5)
    score = q @ k.swapaxes(-1, -2) * scale
    e = np.exp(score - score.max(axis=-1, keepdims=True))
    share = e / e.sum(axis=-1, keepdims=True)
    y, out_back = _linear(p, g, f"{name}.out", _join(share @ v))

    def backward(dy: Array) -> Array:
        dy = _split(out_back(dy))
        dshare = dy @ v.swapaxes(-1, -2)
        dscore = share * (dshare - (dshare * share).sum(axis=-1, keepdims=True)) * scale
        return (q_back(_join(dscore @ k)) + k_back(_join(dscore.swapaxes(-1, -2) @ q))
                + v_back(_join(share.swapaxes(-1, -2) @ dy)))

    return y, backward


def _perceptron(p: Parameters, g: Parameters, name: str, x: Array) -> tuple[Array, Backward]:
    """Two fully connected layers with a GELU between."""
    hidden, up_back = _linear(p, g, f"{name}.up", x)
    active, gelu_back = _gelu(hidden)
    y, down_back = _linear(p, g, f"{name}.down", active)
    return y, lambda dy: up_back(gelu_back(down_back(dy)))


def forward(p: Parameters, images: Array) -> tuple[Array, Callable[[Array], Parameters]]:
    """Logits (N x 10) of images (N x 1 x 8 x 8), and the function from dlogits to gradients."""
    n, cells, g = len(images), SIDE // PATCH, Parameters()
    patches = images.reshape(n, cells, PATCH, cells, PATCH).transpose(0, 1, 3, 2, 4)
    x, patch_back = _linear(p, g, "patch", patches.reshape(n, TOKENS, -1))
    x = x + p["position"]
    residuals: list[tuple[Backward, Backward]] = []
    for block in range(BLOCKS):
        for norm, branch in (("norm1", _attention), ("norm2", _perceptron)):
            y, norm_back = _norm(p, g, f"block{block}.{norm}", x)
            y, branch_back = branch(p, g, f"block{block}", y)
            residuals.append((norm_back, branch_back))
            x = x + y
    x, last_back = _norm(p, g, "norm", x)
    logits, head_back = _linear(p, g, "head", x.reshape(n, -1))

    def backward(dy: Array) -> Parameters:
        dx = last_back(head_back(dy).reshape(n, TOKENS, EMBEDDING))
        for norm_back, branch_back in reversed(residuals):
            dx = dx + norm_back(branch_back(dx))
        g["position"] = dx.sum(axis=0)
        patch_back(dx)
        return g

    return logits, backward


def jitter(rng: np.random.RandomState, images: Array) -> Array:
    """Shift, turn and stretch each image (N x 1 x S x S) at random; bilinear, black outside."""
    n, side = len(images), images.shape[-1]
    middle = (side - 1) / 2
    turn = rng.uniform(-TURN, TURN, n)
    stretch = 1 + rng.uniform(-STRETCH, STRETCH, (n, 2))
    shift = middle + rng.uniform(-SHIFT, SHIFT, (n, 2))
    row, column = (np.mgrid[:side, :side] - middle).reshape(2, 1, -1)
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    rows = (cos * row - sin * column) * stretch[:, :1] + shift[:, :1]
    columns = (sin * row + cos * column) * stretch[:, 1:] + shift[:, 1:]
    # The triangle kernel is bilinear interpolation; far outside it is zero everywhere.
    places = np.arange(side)
    vertical = np.maximum(0, 1 - np.abs(rows[..., None] - places))
    horizontal = np.maximum(0, 1 - np.abs(columns[..., None] - places))
    pixels = ((vertical @ images[:, 0]) * horizontal).sum(axis=-1)
    return np.asarray(pixels.reshape(images.shape).astype(np.float32))


def train(images: Array, labels: NDArray[np.int64], *, epochs: int = 100, seed: int = 1,
          say: Callable[[str], None] = print) -> Parameters:
    """Train from scratch on jittered images; same seed, same weights (see `models.train.fit`)."""
    rng = np.random.RandomState(seed)
    return fit(forward, initialize(rng), images, labels, rng, epochs=epochs, augment=jitter,
               say=say)
