# SPDX-License-Identifier: Apache-2.0
"""The residual network: gradients, and what it is made of."""

import numpy as np
import onnx

from kiwicha.models import resnet8, train_resnet8


def test_gradients_are_slopes() -> None:
    rng = np.random.RandomState(0)
    parameters = {
        name: value.astype(np.float64) + 0.1 * rng.standard_normal(value.shape)
        for name, value in train_resnet8.initialize(rng).items()
    }
    images = rng.standard_normal((2, 1, 12, 12))
    logits, backward = train_resnet8.forward(parameters, images)
    weights = rng.standard_normal(logits.shape)
    slopes = dict(backward(weights))
    assert slopes.keys() == parameters.keys()
    for name, value in parameters.items():
        place = np.unravel_index(np.abs(slopes[name]).argmax(), value.shape)
        sides = []
        for step in (1e-6, -2e-6):
            value[place] += step
            sides.append((train_resnet8.forward(parameters, images)[0] * weights).sum())
        value[place] += 1e-6
        assert np.isclose((sides[0] - sides[1]) / 2e-6, slopes[name][place], rtol=1e-5), name


def test_it_has_shortcuts_and_global_pooling() -> None:
    nodes = [node.op_type for node in onnx.load(resnet8.FP32).graph.node]
    assert (nodes.count("Conv"), nodes.count("Add")) == (9, 3)
    assert nodes[-3:] == ["GlobalAveragePool", "Flatten", "Gemm"]
