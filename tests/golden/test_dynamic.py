# SPDX-License-Identifier: Apache-2.0
"""Dynamic quantization against ONNX Runtime, for equality."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.golden.dynamic import (
    added_values,
    bounded,
    dynamic_quantize,
    dynamic_scale,
    linear_values,
)
from kiwicha.sim.host import products_saturate


def runtime(nodes, inputs, outputs, constants=()):
    """Return a session of a graph without any optimization."""
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@pytest.fixture(scope="module")
def quantizer():
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    kinds = {"q": TensorProto.UINT8, "s": TensorProto.FLOAT, "z": TensorProto.UINT8}
    return runtime([node], ["x"], kinds)


def tensors():
    """Yield tensors of all kinds, more than 200000 values."""
    rng = np.random.default_rng(1)
    for value in (0.0, -0.0, 1.0, -1.0, 1e-30, -3e30, 255.0, 0.1):
        yield np.array([value])
        yield np.full(7, value)
    for scale in (1.0, 2.0**-9, 0.0625):  # halves: multiples of half a step
        steps = rng.integers(0, 511, 3000) * 0.5
        yield np.concatenate([steps, [255.0]]) * scale
        yield (np.concatenate([steps, [255.0, 0.0]]) - 127.5) * scale
        yield (np.concatenate([steps, [255.0, 0.0]]) - 100) * scale
    for top in range(1, 26):  # of the least number, whose scales are denormal, or 0
        yield rng.integers(-(1 << top), 1 << top, 500) * 2.0**-149
        yield rng.integers(0, 1 << top, 9) * 2.0**-149
    for _ in range(60):
        x = rng.normal(size=4000) * 10.0 ** rng.integers(-44, 37)
        yield x
        yield np.abs(x)
        yield -np.abs(x) - abs(x).max() * 0.1


def test_quantize(quantizer):
    count = small = nothing = 0
    for tensor in tensors():
        x = tensor.astype(np.float32)
        q, scale, zero = quantizer.run(None, {"x": x})
        own = dynamic_quantize(x)
        np.testing.assert_array_equal(own[0], q)
        assert own[1].tobytes() == scale.tobytes()
        assert own[2] == zero
        count += x.size
        small += scale < np.finfo(np.float32).tiny
        nothing += scale == 0
    assert count > 200_000
    assert small > 20
    assert nothing > 5


def test_scales(quantizer):
    rng = np.random.default_rng(2)
    for _ in range(3000):
        x = (rng.normal(size=2) * 2.0 ** rng.integers(-152, 125, 2)).astype(np.float32)
        _, scale, zero = quantizer.run(None, {"x": x})
        assert dynamic_scale(x.min(), x.max()) == (scale, zero)


def test_a_range_that_is_not_finite(quantizer):
    """Refused where, and only where, the runtime's scale is infinite, or a value is NaN."""
    most = np.finfo(np.float32).max
    infinite = (0, np.inf), (-np.inf, 1), (-np.inf, np.inf)
    for low, high in ((-most, most), (-most / 2, most), *infinite):
        x = np.array([low, high], np.float32)
        assert np.isinf(quantizer.run(None, {"x": x})[1])
        with pytest.raises(OverflowError, match=r"^its range, .* is not finite in binary32$"):
            dynamic_quantize(x)
    with pytest.raises(OverflowError, match="nan"):
        dynamic_quantize([1, np.nan])
    edge = np.array([-most / 2, most / 2], np.float32)
    assert dynamic_scale(*edge)[0] == quantizer.run(None, {"x": edge})[1]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("kind,zero", [(np.int8, 0), (np.uint8, 131)])
@pytest.mark.parametrize("w_scale", [0.0123, 1.3e-38, 2e-42, 1e36])
def test_linear(relu, kind, zero, w_scale):
    rng = np.random.default_rng(3)
    depth, width = 37, 24
    w = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, (depth, width)).astype(kind)
    if kind is np.int8 and products_saturate():
        w >>= 1  # seven bits: pairs of products fit
    constants = {
        "w": w, "ws": np.float32(w_scale), "wz": np.array(zero, kind),
        "b": (rng.normal(size=width) * w_scale).astype(np.float32),
    }
    make = helper.make_node
    nodes = [
        make("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        make("MatMulInteger", ["q", "w", "z", "wz"], ["a"]),
        make("Cast", ["a"], ["c"], to=TensorProto.FLOAT),
        make("Mul", ["s", "ws"], ["m"]),
        make("Mul", ["c", "m"], ["d"]),
        make("Add", ["d", "b"], ["e"]),
        make("Relu" if relu else "Identity", ["e"], ["y"]),
    ]
    constants = [(name, np.asarray(value)) for name, value in constants.items()]
    session = runtime(nodes, ["x"], {"y": TensorProto.FLOAT}, constants)
    values = dict(constants)
    for _ in range(50):
        power = rng.integers(-5, 5) if rng.random() < 0.5 else rng.integers(-44, 37)
        x = (rng.normal(size=(5, depth)) * 10.0**power).astype(np.float32)
        codes, scale, middle = dynamic_quantize(x)
        acc = (codes.astype(np.int64) - middle) @ (w.astype(np.int64) - zero)
        own = linear_values(acc, scale, values["ws"], values["b"], relu)
        np.testing.assert_array_equal(own, session.run(None, {"x": x})[0])


def values(rng, count):
    """Return values of the sizes that functions look at, some anywhere, denormal ones, zeros."""
    near = rng.normal(0, 3, count)
    far = near * 10.0 ** rng.integers(-44, 35, count)
    some = np.where(rng.random(count) < 0.6, near, far).astype(np.float32)
    return np.concatenate([some, np.float32([0, -0.0, 3, -3, 6, 1e-45, -1e-45])])


@pytest.mark.parametrize("bounds", [(0, 6), (-1, 1), (-0.0, 1e-40), (2, -1), (-5, -5)], ids=str)
def test_bounds(bounds):
    low, high = np.float32(bounds)
    session = runtime(
        [helper.make_node("Clip", ["x", "low", "high"], ["y"])], ["x"],
        {"y": TensorProto.FLOAT}, [("low", low), ("high", high)],
    )
    x = values(np.random.default_rng(4), 50_000)
    assert np.array_equal(bounded(x, low, high), session.run(None, {"x": x})[0])
    special = np.float32([np.inf, -np.inf, np.nan])
    assert np.array_equal(bounded(special, low, high), special, equal_nan=True)


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.5), (1 / 6, 0.5), (-0.7, 0.1)])
def test_hard_functions(alpha, beta):
    """HardSigmoid is a product, a sum and bounds; HardSwish, of alpha 1 / 6, one product more."""
    x = values(np.random.default_rng(5), 200_000)
    made = added_values(x, slope=np.float32(alpha), offset=np.float32(beta), bounds=(0, 1))
    node = helper.make_node("HardSigmoid", ["x"], ["y"], alpha=alpha, beta=beta)
    session = runtime([node], ["x"], {"y": TensorProto.FLOAT})
    assert np.array_equal(made, session.run(None, {"x": x})[0])
    if (alpha, beta) == (1 / 6, 0.5):
        session = runtime(
            [helper.make_node("HardSwish", ["x"], ["y"])], ["x"], {"y": TensorProto.FLOAT}
        )
        gated = added_values(x, made, gated=True)
        assert np.array_equal(gated, session.run(None, {"x": x})[0])
