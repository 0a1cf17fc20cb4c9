# SPDX-License-Identifier: Apache-2.0
"""Average pooling: equal to ONNX Runtime where that is promised, else within one code, and the
promise is made exactly where each sum has one result."""

from itertools import product

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.ops import float_average
from kiwicha.compiler.ops.float_average import Average, fitted, float_sums
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.average import average_pool
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import preset

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_emit import MICRO
from .test_moves import runs

U8, S8, F32 = np.uint8, np.int8, np.float32


def pooled(form, shape, quantized, operator="AveragePool", **attributes):
    """Return a model of one pooling; ``quantized``: scale and zero point of x and of y."""
    x, y = quantized
    kind = {U8: TensorProto.UINT8, S8: TensorProto.INT8}[type(x[1])]
    constants = scales(x=x, y=y)
    if form == "QDQ":
        nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
                 node(operator, ["xf"], ["p"], name="pool", **attributes),
                 q("p", "pq", "y"), dq("pq", "y", "y")]
        return model(nodes, constants, {"x": shape})
    names = ["x", "x_s", "x_z", "y_s", "y_z"]
    nodes = [node(f"QLinear{operator}", names, ["y"], name="pool", domain="com.microsoft",
                  **attributes)]
    return model(nodes, constants, {"x": shape}, types={"x": kind, "y": kind})


def draw(rng):
    """Return scales and zero points of x and y."""
    dtype = [U8, S8][rng.randint(2)]
    info = np.iinfo(dtype)
    zeros = [dtype(rng.randint(info.min, info.max + 1)) for _ in "xy"]
    x_scale = [0.1, 0.25, rng.uniform(1e-3, 0.2)][rng.randint(3)]
    return (x_scale, zeros[0]), (x_scale * [1, 0.5, rng.uniform(0.2, 3)][rng.randint(3)], zeros[1])


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("seed", range(24))
def test_windows(seed, form):
    rng = np.random.RandomState(seed)
    rank = 1 + seed % 2
    kernel = [int(k) for k in rng.randint(1, 5, rank)]
    shape = [2, 3, *(int(k + rng.randint(0, 6)) for k in kernel)]
    attributes = {
        "kernel_shape": kernel, "strides": [int(s) for s in rng.randint(1, 4, rank)],
        "count_include_pad": int(rng.randint(2)), "ceil_mode": int(rng.randint(2)),
    }
    mode = ["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"][rng.randint(5)]
    if mode == "NOTSET":
        attributes["pads"] = [int(rng.randint(0, k)) for k in (*kernel, *kernel)]
    else:
        attributes |= {"auto_pad": mode, "ceil_mode": 0}
    made = pooled(form, shape, draw(rng), **attributes)
    (layer,) = legalize(lower(made)).nodes
    agree(made, exact=layer.promise == "runtime")


def in_float(key, *inside, shape=(2, 3, 9, 8), operator="AveragePool", opset=17, **attributes):
    """Return a model whose average ONNX Runtime leaves in float: types that differ, or a Relu."""
    constants = scales(x=(0.05, U8(90)), u=(0.021, U8(40)), s=(0.017, S8(-9)))
    made = node(operator, ["xf"], ["f0"], name="mean", **attributes)
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), made, *inside,
             q(f"f{len(inside)}", "yq", key), dq("yq", "y", key)]
    return model(nodes, constants, {"x": shape}, opset=opset)


def test_dilations_of_1_are_none():
    """ONNX Runtime writes them into an operator that has none, and refuses that."""
    x = [1, 2, 6, 6]
    made = pooled("QDQ", x, draw(np.random.RandomState(3)), kernel_shape=[3, 3], dilations=[1, 1])
    made.opset_import[0].version = 19
    (layer,) = legalize(lower(made)).nodes
    assert (layer.op, layer.promise) == ("QLinearAveragePool", "runtime")
    agree(made)


RELU = node("Relu", ["f0"], ["f1"], name="relu")
FLAT = node("Flatten", ["f1"], ["f2"], name="flat")


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("strides", [[1, 1], [2, 3]])
def test_averages_in_float(include, ceil, strides):
    given = {"kernel_shape": [3, 2], "strides": strides, "pads": [1, 0, 2, 1], "ceil_mode": ceil,
             "count_include_pad": include}
    graph = agree(in_float("s", **given), exact=False)
    assert [n.op for n in graph.nodes] == ["AveragePool"]
    assert "which ONNX Runtime leaves in float" in graph.notes[0].text
    graph = agree(in_float("u", RELU, FLAT, **given), exact=False)
    assert [n.op for n in graph.nodes] == ["AveragePool+Relu", "Flatten"]
    assert graph.nodes[0].low == 40


def test_other_averages_in_float():
    agree(in_float("s", operator="GlobalAveragePool"), exact=False)
    agree(in_float("s", shape=(2, 3, 17), kernel_shape=[4], auto_pad="SAME_UPPER"), exact=False)
    agree(in_float("s", opset=19, kernel_shape=[2, 2], dilations=[3, 2], pads=[1] * 4,
                   count_include_pad=1), exact=False)
    agree(in_float("s", kernel_shape=[2, 2], ceil_mode=1, strides=[2, 2], count_include_pad=1),
          exact=False)


@pytest.mark.parametrize("seed", range(4))
def test_borders_on_small_machines(seed):
    """Rectangles with scales of their own, in pieces where memories are small, byte for byte."""
    rng = np.random.RandomState(seed)
    kernel = [int(k) for k in rng.randint(2, 6, 2)]
    shape = [2, int(rng.choice([1, 7, 33])), *(int(k + rng.randint(2, 16)) for k in kernel)]
    graph = legalize(lower(pooled(
        "QOperator", shape, draw(rng), kernel_shape=kernel, strides=[1 + seed % 2, 1],
        pads=[int(rng.randint(1, k)) for k in (*kernel, *kernel)],
    )))
    assert np.ndim(graph.nodes[0].scale) == 2
    tensors = evaluate(graph, random_inputs(graph.inputs, seed))
    for config in (MICRO, preset("default")):
        compiled = compile_graph(graph, config)
        memory = compiled.load(tensors)
        Machine(config, memory, compiled.read_window, compiled.write_window).run(compiled.words)
        for name, tensor in graph.tensors.items():
            np.testing.assert_array_equal(compiled.read(memory, tensor), tensors[name], config.name)


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("seed", range(8))
def test_whole_images_are_exact(seed, form):
    rng = np.random.RandomState(seed)
    shape = [2, 5, *(int(s) for s in rng.randint(1, 20, 1 + seed % 2))]
    agree(pooled(form, shape, draw(rng), "GlobalAveragePool"))
    agree(pooled(form, shape, draw(rng), kernel_shape=shape[2:], strides=[2] * (len(shape) - 2)))


@pytest.mark.parametrize(("shape", "config"), [
    ([2, 50, 8, 7], "tiny"), ([3, 61, 6, 6], "tiny"), ([1, 2048, 7, 7], "default")])
def test_images_larger_than_half_a_memory(shape, config):
    """Some channels after the others."""
    graph = agree(pooled("QOperator", shape, draw(np.random.RandomState(1)), "GlobalAveragePool"))
    runs(graph, config)


@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_windows_of_a_border_have_their_own_scales(count_include_pad):
    made = pooled(
        "QOperator", [1, 2, 7, 7], ((0.02, U8(7)), (0.013, U8(30))), kernel_shape=[3, 3],
        pads=[1] * 4, count_include_pad=count_include_pad,
    )
    (layer,) = agree(made).nodes
    assert layer.promise == "runtime"
    assert np.shape(layer.scale) == (() if count_include_pad else (7, 7))
    if not count_include_pad:
        assert layer.scale[0, 0] == pytest.approx(layer.scale[3, 3] * 9 / 4)


def average(x_scale, x_zero, y_scale, y_zero, divisor, taps):
    x = Tensor("x", (1,), np.dtype(S8), F32(x_scale), x_zero)
    return Average(x, Tensor("y", (1,), np.dtype(S8), F32(y_scale), y_zero), divisor, taps)


def test_float_sums_are_those_of_all_values():
    """Of two values all pairs are tried."""
    work = average(0.037, -3, 0.05, 0, 2, (2,))
    _, (least, greatest) = float_sums(work.x, 2)
    values = work.centred.astype(F32) * F32(0.037)
    found = {}
    for (a, first), (b, second) in product(zip(work.centred, values, strict=True), repeat=2):
        found.setdefault(int(a + b), []).append(first + second)
    assert [min(found[total]) for total in sorted(found)] == list(least)
    assert [max(found[total]) for total in sorted(found)] == list(greatest)


def test_what_no_sum_decides_is_not_promised():
    """Two windows of one sum, of which ONNX Runtime makes two codes; the layer says so."""
    quantized = ((0.0177, S8(-128)), (0.0177, S8(-128)))
    rng = np.random.RandomState(1)
    windows = rng.randint(-128, 128, (20000, 4)).astype(S8)
    image = windows.reshape(1, -1, 2, 2)
    y = average_pool(
        np.pad(image, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=-128), F32(0.0177), -128,
        F32(0.0177), -128, (2, 2), strides=(2, 2), pads=(0,) * 4, output=(1, 1),
    )[0, :, 0, 0]
    totals = windows.astype(int).sum(axis=1)
    assert any(len(set(y[totals == total])) > 1 for total in np.unique(totals))
    made = pooled("QOperator", [1, 2, 6, 6], quantized, kernel_shape=[2, 2], strides=[2, 2])
    graph = agree(made, exact=False)
    assert graph.nodes[0].promise == "near"
    assert "of the sums otherwise; at most one code apart" in graph.notes[0].text


@pytest.mark.parametrize("seed", range(6))
def test_the_scale_found_is_that_of_all_sums(seed):
    rng = np.random.RandomState(seed)
    work = average(rng.uniform(0.01, 0.1), -7, rng.uniform(0.01, 0.1), 11, 6, (4, 6))
    scale, doubtful = fitted(work, float_sums(work.x, 6))
    codes = rng.randint(-128, 128, (50000, 6))
    codes[::2, 4:] = work.x.zero_point  # four values and padding, which adds nothing
    real = (codes - work.x.zero_point).astype(F32) * work.x.scale
    total = np.zeros(len(codes), F32)
    for place in range(6):
        total = total + real[:, place]
    ours = work.machine_codes((codes - work.x.zero_point).sum(axis=1), scale)
    apart = np.abs(ours - work.runtime_codes(total))
    assert apart.max() <= (doubtful > 0)


def test_large_windows_promise_no_more_than_is_known(monkeypatch):
    monkeypatch.setattr(float_average, "_LARGEST", 8)
    taps = 9
    work = average(0.02, 0, 0.03, 0, taps, (taps,))
    sums = float_sums(work.x, taps)
    assert fitted(work, sums)[1] > 0
    assert fitted(average(0.02, 0, 0.03, 0, 3, (3,)), sums)[1] == 0
