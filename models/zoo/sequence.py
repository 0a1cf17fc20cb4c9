# SPDX-License-Identifier: Apache-2.0
"""Networks over sequences: temporal convolutions, recurrent classifiers, transformers."""

from __future__ import annotations

import numpy as np

from kiwicha.models.zoo.net import Net

__all__ = ["bert", "convnext", "gpt", "mixer", "recurrent", "tcn", "vit"]


def tcn(net: Net, x: str, width: int = 32, blocks: int = 3, classes: int = 10) -> str:
    """A temporal convolutional network (Bai et al., 2018): causal, dilated, N x C x T."""
    for block in range(blocks):
        dilation = 1 << block
        y = x
        for _ in range(2):
            past = net.constant([0, 0, 2 * dilation, 0, 0, 0])
            y = net.conv(net.op("Pad", y, past), width, 3, dilation=dilation, pad=0)
        if net.shape(x)[0] != width:
            x = net.conv(x, width, 1, act=None)
        x = net.op("Relu", net.op("Add", y, x))
    return net.classify(x, classes)


def recurrent(
    net: Net, x: str, kind: str = "LSTM", hidden: int = 32, classes: int = 10,
    direction: str = "forward",
) -> str:
    """A recurrent layer over N x T x F and a classifier of its last state."""
    features = net.shape(x)[-1]
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind] * hidden
    ways = 2 if direction == "bidirectional" else 1
    scale = 1 / np.sqrt(hidden)
    weights = [
        net.constant(net.rng.uniform(-scale, scale, shape))
        for shape in ((ways, gates, features), (ways, gates, hidden), (ways, 2 * gates))
    ]
    steps = net.op("Transpose", x, perm=[1, 0, 2])
    outputs = 3 if kind == "LSTM" else 2
    made = net.op(kind, steps, *weights, outputs=outputs, hidden_size=hidden, direction=direction)
    last = net.op("Transpose", made[1], perm=[1, 0, 2])
    return net.linear(net.reshape(last, ways * hidden), classes)


def _heads(net: Net, x: str, heads: int, order: list[int]) -> str:
    tokens, features = net.shape(x)
    x = net.reshape(net.linear(x, features), tokens, heads, features // heads)
    return str(net.op("Transpose", x, perm=order))


def _attention(net: Net, x: str, heads: int, causal: bool = False) -> str:
    """Multi-head self-attention (Vaswani et al., 2017), the projections included."""
    tokens, features = net.shape(x)
    q = _heads(net, x, heads, [0, 2, 1, 3])
    k = _heads(net, x, heads, [0, 2, 3, 1])
    v = _heads(net, x, heads, [0, 2, 1, 3])
    scale = net.constant(float((features / heads) ** 0.5))
    score = net.op("Div", net.op("MatMul", q, k), scale)
    if causal:
        later = np.triu(np.full((1, 1, tokens, tokens), -16.0), 1)
        score = net.op("Add", score, net.constant(later))
    mixed = net.op("MatMul", net.op("Softmax", score, axis=-1), v)
    mixed = net.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return net.linear(net.reshape(mixed, tokens, features), features)


def _perceptron(net: Net, x: str, inner: int) -> str:
    return net.linear(net.linear(x, inner, "Gelu"), net.shape(x)[-1])


def _patches(net: Net, x: str, features: int, patch: int) -> str:
    """An image as rows of patches."""
    x = net.conv(x, features, patch, patch, pad=0, act=None)
    channels, height, across = net.shape(x)
    return str(net.op("Transpose", net.reshape(x, channels, height * across), perm=[0, 2, 1]))


def vit(
    net: Net, x: str, features: int = 32, heads: int = 2, blocks: int = 1, patch: int = 4,
    classes: int = 10,
) -> str:
    """A vision transformer (Dosovitskiy et al., 2021), pre-norm, the mean of all tokens read."""
    x = _patches(net, x, features, patch)
    x = net.op("Add", x, net.bias(1, *net.shape(x)))
    for _ in range(blocks):
        x = net.op("Add", x, _attention(net, net.norm(x), heads))
        x = net.op("Add", x, _perceptron(net, net.norm(x), 2 * features))
    x = net.op("ReduceMean", net.norm(x), net.constant([1]), keepdims=0)
    return net.linear(x, classes)


def bert(net: Net, x: str, heads: int = 2, blocks: int = 1) -> str:
    """Layers of BERT (Devlin et al., 2019): post-norm, over embedded tokens N x T x E."""
    for _ in range(blocks):
        x = net.norm(net.op("Add", x, _attention(net, x, heads)))
        x = net.norm(net.op("Add", x, _perceptron(net, x, 4 * net.shape(x)[-1])))
    return x


def gpt(net: Net, x: str, heads: int = 2, blocks: int = 1) -> str:
    """Blocks of GPT-2 (Radford et al., 2019): pre-norm, each token sees those before it."""
    for _ in range(blocks):
        x = net.op("Add", x, _attention(net, net.norm(x), heads, causal=True))
        x = net.op("Add", x, _perceptron(net, net.norm(x), 4 * net.shape(x)[-1]))
    return net.norm(x)


def mixer(
    net: Net, x: str, features: int = 32, patch: int = 4, blocks: int = 1, classes: int = 10
) -> str:
    """MLP-Mixer (Tolstikhin et al., 2021): perceptrons over channels and over places."""
    x = _patches(net, x, features, patch)
    for _ in range(blocks):
        y = net.op("Transpose", net.norm(x), perm=[0, 2, 1])
        y = net.op("Transpose", _perceptron(net, y, 2 * net.shape(y)[-1]), perm=[0, 2, 1])
        x = net.op("Add", x, y)
        x = net.op("Add", x, _perceptron(net, net.norm(x), 4 * features))
    x = net.op("ReduceMean", net.norm(x), net.constant([1]), keepdims=0)
    return net.linear(x, classes)


def convnext(net: Net, x: str, features: int = 32, blocks: int = 1, classes: int = 10) -> str:
    """ConvNeXt blocks (Liu et al., 2022): depthwise 7 x 7, layer normalization, a layer scale."""
    x = net.conv(x, features, 4, 4, pad=0, act=None)
    for _ in range(blocks):
        y = net.conv(x, features, 7, groups=features, act=None)
        y = net.norm(net.op("Transpose", y, perm=[0, 2, 3, 1]))
        y = _perceptron(net, y, 4 * features)
        y = net.op("Mul", y, net.constant(net.rng.uniform(0.5, 1.5, features)))
        x = net.op("Add", x, net.op("Transpose", y, perm=[0, 3, 1, 2]))
    return net.classify(x, classes)
