# SPDX-License-Identifier: Apache-2.0
"""The networks of the zoo by name: what builds them, from which input, how large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.models.quantize import DEFAULT, Form, quantize, quantize_by_range
from kiwicha.models.zoo import classic, mobile, residual, sequence
from kiwicha.models.zoo.net import Net

__all__ = ["FULL", "NETWORKS", "ZooNetwork"]

SAMPLES = 2  #: calibration inputs


@dataclass(frozen=True)
class ZooNetwork:
    """One network.

    Members
    -------
    builder : appends it to a graph, returns its output or outputs.
    shape : of the input, without its batch.
    options : of ``builder``.
    """

    name: str
    builder: Callable[..., str | list[str]]
    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Of weights and inputs."""
        return crc32(self.name.encode())

    def float_model(self) -> onnx.ModelProto:
        """Return the graph in float32."""
        net = Net(self.name, self.seed)
        made = self.builder(net, net.input("x", *self.shape), **self.options)
        return net.model(*([made] if isinstance(made, str) else made))

    def inputs(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        """Return ``count`` random inputs."""
        rng = np.random.default_rng([self.seed, seed])
        return rng.standard_normal((count, *self.shape)).astype(np.float32)

    def model(self, form: Form = DEFAULT) -> onnx.ModelProto:
        """Return the graph as ONNX Runtime's quantizer writes it."""
        return quantize(self.float_model(), form, self.inputs(SAMPLES)[:, None])

    def dynamic_model(self) -> onnx.ModelProto:
        """Return the graph as ``quantize_dynamic`` writes it."""
        return quantize_by_range(self.float_model())


def _table(*networks: ZooNetwork) -> dict[str, ZooNetwork]:
    return {network.name: network for network in networks}


NETWORKS = _table(
    ZooNetwork("lenet", classic.lenet, (1, 28, 28)),
    ZooNetwork("alexnet", classic.alexnet, (3, 32, 32),
               {"width": 2, "features": 64, "classes": 10, "stem": 5}),
    ZooNetwork("vgg", classic.vgg, (3, 32, 32),
               {"width": 8, "depths": (1, 1, 2, 2, 2), "features": 64, "classes": 10}),
    ZooNetwork("googlenet", classic.googlenet, (3, 32, 32),
               {"divisor": 8, "modules": 1, "classes": 10}),
    ZooNetwork("squeezenet", classic.squeezenet, (3, 32, 32),
               {"divisor": 4, "modules": 4, "classes": 10}),
    ZooNetwork("resnet18", residual.resnet, (3, 32, 32), {"width": 8, "classes": 10}),
    ZooNetwork("resnet50", residual.resnet, (3, 32, 32),
               {"width": 8, "depths": (1, 1, 1, 1), "bottleneck": True, "classes": 10}),
    ZooNetwork("densenet", residual.densenet, (3, 32, 32),
               {"growth": 8, "depths": (2, 2, 2), "classes": 10}),
    ZooNetwork("mobilenet-v1", mobile.mobilenet_v1, (3, 32, 32),
               {"width": 8, "depth": 6, "classes": 10}),
    ZooNetwork("mobilenet-v2", mobile.mobilenet_v2, (3, 32, 32),
               {"divisor": 4, "stages": 4, "most": 2, "classes": 10}),
    ZooNetwork("mobilenet-v3", mobile.mobilenet_v3, (3, 32, 32),
               {"divisor": 2, "blocks": (0, 1, 2, 3, 4), "classes": 10}),
    ZooNetwork("efficientnet", mobile.efficientnet, (3, 24, 24), {"width": 16, "classes": 10}),
    ZooNetwork("shufflenet", mobile.shufflenet, (3, 32, 32), {"channels": 120, "classes": 10}),
    ZooNetwork("unet", residual.unet, (1, 32, 32), {"width": 8, "stages": 2}),
    ZooNetwork("yolo", residual.yolo, (3, 32, 32), {"width": 8, "classes": 3}),
    ZooNetwork("dscnn", mobile.dscnn, (1, 49, 10), {"width": 32, "blocks": 2}),
    ZooNetwork("tcn", sequence.tcn, (8, 48)),
    ZooNetwork("autoencoder", residual.autoencoder, (160,), {"features": (64, 64, 8, 64, 64)}),
    ZooNetwork("mixer", sequence.mixer, (3, 16, 16)),
    ZooNetwork("convnext", sequence.convnext, (3, 24, 24)),
    ZooNetwork("vit", sequence.vit, (3, 16, 16)),
    ZooNetwork("bert", sequence.bert, (12, 32)),
    ZooNetwork("gpt", sequence.gpt, (12, 32)),
    ZooNetwork("lstm", sequence.recurrent, (8, 12)),
    ZooNetwork("gru", sequence.recurrent, (8, 12), {"kind": "GRU"}),
)
"""At sizes that are simulated in seconds."""

FULL = _table(
    ZooNetwork("alexnet", classic.alexnet, (3, 227, 227)),
    ZooNetwork("resnet18", residual.resnet, (3, 224, 224)),
    ZooNetwork("resnet50", residual.resnet, (3, 224, 224),
               {"depths": (3, 4, 6, 3), "bottleneck": True}),
    ZooNetwork("mobilenet-v2", mobile.mobilenet_v2, (3, 224, 224)),
    ZooNetwork("vgg16", classic.vgg, (3, 224, 224)),
    ZooNetwork("googlenet", classic.googlenet, (3, 224, 224)),
)
"""As published."""
