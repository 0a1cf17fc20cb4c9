# SPDX-License-Identifier: Apache-2.0
"""ConvTranspose: within one code of ONNX Runtime, and without a product by zero."""

from dataclasses import replace

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.compiler.schedule.transposed import conv_transpose_contractions
from kiwicha.errors import KiwichaError, UnsupportedModel
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import preset
from kiwicha.models.quantize import Form, quantize
from kiwicha.sim.judge import judge

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_emit import MICRO
from .test_layer_statistics import TINY
from .test_layer_statistics import run as counted
from .test_moves import runs

U8, S8, F32 = np.uint8, np.int8, np.float32


def between(shape, weight, *, dtype=U8, channel=False, bias=0, after=(), seed=0, **attributes):
    """Return a ConvTranspose between Q and DQ, its weight of a shape as in ONNX, and behind it
    what is ``after``."""
    rng = np.random.RandomState(seed)
    outputs, info = weight[1], np.iinfo(dtype)
    zeros = [dtype(rng.randint(info.min + 60, info.max - 60)) for _ in "xy"]
    w = F32(0.02), S8(rng.randint(-3, 4))
    if channel:
        w = rng.uniform(0.01, 0.05, outputs).astype(F32), np.zeros(outputs, S8)
    constants = scales(x=(0.03, zeros[0]), w=w, y=(0.05, zeros[1]))
    constants["W"] = rng.randint(-128, 128, weight).astype(S8)
    names = ["xf", "wf"]
    if bias:
        constants["B"] = rng.randn(outputs * attributes.get("group", 1)).astype(F32) * bias
        names.append("B")
    nodes = [
        q("x", "xq", "x"), dq("xq", "xf", "x"),
        node("DequantizeLinear", ["W", "w_s", "w_z"], ["wf"], axis=1),
        node("ConvTranspose", names, ["c"], name="back", **attributes), *after,
        q(after[-1].output[0] if after else "c", "yq", "y"), dq("yq", "y", "y"),
    ]
    return model(nodes, constants, {"x": shape})


def draw(seed):
    """Return a random model that ONNX Runtime takes."""
    rng = np.random.RandomState(seed)
    rank, group = 1 + seed % 2, int(rng.randint(1, 3))
    kernel, strides = rng.randint(1, 5, rank), rng.randint(1, 5, rank)
    dilations, image = rng.randint(1, 4, rank), rng.randint(1, 6, rank)
    full = (image - 1) * strides + (kernel - 1) * dilations + 1
    given = {"strides": strides.tolist(), "dilations": dilations.tolist(), "group": group}
    mode = ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "shape", "shape up"][rng.randint(6)]
    if mode == "NOTSET":
        given["pads"] = [int(rng.randint(0, 1 + min(3, (f - 1) // 2))) for f in (*full, *full)]
    elif mode.startswith("shape"):
        given["output_shape"] = [int(max(1, f - rng.randint(4))) for f in full]
        given |= {"auto_pad": "SAME_UPPER"} if mode == "shape up" else {}
    else:
        given["auto_pad"] = mode
    if rng.randint(2):
        given["output_padding"] = [int(rng.randint(0, s)) for s in strides]
    weight = (group * int(rng.randint(1, 5)), int(rng.randint(1, 5)), *map(int, kernel))
    return between(
        [int(rng.randint(1, 4)), weight[0], *map(int, image)], weight,
        dtype=(U8, S8)[rng.randint(2)], channel=bool(rng.randint(2)), bias=rng.randint(2),
        after=[node("Relu", ["c"], ["r"], name="relu")] if rng.randint(2) else [], seed=seed,
        **given,
    )


@pytest.mark.parametrize("seed", range(48))
def test_random(seed):
    graph = agree(draw(seed), exact=False)
    assert [n.promise for n in graph.nodes] == ["near"]
    runs(graph, MICRO)
    runs(graph, "wide")


@pytest.mark.parametrize("name", ["micro", "default"])
@pytest.mark.parametrize(("shape", "weight", "given"), [
    ((1, 20, 9, 7), (20, 19, 3, 3), {"strides": [2, 2], "pads": [1] * 4}),
    ((3, 6, 4, 5), (6, 33, 2, 2), {"strides": [2, 2]}),
    ((1, 3, 30), (3, 1, 8), {"strides": [4], "pads": [2, 2]}),
    ((2, 8, 5, 5), (8, 1, 4, 4), {"strides": [2, 2], "pads": [1] * 4, "group": 8}),
])
def test_larger_than_a_tile(name, shape, weight, given):
    graph = agree(between(shape, weight, channel=True, bias=1, **given), exact=False)
    runs(graph, MICRO if name == "micro" else "default")


def test_no_product_with_a_zero_between_pixels():
    """All phases together multiply each pixel by each tap once; but at the border."""
    graph = legalize(lower(between((1, 4, 6, 6), (4, 8, 3, 3), strides=[2, 2])))
    (layer,) = graph.nodes
    works = conv_transpose_contractions(layer, {"xq": 0, "yq": 4096}, preset("default"))
    assert sorted(work.kernel for work in works) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    (layer,) = legalize(lower(between((1, 4, 6, 6), (4, 8, 2, 2), strides=[2, 2]))).nodes
    works = conv_transpose_contractions(layer, {"xq": 0, "yq": 4096}, preset("default"))
    assert sum(work.macs for work in works) == layer.macs
    assert [work.y.channels for work in works] == [16, 16]  # neighbours see the same pixel


def test_where_no_tap_reaches_there_is_the_bias():
    made = between((1, 2, 3, 3), (2, 3, 1, 1), bias=1, strides=[3, 2], output_padding=[2, 1])
    runs(agree(made, exact=False), MICRO)


def test_relu_pool_and_views_follow_on_the_codes():
    after = [node("Relu", ["c"], ["r"], name="relu"),
             node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2]),
             node("Flatten", ["p"], ["f"], name="flat")]
    graph = agree(between((1, 2, 3, 3), (2, 3, 2, 2), strides=[2, 2], after=after), exact=False)
    assert [n.op for n in graph.nodes] == ["ConvTranspose+Relu", "MaxPool", "Flatten"]


@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("activations", ["u8", "s8"])
def test_as_the_quantizer_writes_it(activations, channel):
    rng = np.random.RandomState(5)
    values = {"w": (3, 4, 3, 3), "b": (4,), "v": (2, 4, 1, 1)}
    nodes = [node("ConvTranspose", ["x", "w", "b"], ["c"], name="back", strides=[2, 2]),
             node("Relu", ["c"], ["r"], name="relu"),
             node("Conv", ["r", "v"], ["y"], name="conv")]
    made = model(nodes, {k: rng.randn(*s).astype(F32) for k, s in values.items()},
                 {"x": [1, 3, 4, 5]})
    form = Form(activations=activations, per_channel=channel)
    quantized = quantize(made, form, rng.randn(4, 1, 3, 4, 5).astype(F32))
    graph = agree(quantized, exact=False)
    assert [n.op.split("+")[0] for n in graph.nodes] == ["ConvTranspose", "QLinearConv"]


def test_all_of_it_is_counted_or_nothing():
    graph = legalize(lower(between((1, 3, 4, 4), (3, 2, 2, 2), strides=[2, 2])))
    counted(graph, TINY, {"x": np.random.RandomState(1).randn(1, 3, 4, 4).astype(F32)}, ["back"])
    with pytest.raises(KiwichaError, match="channels of several pixels at once"):
        compile_graph(graph, TINY, statistics=["back[1]"])


def test_the_judge_sees_a_wrong_tap():
    lowered = lower(between((1, 3, 4, 4), (3, 2, 3, 3), strides=[2, 2]))
    graph = legalize(lowered)
    (layer,) = graph.nodes
    wrong = replace(layer, weights=layer.weights[:, :, ::-1])
    graph = replace(graph, nodes=(wrong,))
    tensors = evaluate(graph, {"x": np.random.RandomState(1).randn(1, 3, 4, 4).astype(F32)})
    assert judge(lowered, graph, graph.nodes, preset("default"), tensors).differ


def test_volumes_are_refused():
    with pytest.raises(UnsupportedModel, match="is 3-D; the machine has 1-D and 2-D windows"):
        legalize(lower(between((1, 2, 3, 3, 3), (2, 3, 2, 2, 2))))
