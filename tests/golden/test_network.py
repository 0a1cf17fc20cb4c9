# SPDX-License-Identifier: Apache-2.0
"""golden.network runs layers in order; its arithmetic is tested against ONNX Runtime in
tests/compiler."""

from types import SimpleNamespace

import numpy as np
import pytest

from golden.network import evaluate, outputs
from hw.config import RequantizeMode


def tensor(name, shape, zero=0, dtype=np.int8):
    return SimpleNamespace(
        name=name, shape=shape, dtype=np.dtype(dtype), zero_point=zero, image=shape
    )


def pool(x, y, scale, kernel=(1, 1), low=-128, high=127):
    return SimpleNamespace(
        kind="max", x=x, y=y, kernel=kernel, strides=kernel, pads=(0, 0, 0, 0), dilations=(1, 1),
        scale=np.float32(scale), low=low, high=high,
    )  # fmt: skip


def graph(*nodes):
    values = [SimpleNamespace(name="x")], [SimpleNamespace(name="y")]
    return SimpleNamespace(
        inputs=values[0], outputs=values[1], quantize=(), nodes=nodes, dequantize=()
    )


@pytest.mark.parametrize("mode", RequantizeMode)
def test_a_maximum_passes_unchanged_in_every_mode(mode):
    x = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 16, 16)
    a, y = tensor("x", x.shape, zero=-7), tensor("y", (1, 1, 8, 8), zero=-7)
    result = evaluate(graph(pool(a, y, 1.0, (2, 2))), {"x": x}, mode)
    assert np.array_equal(result["y"], x[:, :, 1::2, 1::2])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("onnx", [-2, -2, -1, 0, 0, 0, 1, 2, 2]), ("tflite", [-3, -2, -1, -1, 0, 1, 1, 2, 3]),
     ("tflite-single", [-2, -2, -1, 0, 0, 1, 1, 2, 3]), ("shift", [-2, -2, -1, 0, 0, 1, 1, 2, 3])],
)  # fmt: skip
def test_the_mode_rounds(mode, expected):
    x = np.arange(-10, 11, dtype=np.int8)[[0, 2, 6, 8, 10, 12, 14, 18, 20]].reshape(9, 1)
    a, y = tensor("x", x.shape), tensor("y", x.shape)
    result = evaluate(graph(pool(a, y, 0.25)), {"x": x}, mode)
    assert result["y"].reshape(-1).tolist() == expected


def test_bounds_and_types():
    x = np.arange(-128, 128, dtype=np.int8)
    a, y = tensor("x", x.shape), tensor("y", x.shape, zero=128, dtype=np.uint8)
    network = graph(pool(a, y, 1.0, low=128, high=200))
    result = evaluate(network, {"x": x})
    assert result["y"].dtype == np.uint8
    assert np.array_equal(result["y"], np.clip(x.astype(int) + 128, 128, 200))
    assert np.array_equal(outputs(network, result)["y"], result["y"])
