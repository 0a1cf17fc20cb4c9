# SPDX-License-Identifier: Apache-2.0
"""Networks of MLPerf Tiny as they are trained, and small ones like them for the digits.

There are no batch normalizations: frozen ones are part of weights (`golden.compressed_training`),
and NITI's shifts by the range of each tensor do what others are for.
"""

from kiwicha.compiler.graph.trainable import AveragePool, Convolution, Layer, Linear, Residual

__all__ = ["DIGITS_DSCNN", "DIGITS_RESNET8", "DSCNN", "DSCNN_IMAGES", "RESNET8", "RESNET8_IMAGES"]

RESNET8_IMAGES = 32, 32, 3
"""Of CIFAR-10."""
DSCNN_IMAGES = 49, 10, 1
"""Of keyword spotting: 49 windows, 10 coefficients each."""
_AROUND, _DOWN = (1, 1, 1, 1), (2, 2)


def _basic(name: str, inputs: int, outputs: int, down: bool) -> Residual:
    """Return a block of ResNet: two convolutions, and where the image becomes smaller a third."""
    pads = (0, 0, 1, 1) if down else _AROUND  # as Keras pads images of even size
    strides = _DOWN if down else (1, 1)
    shortcut = (Convolution(f"{name}s", inputs, outputs, (1, 1), 0, strides=strides),)
    return Residual(name, (
        Convolution(f"{name}a", inputs, outputs, (3, 3), 0, True, strides, pads),
        Convolution(f"{name}b", outputs, outputs, (3, 3), 0, pads=_AROUND),
    ), shortcut if down else (), True)


def _resnet8(inputs: int, channels: int, size: int) -> tuple[Layer, ...]:
    return (
        Convolution("conv1", inputs, channels, (3, 3), 0, True, pads=_AROUND),
        _basic("block1", channels, channels, False),
        _basic("block2", channels, 2 * channels, True),
        _basic("block3", 2 * channels, 4 * channels, True),
        AveragePool("pool", (size // 4, size // 4)), Linear("fc", 4 * channels, 10, 0),
    )


def _separable(number: int, channels: int) -> tuple[Layer, ...]:
    return (
        Convolution(
            f"dw{number}", channels, channels, (3, 3), 0, True, pads=_AROUND, groups=channels
        ),
        Convolution(f"pw{number}", channels, channels, (1, 1), 0, True),
    )


RESNET8 = _resnet8(3, 16, 32)
DIGITS_RESNET8 = _resnet8(1, 8, 8)
"""For the digits as images of 8x8."""

DSCNN: tuple[Layer, ...] = (
    Convolution("conv1", 1, 64, (10, 4), 0, True, _DOWN, (4, 1, 5, 1)),
    *(layer for number in range(1, 5) for layer in _separable(number, 64)),
    AveragePool("pool", (25, 5)), Linear("fc", 64, 12, 0),
)
DIGITS_DSCNN: tuple[Layer, ...] = (
    Convolution("conv1", 1, 16, (3, 3), 0, True, pads=_AROUND),
    *_separable(1, 16), *_separable(2, 16),
    AveragePool("pool", (4, 4)), Linear("fc", 64, 10, 0),
)
"""For the digits as images of 8x8."""
