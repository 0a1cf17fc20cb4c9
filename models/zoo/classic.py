# SPDX-License-Identifier: Apache-2.0
"""Convolutional classifiers without shortcuts: LeNet, AlexNet, VGG, GoogLeNet, SqueezeNet."""

from collections.abc import Sequence

from kiwicha.models.zoo.net import Net

__all__ = ["alexnet", "googlenet", "lenet", "squeezenet", "vgg"]


def lenet(net: Net, x: str, classes: int = 10) -> str:
    """LeNet-5 (LeCun et al., 1998)."""
    x = net.pool("MaxPool", net.conv(x, 6, 5), 2, 2)
    x = net.pool("MaxPool", net.conv(x, 16, 5, pad=0), 2, 2)
    for features in (120, 84):
        x = net.linear(net.op("Flatten", x), features, "Relu")
    return net.linear(x, classes)


def alexnet(
    net: Net, x: str, width: int = 16, features: int = 4096, classes: int = 1000, stem: int = 11
) -> str:
    """AlexNet (Krizhevsky et al., 2012): two groups, local response normalization."""
    def normalized(x: str) -> str:
        x = net.op("LRN", x, size=5, alpha=1e-4, beta=0.75, bias=1.0)
        return net.pool("MaxPool", x, 3, 2)

    x = normalized(net.conv(x, 6 * width, stem, 4 if stem > 5 else 2, pad=2))
    x = normalized(net.conv(x, 16 * width, 5, groups=2))
    x = net.conv(x, 24 * width)
    x = net.conv(x, 24 * width, groups=2)
    x = net.pool("MaxPool", net.conv(x, 16 * width, groups=2), 3, 2)
    x = net.op("Flatten", x)
    for _ in range(2):
        x = net.linear(x, features, "Relu")
    return net.linear(x, classes)


def vgg(
    net: Net, x: str, width: int = 64, depths: Sequence[int] = (2, 2, 3, 3, 3),
    features: int = 4096, classes: int = 1000,
) -> str:
    """VGG-16 (Simonyan and Zisserman, 2015)."""
    for stage, depth in enumerate(depths):
        for _ in range(depth):
            x = net.conv(x, width * min(1 << stage, 8))
        x = net.pool("MaxPool", x, 2, 2)
    x = net.op("Flatten", x)
    for _ in range(2):
        x = net.linear(x, features, "Relu")
    return net.linear(x, classes)


def _inception(net: Net, x: str, sizes: Sequence[int]) -> str:
    one, three_in, three, five_in, five, pooled = sizes
    return str(net.op(
        "Concat",
        net.conv(x, one, 1),
        net.conv(net.conv(x, three_in, 1), three),
        net.conv(net.conv(x, five_in, 1), five, 5),
        net.conv(net.pool("MaxPool", x, 3, 1, 1), pooled, 1),
        axis=1,
    ))


_INCEPTIONS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def googlenet(
    net: Net, x: str, divisor: int = 1, modules: int = 7, classes: int = 1000
) -> str:
    """GoogLeNet (Szegedy et al., 2015); at most ``modules`` of a stage."""
    def lrn(x: str) -> str:
        return str(net.op("LRN", x, size=5, alpha=1e-4, beta=0.75, bias=1.0))

    x = lrn(net.pool("MaxPool", net.conv(x, 64 // divisor, 7, 2), 3, 2, 1))
    x = lrn(net.conv(net.conv(x, 64 // divisor, 1), 192 // divisor))
    for stage in _INCEPTIONS:
        x = net.pool("MaxPool", x, 3, 2, 1)
        for sizes in stage[:modules]:
            x = _inception(net, x, [size // divisor for size in sizes])
    return net.classify(x, classes)


def squeezenet(
    net: Net, x: str, divisor: int = 1, modules: int = 8, classes: int = 1000
) -> str:
    """SqueezeNet 1.1 (Iandola et al., 2016): the classifier is a convolution."""
    x = net.pool("MaxPool", net.conv(x, 64 // divisor, 3, 2, pad=0), 3, 2, ceil_mode=1)
    squeezes = (16, 16, 32, 32, 48, 48, 64, 64)[:modules]
    for place, squeeze in enumerate(squeezes):
        x = net.conv(x, squeeze // divisor, 1)
        wide = 4 * squeeze // divisor
        x = net.op("Concat", net.conv(x, wide, 1), net.conv(x, wide), axis=1)
        if place in (1, 3):
            x = net.pool("MaxPool", x, 3, 2, ceil_mode=1)
    x = net.conv(x, classes, 1)
    return str(net.op("Flatten", net.op("GlobalAveragePool", x)))
