# SPDX-License-Identifier: Apache-2.0
"""Small networks of the zoo's layers, random weights, quantized."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from kiwicha.models.quantize import DEFAULT, Form, quantize
from kiwicha.models.zoo.net import Net

__all__ = ["quantized_net"]


def quantized_net(
    build: Callable[[Net, str], Any], shape: tuple[int, ...] = (3, 9, 9), form: Form = DEFAULT
) -> onnx.ModelProto:
    """Return what ``build(net, x)`` makes, of whose results there may be several."""
    net = Net("net", 5)
    made = build(net, net.input("x", *shape))
    float_model = net.model(*([made] if isinstance(made, str) else made))
    rng = np.random.default_rng(6)
    return quantize(float_model, form, rng.standard_normal((2, 1, *shape)).astype(np.float32))
