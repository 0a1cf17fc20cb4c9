# SPDX-License-Identifier: Apache-2.0
"""Networks for small machines: MobileNet, EfficientNet, ShuffleNet, keyword spotting."""

from collections.abc import Sequence

from kiwicha.models.zoo.net import Net

__all__ = ["dscnn", "efficientnet", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "shufflenet"]


def mobilenet_v1(net: Net, x: str, width: int = 32, depth: int = 13, classes: int = 1000) -> str:
    """MobileNet (Howard et al., 2017)."""
    x = net.conv(x, width, 3, 2)
    plan = ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), *((16, 1),) * 5, (32, 2), (32, 1))
    for factor, stride in plan[:depth]:
        x = net.conv(x, net.shape(x)[0], 3, stride, groups=net.shape(x)[0])
        x = net.conv(x, width * factor, 1)
    return net.classify(x, classes)


def _squeezed(net: Net, x: str, inner: int, act: str, gate: str) -> str:
    """Squeeze and excitation (Hu et al., 2018)."""
    y = net.conv(net.op("GlobalAveragePool", x), inner, 1, act=act)
    return str(net.op("Mul", x, net.conv(y, net.shape(x)[0], 1, act=gate)))


def _inverted(
    net: Net, x: str, channels: int, expansion: float, kernel: int, stride: int, act: str,
    gate: str | None = None, narrow: int = 4,
) -> str:
    """An inverted residual block (Sandler et al., 2018)."""
    before = net.shape(x)[0]
    inner = round(before * expansion)
    y = net.conv(x, inner, 1, act=act) if expansion != 1 else x
    y = net.conv(y, inner, kernel, stride, groups=inner, act=act)
    if gate is not None:
        y = _squeezed(net, y, max(1, inner // narrow), "Relu" if act != "SiLU" else act, gate)
    y = net.conv(y, channels, 1, act=None)
    return str(net.op("Add", y, x)) if stride == 1 and before == channels else y


def mobilenet_v2(
    net: Net, x: str, divisor: int = 1, stages: int = 7, most: int = 4, classes: int = 1000
) -> str:
    """MobileNetV2 (Sandler et al., 2018); at most ``most`` blocks of a stage."""
    x = net.conv(x, 32 // divisor, 3, 2, act="Relu6")
    plan = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for expansion, channels, count, stride in plan[:stages]:
        for block in range(min(count, most)):
            step = 1 if block else stride
            x = _inverted(net, x, channels // divisor, expansion, 3, step, "Relu6")
    return net.classify(net.conv(x, 1280 // divisor, 1, act="Relu6"), classes)


_V3 = (  # kernel, inner, channels, gated, function, stride: MobileNetV3-Small
    (3, 16, 16, True, "Relu", 2), (3, 72, 24, False, "Relu", 2), (3, 88, 24, False, "Relu", 1),
    (5, 96, 40, True, "HardSwish", 2), (5, 240, 40, True, "HardSwish", 1),
    (5, 240, 40, True, "HardSwish", 1), (5, 120, 48, True, "HardSwish", 1),
    (5, 144, 48, True, "HardSwish", 1), (5, 288, 96, True, "HardSwish", 2),
    (5, 576, 96, True, "HardSwish", 1), (5, 576, 96, True, "HardSwish", 1),
)


def mobilenet_v3(
    net: Net, x: str, divisor: int = 1, blocks: Sequence[int] = tuple(range(11)),
    classes: int = 1000,
) -> str:
    """MobileNetV3-Small (Howard et al., 2019)."""
    x = net.conv(x, 16 // divisor, 3, 2, act="HardSwish")
    for kernel, inner, channels, gated, act, stride in (_V3[block] for block in blocks):
        expansion = (inner // divisor) / net.shape(x)[0]
        gate = "HardSigmoid" if gated else None
        x = _inverted(net, x, channels // divisor, expansion, kernel, stride, act, gate)
    x = net.conv(x, 576 // divisor, 1, act="HardSwish")
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.linear(net.linear(x, 1024 // divisor, "HardSwish"), classes)


def efficientnet(net: Net, x: str, width: int = 32, classes: int = 1000) -> str:
    """The first blocks of EfficientNet-B0 (Tan and Le, 2019): SiLU, squeeze and excitation."""
    x = net.conv(x, width, 3, 2, act="SiLU")
    x = _inverted(net, x, width // 2, 1, 3, 1, "SiLU", "Sigmoid")
    x = _inverted(net, x, 3 * width // 4, 6, 3, 2, "SiLU", "Sigmoid", 24)
    x = _inverted(net, x, 3 * width // 4, 6, 3, 1, "SiLU", "Sigmoid", 24)
    return net.classify(x, classes)


def shufflenet(
    net: Net, x: str, width: int = 24, groups: int = 3, channels: int = 240, units: int = 2,
    classes: int = 1000,
) -> str:
    """A stage of ShuffleNet (Zhang et al., 2018): grouped convolutions and a channel shuffle."""
    x = net.pool("MaxPool", net.conv(x, width, 3, 2), 3, 2, 1)
    for unit in range(units):
        stride = 1 if unit else 2
        before = net.shape(x)[0]
        after = channels - (0 if unit else before)
        y = net.conv(x, channels // 4, 1, groups=groups if unit else 1)
        count, height, across = net.shape(y)
        y = net.reshape(y, groups, count // groups, height, across)
        y = net.op("Transpose", y, perm=[0, 2, 1, 3, 4])
        y = net.reshape(y, count, height, across)
        y = net.conv(y, count, 3, stride, groups=count, act=None)
        y = net.conv(y, after, 1, groups=groups, act=None)
        if unit:
            y = net.op("Add", y, x)
        else:
            y = net.op("Concat", net.pool("AveragePool", x, 3, 2, 1), y, axis=1)
        x = net.op("Relu", y)
    return net.classify(x, classes)


def dscnn(net: Net, x: str, width: int = 64, blocks: int = 4, classes: int = 12) -> str:
    """DS-CNN for keyword spotting (Zhang et al., 2017), as MLPerf Tiny has it."""
    weight = net.weight(width, 1, 10, 4, inputs=40)
    x = net.op("Relu", net.op(
        "Conv", x, weight, net.bias(width), kernel_shape=[10, 4], strides=[2, 2],
        auto_pad="SAME_UPPER",
    ))
    for _ in range(blocks):
        x = net.conv(net.conv(x, width, 3, groups=width), width, 1)
    x = net.op("Flatten", net.op("AveragePool", x, kernel_shape=list(net.shape(x)[1:])))
    return str(net.op("Softmax", net.linear(x, classes), axis=-1))
