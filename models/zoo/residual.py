# SPDX-License-Identifier: Apache-2.0
"""Networks whose layers are added or joined: ResNet, DenseNet, U-Net, a YOLO head."""

from collections.abc import Sequence

import numpy as np

from kiwicha.models.zoo.net import Net

__all__ = ["autoencoder", "densenet", "resnet", "unet", "yolo"]


def resnet(
    net: Net, x: str, width: int = 64, depths: Sequence[int] = (2, 2, 2, 2),
    bottleneck: bool = False, classes: int = 1000,
) -> str:
    """ResNet-18, or with (3, 4, 6, 3) bottlenecks ResNet-50 (He et al., 2016)."""
    x = net.pool("MaxPool", net.conv(x, width, 7, 2), 3, 2, 1)
    for stage, depth in enumerate(depths):
        inner = width << stage
        outer = 4 * inner if bottleneck else inner
        for block in range(depth):
            stride = 2 if stage and not block else 1
            if bottleneck:
                y = net.conv(net.conv(x, inner, 1), inner, 3, stride)
                y = net.conv(y, outer, 1, act=None)
            else:
                y = net.conv(net.conv(x, inner, 3, stride), outer, act=None)
            if stride > 1 or net.shape(x)[0] != outer:
                x = net.conv(x, outer, 1, stride, act=None)
            x = net.op("Relu", net.op("Add", y, x))
    return net.classify(x, classes)


def _normalized(net: Net, x: str) -> str:
    """Batch normalization that no convolution can take, and Relu."""
    channels = net.shape(x)[0]
    gain = net.constant(1 + net.rng.standard_normal(channels) * 0.1)
    variance = net.constant(1 + np.abs(net.rng.standard_normal(channels)) * 0.1)
    return str(net.op("Relu", net.op(
        "BatchNormalization", x, gain, net.bias(channels), net.bias(channels), variance
    )))


def densenet(
    net: Net, x: str, growth: int = 32, depths: Sequence[int] = (6, 12, 24, 16),
    classes: int = 1000,
) -> str:
    """DenseNet-121 (Huang et al., 2017)."""
    x = net.pool("MaxPool", net.conv(x, 2 * growth, 7, 2), 3, 2, 1)
    for stage, depth in enumerate(depths):
        if stage:
            x = net.conv(_normalized(net, x), net.shape(x)[0] // 2, 1, act=None)
            x = net.pool("AveragePool", x, 2, 2)
        for _ in range(depth):
            y = net.conv(_normalized(net, x), 4 * growth, 1)
            x = net.op("Concat", x, net.conv(y, growth, act=None), axis=1)
    return net.classify(_normalized(net, x), classes)


def unet(net: Net, x: str, width: int = 64, stages: int = 4, classes: int = 2) -> str:
    """U-Net (Ronneberger et al., 2015), padded."""
    skips = []
    for stage in range(stages):
        x = net.conv(net.conv(x, width << stage), width << stage)
        skips.append(x)
        x = net.pool("MaxPool", x, 2, 2)
    x = net.conv(net.conv(x, width << stages), width << stages)
    for stage in reversed(range(stages)):
        x = net.op("Concat", skips[stage], net.upconv(x, width << stage, act=None), axis=1)
        x = net.conv(net.conv(x, width << stage), width << stage)
    return net.conv(x, classes, 1, act=None)


def yolo(net: Net, x: str, width: int = 16, classes: int = 20, anchors: int = 3) -> list[str]:
    """A YOLO head of two scales (Redmon and Farhadi, 2018) behind a short trunk."""
    def head(x: str) -> str:
        x = net.conv(x, anchors * (5 + classes), 1, act=None)
        _, height, across = net.shape(x)
        x = net.reshape(x, anchors, 5 + classes, height, across)
        x = net.op("Transpose", x, perm=[0, 1, 3, 4, 2])
        return str(net.op("Sigmoid", x))

    for stage in range(3):
        x = net.conv(x, width << stage, act="LeakyRelu")
        x = net.pool("MaxPool", x, 2, 2)
    fine = net.conv(x, 8 * width, act="LeakyRelu")
    coarse = net.conv(net.pool("MaxPool", fine, 2, 2), 16 * width, act="LeakyRelu")
    x = net.conv(coarse, 4 * width, 1, act="LeakyRelu")
    x = net.op("Resize", x, "", net.constant([1.0, 1.0, 2.0, 2.0]), mode="nearest")
    x = net.conv(net.op("Concat", x, fine, axis=1), 8 * width, act="LeakyRelu")
    return [head(coarse), head(x)]


def autoencoder(net: Net, x: str, features: Sequence[int] = (128, 128, 8, 128, 128)) -> str:
    """Fully connected, as the anomaly detection of MLPerf Tiny has it."""
    size = net.shape(x)[0]
    for count in features:
        x = net.linear(x, count, "Relu")
    return net.linear(x, size)
