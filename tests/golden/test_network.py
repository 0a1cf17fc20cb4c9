# SPDX-License-Identifier: Apache-2.0
"""golden.network runs layers in order; its arithmetic is tested against ONNX Runtime in
tests/compiler."""

from types import SimpleNamespace

import numpy as np
import pytest

from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.isa import Reduction
from kiwicha.machine.modes import RequantizeMode, SoftmaxMode


def tensor(name, shape, zero=0, dtype=np.int8, scale=1.0):
    return SimpleNamespace(
        name=name, shape=shape, dtype=np.dtype(dtype), zero_point=zero, image=shape,
        scale=np.float32(scale),
    )


def pool(x, y, scale, kernel=(1, 1), low=-128, high=127):
    return SimpleNamespace(
        kind="pool", x=x, y=y, inputs=(x,), results=(y,), kernel=kernel, strides=kernel,
        pads=(0, 0, 0, 0), dilations=(1, 1), scale=np.float32(scale),
        scale64=scale, low=low, high=high, reduction=Reduction.MAX,
    )


def operation(kind, y, *inputs, **members):
    named = dict(zip("xz", inputs, strict=False))
    return SimpleNamespace(kind=kind, y=y, results=(y,), inputs=inputs, **named, **members)


def graph(*nodes):
    values = [SimpleNamespace(name="x")], [SimpleNamespace(name="y")]
    return SimpleNamespace(
        inputs=values[0], outputs=values[1], quantize=(), dynamic=(), nodes=nodes, dequantize=()
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
)
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


def test_a_product_takes_both_zero_points_off():
    x = np.arange(6, dtype=np.int8).reshape(2, 3)
    z = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
    a, b, y = tensor("x", x.shape, 2), tensor("z", z.shape, 20), tensor("y", (2, 2, 4), -3)
    node = operation("product", y, a, b, scale=np.float32(0.5), scale64=0.5, low=-100, high=20)
    network = graph(node)
    network.inputs.append(SimpleNamespace(name="z"))
    result = evaluate(network, {"x": x, "z": z})
    real = (x.astype(int) - 2) @ (z.astype(int) - 20)
    assert np.array_equal(result["y"], np.clip(np.rint(real / 2) - 3, -100, 20))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_a_table_is_indexed_by_the_raw_byte(dtype):
    x = np.array([-128, -1, 0, 127], np.int8)
    table = np.arange(256, dtype=np.uint8)[::-1].copy()
    node = operation("table", tensor("y", x.shape, dtype=dtype), tensor("x", x.shape), table=table)
    result = evaluate(graph(node), {"x": x})["y"]
    assert result.dtype == dtype
    assert np.array_equal(result.view(np.uint8), [127, 0, 255, 128])


def pair(z_first, constant=np.array([[200], [0]], np.uint8), low=0, high=255, **more):
    x, z = tensor("x", (2, 3), 5, np.uint8, 0.1), tensor("z", (2, 1), 7, np.uint8, 0.05)
    y = tensor("y", (2, 3), 9, np.uint8, 0.2)
    return operation(
        more.get("kind", "add"), y, x, constant=constant, z=z, z_first=z_first, low=low, high=high,
        zero_last=more.get("zero_last", False),
    )


def test_a_constant_is_added_and_clamped():
    x = np.array([[0, 100, 255]] * 2, np.uint8)
    result = evaluate(graph(pair(False, high=120)), {"x": x})["y"]
    real = (x - 5.0) * 0.1 + (np.array([[200.0], [0.0]]) - 7) * 0.05
    assert np.array_equal(result, np.clip(np.rint(real / 0.2) + 9, 0, 120))


@pytest.mark.parametrize("kind", ["add", "mul"])
def test_the_zero_point_comes_before_or_after_the_rounding(kind):
    x = np.array([[0, 100, 255]] * 2, np.uint8)
    results = []
    for last in (False, True):
        node = pair(False, kind=kind, zero_last=last)
        node.x.scale, node.z.scale, node.y.scale = np.float32([0.5, 1, 1])
        node.z.zero_point = 199  # the other factor is 1 and -199, the sums are halves
        results.append(evaluate(graph(node), {"x": x})["y"].astype(int))
    z = np.array([[1.0], [-199.0]])
    real = (x - 5.0) * 0.5 + z if kind == "add" else (x - 5.0) * 0.5 * z
    assert np.array_equal(results[0], np.clip(np.rint(real + 9), 0, 255))
    assert np.array_equal(results[1], np.clip(np.rint(real) + 9, 0, 255))
    assert not np.array_equal(*results)


def test_the_order_of_a_sum_matters():
    x = np.arange(256, dtype=np.uint8).reshape(1, 256).repeat(256, 0)
    z = np.arange(256, dtype=np.uint8).reshape(256, 1)
    results = []
    for first in (False, True):
        node = pair(first, constant=z)
        node.x.scale, node.z.scale, node.y.scale = np.float32([0.1, 0.05, 0.3])
        results.append(evaluate(graph(node), {"x": x})["y"].astype(int))
    assert np.abs(results[0] - results[1]).max() == 1


def test_softmax_has_a_mode_of_its_own():
    x = np.random.RandomState(1).randint(-128, 128, (50, 7)).astype(np.int8)
    node = operation(
        "softmax", tensor("y", x.shape, -128, scale=1 / 256), tensor("x", x.shape, scale=0.05)
    )
    runs = [evaluate(graph(node), {"x": x}, softmax_mode=mode)["y"] for mode in SoftmaxMode]
    real = np.exp(x * 0.05)
    expected = np.minimum(np.rint(256 * real / real.sum(axis=-1, keepdims=True)) - 128, 127)
    assert np.abs(runs[0] - expected).max() <= 1
    assert not np.array_equal(runs[0], runs[2])


def test_normalization_has_mean_beta_and_deviation_gamma():
    x = np.random.RandomState(1).randint(-128, 128, (4, 600)).astype(np.int8)
    node = operation(
        "normalize", tensor("y", x.shape, 3, scale=0.05), tensor("x", x.shape, scale=0.1),
        gamma=np.full(600, 2, np.float32), beta=np.full(600, 1, np.float32), epsilon=1e-5,
        uncentred=False,
    )
    result = evaluate(graph(node), {"x": x})["y"]
    real = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    assert np.abs(result - (np.rint((2 * real + 1) / 0.05) + 3)).max() <= 1
