# SPDX-License-Identifier: Apache-2.0
"""The residual network: gradients, and what it is made of."""

import numpy as np
import onnx

from kiwicha.models import resnet8, train_resnet8

from .slopes import gradients_are_slopes


def test_gradients_are_slopes() -> None:
    rng = np.random.RandomState(0)
    parameters = {
        name: value.astype(np.float64) + 0.1 * rng.standard_normal(value.shape)
        for name, value in train_resnet8.initialize(rng).items()
    }
    gradients_are_slopes(train_resnet8, parameters, rng.standard_normal((2, 1, 12, 12)), rng)


def test_it_has_shortcuts_and_global_pooling() -> None:
    nodes = [node.op_type for node in onnx.load(resnet8.FP32).graph.node]
    assert (nodes.count("Conv"), nodes.count("Add")) == (9, 3)
    assert nodes[-3:] == ["GlobalAveragePool", "Flatten", "Gemm"]
