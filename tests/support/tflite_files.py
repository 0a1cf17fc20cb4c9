# SPDX-License-Identifier: Apache-2.0
"""Small TFLite networks and broken files, written with LiteRT's own classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kiwicha.compiler.frontend.tflite.load import read_tflite
from kiwicha.compiler.frontend.tflite.model import TfliteFile
from kiwicha.compiler.frontend.tflite.writer import TfliteWriter

__all__ = ["Network"]

WINDOW: dict[str, Any] = {"strideH": 1, "strideW": 1, "padding": "VALID"}


class Network:
    """A chain of layers that starts from one input of codes; each method adds a layer.

    Parameters
    ----------
    shape : of the input ``x``, N H W C or rows.
    kind : "int8", or "uint8", whose weights are uint8, too.
    batched : the leading dimension is open.
    seed : of all that is random: weights, biases, scales, zero points.
    """

    def __init__(
        self, shape: Sequence[int], kind: str = "int8", batched: bool = False, seed: int = 0
    ) -> None:
        self.rng, self.kind, self.batched = np.random.default_rng(seed), kind, batched
        self.writer = TfliteWriter()
        self.last = self._codes("x", shape)
        self.first = self.last
        self.made = 0

    def _codes(self, name: str, shape: Sequence[int], like: int | None = None) -> int:
        """Add an activation with a random scale and zero point, or those of another."""
        low = int(np.iinfo(self.kind).min)
        scale, zero = self.rng.uniform(0.05, 0.1), int(self.rng.integers(low, low + 256))
        if like is not None:
            given = self.writer.graph.tensors[like].quantization
            scale, zero = given.scale[0], given.zeroPoint[0]
        return self.writer.tensor(
            name, shape, self.kind, np.float32(scale), zero, batched=self.batched
        )

    @property
    def shape(self) -> list[int]:
        """Of the last result."""
        return list(self.writer.graph.tensors[self.last].shape)

    def weights(
        self, shape: Sequence[int], axis: int, bias: bool = True, per_channel: bool = True
    ) -> list[int]:
        """Add weights and a bias, if there is one; return their indices."""
        channels = shape[axis]
        many = per_channel and self.kind == "int8"
        scale = np.float32(self.rng.uniform(0.002, 0.01, channels if many else 1))
        zero = 0 if self.kind == "int8" else int(self.rng.integers(0, 256))
        low = -127 if self.kind == "int8" else 0
        high = int(np.iinfo(self.kind).max)
        codes = self.rng.integers(low, high + 1, shape).astype(self.kind)
        name = f"w{self.made}"
        weight = self.writer.tensor(name, shape, self.kind, scale, zero, axis, codes)
        if not bias:
            return [weight]
        x_scale = np.float32(self.writer.graph.tensors[self.last].quantization.scale[0])
        values = self.rng.integers(-2000, 2000, channels).astype(np.int32)
        return [weight, self.writer.tensor(
            f"b{self.made}", (channels,), "int32", x_scale * scale, 0, 0, values
        )]

    def add(
        self, name: str, inputs: Sequence[int], shape: Sequence[int], kind: str = "",
        version: int = 1, like: int | None = None, **options: Any,
    ) -> "Network":
        """Add any operator; its result is the next one's input."""
        self.made += 1
        y = self._codes(f"y{self.made}", shape, like)
        self.writer.operator(name, inputs, [y], kind, version, **options)
        self.last = y
        return self

    def conv(
        self, channels: int, kernel: tuple[int, int], shape: Sequence[int], groups: int = 1,
        bias: bool = True, per_channel: bool = True, dilation: int = 1, **options: Any,
    ) -> "Network":
        """CONV_2D to ``shape``, height and width."""
        n, depth = self.shape[0], self.shape[3] // groups
        weights = self.weights((channels, *kernel, depth), 0, bias, per_channel)
        return self.add(
            "CONV_2D", [self.last, *weights], (n, *shape, channels), "Conv2D",
            3 if self.kind == "int8" else 1,
            **(WINDOW | {"dilationHFactor": dilation, "dilationWFactor": dilation} | options),
        )

    def depthwise(
        self, multiplier: int, kernel: tuple[int, int], shape: Sequence[int], bias: bool = True,
        per_channel: bool = True, dilation: int = 1, **options: Any,
    ) -> "Network":
        """DEPTHWISE_CONV_2D to ``shape``, height and width."""
        n, channels = self.shape[0], self.shape[3] * multiplier
        weights = self.weights((1, *kernel, channels), 3, bias, per_channel)
        given: dict[str, Any] = {"dilationHFactor": dilation, "dilationWFactor": dilation}
        return self.add(
            "DEPTHWISE_CONV_2D", [self.last, *weights], (n, *shape, channels), "DepthwiseConv2D",
            3 if self.kind == "int8" else 1,
            **(WINDOW | given | {"depthMultiplier": multiplier} | options),
        )

    def dense(
        self, columns: int, bias: bool = True, depth: int = 0, per_channel: bool = False,
        **options: Any,
    ) -> "Network":
        """FULLY_CONNECTED; rows of ``depth``, by default the last axis."""
        depth = depth or self.shape[-1]
        rows = int(np.prod(self.shape)) // depth
        weights = self.weights((columns, depth), 0, bias, per_channel)
        lead = self.shape[:-1] if options.get("keepNumDims") else [rows]
        return self.add(
            "FULLY_CONNECTED", [self.last, *weights], (*lead, columns), "FullyConnected",
            4 if self.kind == "int8" else 1, **options,
        )

    def pool(
        self, name: str, kernel: tuple[int, int], shape: Sequence[int], **options: Any
    ) -> "Network":
        """MAX_POOL_2D or AVERAGE_POOL_2D to ``shape``, height and width."""
        window = WINDOW | {"filterHeight": kernel[0], "filterWidth": kernel[1]} | options
        return self.add(
            name, [self.last], (self.shape[0], *shape, self.shape[3]), "Pool2D",
            2 if self.kind == "int8" else 1, like=self.last, **window,
        )

    def reshape(self, shape: Sequence[int]) -> "Network":
        """RESHAPE; of an open batch for any."""
        values = np.asarray([-1, *shape[1:]] if self.batched else shape, np.int32)
        wanted = self.writer.tensor(f"s{self.made}", (len(shape),), "int32", values=values)
        return self.add("RESHAPE", [self.last, wanted], shape, like=self.last)

    def content(self) -> bytes:
        """Return the file."""
        return self.writer.write([self.first], [self.last])

    def file(self) -> TfliteFile:
        """Return the model, read."""
        return read_tflite(self.content(), "model.tflite")
