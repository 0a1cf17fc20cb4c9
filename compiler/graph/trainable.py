# SPDX-License-Identifier: Apache-2.0
"""Networks that can be trained: layers one after the other, or beside each other.

Images are N H W C. Weights are int8 with one exponent that stays, as NITI (arXiv 2009.13108) has
them: matrices of inputs x outputs, kernels of C x R x S x O, C those of a group.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from kiwicha.compiler.graph.tensor import Pair, Quad, Shape
from kiwicha.errors import KiwichaError

__all__ = [
    "AveragePool", "Bias", "Clip", "Convolution", "Layer", "Linear", "MaxPool", "Network",
    "Residual", "flat_layers",
]

_LIMIT = 127  # greatest magnitude of a number


@dataclass(frozen=True)
class Linear:
    """A fully connected layer; images are rows of their bytes.

    Members
    -------
    inputs, outputs : of weights int8 [inputs, outputs], called ``name``.
    exponent : of the weights.
    relu : whether negative results become 0.
    """

    name: str
    inputs: int
    outputs: int
    exponent: int
    relu: bool = False

    @property
    def weights(self) -> Shape:
        """Shape of the weights."""
        return self.inputs, self.outputs

    def shape(self, x: Shape) -> Shape:
        """Return the shape of the results, without the batch; raises as `Network`."""
        if prod(x) != self.inputs:
            raise KiwichaError(f"{self.name}: takes {self.inputs} inputs; there are {prod(x)}")
        return (self.outputs,)


@dataclass(frozen=True)
class Convolution:
    """A convolution.

    Members
    -------
    inputs, outputs : channels of weights int8 [inputs / groups, rows, columns, outputs], called
        ``name``.
    groups : of channels, each with weights of its own; as many as channels: depthwise.
    pads : top, left, bottom, right.
    exponent, relu : as of `Linear`.
    """

    name: str
    inputs: int
    outputs: int
    kernel: Pair
    exponent: int
    relu: bool = False
    strides: Pair = (1, 1)
    pads: Quad = (0, 0, 0, 0)
    groups: int = 1

    @property
    def weights(self) -> Shape:
        """Shape of the weights."""
        return self.inputs // self.groups, *self.kernel, self.outputs

    def shape(self, x: Shape) -> Shape:
        """Return the shape of the results, without the batch; raises as `Network`."""
        if len(x) != 3 or x[2] != self.inputs:
            raise KiwichaError(f"{self.name}: takes images of {self.inputs} channels, not {x}")
        if self.groups < 1 or self.inputs % self.groups or self.outputs % self.groups:
            raise KiwichaError(
                f"{self.name}: {self.groups} groups do not divide {self.inputs} and "
                f"{self.outputs} channels"
            )
        size = [
            (x[k] + self.pads[k] + self.pads[k + 2] - self.kernel[k]) // self.strides[k] + 1
            for k in (0, 1)
        ]
        if min(size) < 1:
            raise KiwichaError(f"{self.name}: {x[0]}x{x[1]} pixels have no window of {self.kernel}")
        return *size, self.outputs


@dataclass(frozen=True)
class Bias:
    """A number for each channel that is added to all of it, as summands of `Residual` are added.

    A batch normalization that is frozen is a factor in the weights before it, and this. NITI itself
    has none. Its gradient is the sum of the errors of the channel.

    Members
    -------
    channels : of numbers int8 [channels], called ``name``; also those of rows.
    exponent, relu : as of `Linear`.
    """

    name: str
    channels: int
    exponent: int
    relu: bool = False

    @property
    def weights(self) -> Shape:
        """Shape of the numbers."""
        return (self.channels,)

    def shape(self, x: Shape) -> Shape:
        """Return the shape of the results, without the batch; raises as `Network`."""
        if x[-1] != self.channels:
            raise KiwichaError(f"{self.name}: has {self.channels} channels; there are {x[-1]}")
        return x


@dataclass(frozen=True)
class Clip:
    """Bounds of numbers, whatever their exponent: 0 to 96, say, cuts what is above three quarters
    of a tensor's range. Errors pass where a result is neither bound.

    Members
    -------
    low, high : -127 to 127.

    Raises
    ------
    KiwichaError
        For bounds out of range, or a low one that is not below the high one.
    """

    name: str
    low: int
    high: int

    def __post_init__(self) -> None:
        if not -_LIMIT <= self.low < self.high <= _LIMIT:
            raise KiwichaError(
                f"{self.name}: bounds are {self.low} and {self.high}; legal: -{_LIMIT} to {_LIMIT},"
                " the low one below the high one"
            )

    @property
    def relu(self) -> bool:
        """Whether errors pass where results are positive: they do by the rule of this layer."""
        return False

    def shape(self, x: Shape) -> Shape:
        """Return the shape of the results, without the batch."""
        return x


@dataclass(frozen=True)
class _Pool:
    """Windows side by side: ``kernel`` rows and columns."""

    name: str
    kernel: Pair
    relu: bool = False

    def shape(self, x: Shape) -> Shape:
        """Return the shape of the results, without the batch; raises as `Network`."""
        if len(x) != 3 or any(x[k] % self.kernel[k] for k in (0, 1)):
            raise KiwichaError(f"{self.name}: {x} is no whole number of windows of {self.kernel}")
        return x[0] // self.kernel[0], x[1] // self.kernel[1], x[2]


class AveragePool(_Pool):
    """Means of windows side by side."""

    @property
    def unit(self) -> int:
        """Exponent of what is left out of a mean, which is a sum: powers of two alone."""
        return 1 - (self.kernel[0] * self.kernel[1]).bit_length()


class MaxPool(_Pool):
    """Maxima of windows side by side. Each element that is its window's maximum has its error."""


@dataclass(frozen=True)
class Residual:
    """The sum of what two branches make of the same tensor.

    Both have the greater of their exponents then: the other is shifted, rounded half up, and the
    sum is shifted by its own range, as all sums are.

    Members
    -------
    body : layers, one at least; shortcut : layers, none for the tensor itself.
    relu : whether negative sums become 0.

    Raises
    ------
    KiwichaError
        Without layers in ``body``.
    """

    name: str
    body: "tuple[Layer, ...]"
    shortcut: "tuple[Layer, ...]" = ()
    relu: bool = False

    def __post_init__(self) -> None:
        if not self.body:
            raise KiwichaError(f"{self.name}: a sum needs a layer in its body")

    def shape(self, x: Shape) -> Shape:
        """Return the shape of the results, without the batch; raises as `Network`."""
        body, shortcut = x, x
        for layer in self.body:
            body = layer.shape(body)
        for layer in self.shortcut:
            shortcut = layer.shape(shortcut)
        if body != shortcut:
            raise KiwichaError(f"{self.name}: branches of {body} and {shortcut} have no sum")
        return body


Layer = Linear | Convolution | Bias | Clip | AveragePool | MaxPool | Residual


@dataclass(frozen=True)
class Network:
    """Layers one after the other; the last one's results are logits.

    Members
    -------
    images : shape of an image: H W C, or a row.
    exponent : of the images, int8.

    Raises
    ------
    KiwichaError
        Where a layer cannot take what is before it; names it.
    """

    name: str
    images: Shape
    layers: tuple[Layer, ...]
    exponent: int = -7

    def __post_init__(self) -> None:
        last = self.layers[-1] if self.layers else None
        if not isinstance(last, Linear) or last.relu:
            raise KiwichaError(f"{self.name}: the last layer is to be a linear one without ReLU")
        if not 1 <= self.shapes[-1][0] <= 256:
            raise KiwichaError(f"{last.name}: {last.outputs} classes; legal: 1 to 256")
        names = [layer.name for layer in flat_layers(self.layers)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise KiwichaError(f"{self.name}: several layers are called '{twice[0]}'")

    @property
    def shapes(self) -> list[Shape]:
        """Shape of each layer's results, without the batch."""
        found, x = [], self.images
        for layer in self.layers:
            x = layer.shape(x)
            found.append(x)
        return found

    @property
    def weights(self) -> dict[str, Shape]:
        """Shapes of the weights by the names of their layers."""
        return {
            layer.name: layer.weights for layer in flat_layers(self.layers)
            if isinstance(layer, Linear | Convolution | Bias)
        }


def flat_layers(layers: "tuple[Layer, ...]") -> Iterator[Layer]:
    """Yield layers and, before each sum, those of its branches, the shortcut first."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from flat_layers(layer.shortcut)
            yield from flat_layers(layer.body)
        yield layer
