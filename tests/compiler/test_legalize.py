# SPDX-License-Identifier: Apache-2.0
"""Every quantized form becomes a graph whose golden results are ONNX Runtime's, bit for bit."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import ConvNode, MatMulNode, PoolNode, ViewNode
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel
from kiwicha.models.corners import CORNERS, OPERATORS, build_corner
from kiwicha.models.digits import load_npz
from kiwicha.models.lenet5 import TEST
from kiwicha.models.quantize import FORMS
from kiwicha.models.variants import NETWORKS, UNSUPPORTED, build, lenet5, random_input

from .agree import agree

PER_NETWORK = 4


def forms_of(place):
    """A rotating share of the forms, so that the networks together see all of them often."""
    names = list(FORMS)
    return [names[(place + 7 * step) % len(names)] for step in range(PER_NETWORK)]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_equal_onnx_runtime(name):
    place = list(NETWORKS).index(name)
    for form in forms_of(place):
        model, shape = build(name, FORMS[form])
        own_rule = name in ("gemm_alpha", "gates", "mean", "resize_corners")
        agree(model, {"x": random_input(shape, seed=place)}, exact=not own_rule)


@pytest.mark.parametrize("form", FORMS)
def test_lenet5_equals_onnx_runtime(form):
    images = load_npz(TEST).images[:8]
    graph = agree(lenet5(FORMS[form]), {"image": images}, batch=8)
    kinds = [node.op.split("+")[0] for node in graph.nodes]
    assert kinds == [
        "QLinearConv", "MaxPool", "QLinearConv", "MaxPool", "Flatten", "QGemm", "QGemm", "QGemm",
    ]
    assert graph.outputs[0].shape == (8, 10)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", CORNERS)
def test_corners_equal_onnx_runtime(name, operator):
    model, array = build_corner(operator, name)
    agree(model, {model.graph.input[0].name: array})


@pytest.mark.parametrize("name", [n for n in UNSUPPORTED if n != "pool_only"])
@pytest.mark.parametrize(
    "form", ["qdq-u8s8-channel-asyma-symw", "qoperator-s8s8-tensor-asyma-symw"]
)
def test_unsupported_operators_are_named(name, form):
    model, _ = build(name, FORMS[form])
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(model))
    operator = UNSUPPORTED[name][1]
    named = [(node, op.split(".")[-1]) for node, op, _ in caught.value.refusals]
    assert operator in [op.removeprefix("QLinear") for _, op in named]
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + len(named)
    assert lines[0] == f"{len(named)} node{'s' if len(named) > 1 else ''} cannot be mapped"
    for line, (node, _) in zip(lines[1:], named, strict=True):
        assert line.startswith(f"  '{node}' (")


def test_weights_do_not_depend_on_the_form_they_are_stored_in():
    def weights(form):
        graph = legalize(lower(build("conv_same", FORMS[form])[0]))
        return graph.nodes[0].weights - graph.nodes[0].weight_zero[:, None, None, None]

    first = weights("qdq-u8s8-tensor-asyma-symw")
    assert np.array_equal(first, weights("qoperator-u8s8-tensor-asyma-symw"))
    assert np.array_equal(first, weights("qdq-s8s8-tensor-asyma-symw"))


def test_flatten_orders_the_weights_as_memory_is():
    graph = legalize(lower(build("flatten", FORMS["qdq-u8s8-tensor-asyma-symw"])[0]))
    product = next(n for n in graph.nodes if isinstance(n, MatMulNode))
    expected = np.arange(64).reshape(4, 4, 4).transpose(1, 2, 0).reshape(-1)
    assert np.array_equal(product.order, expected)


def test_symmetric_activations_fuse_their_clamp():
    model, _ = build("conv_relu6", FORMS["qdq-s8s8-tensor-syma-symw"])
    (node,) = legalize(lower(model)).nodes
    assert isinstance(node, ConvNode)
    assert (node.op, node.low) == ("QLinearConv+Clip", 0)


def test_macs():
    graph = legalize(lower(build("bench_conv3x3")[0]))
    assert graph.nodes[0].macs == 28 * 28 * 64 * 64 * 9
    graph = legalize(lower(build("bench_gemm64")[0]))
    assert (graph.nodes[0].macs, graph.nodes[0].rows) == (64**3, 64)
    graph = legalize(lower(build("conv_depthwise")[0]))
    assert graph.nodes[0].macs == 81 * 8 * 9
    graph = legalize(lower(build("reshape_last")[0]))
    assert [n.macs for n in graph.nodes if isinstance(n, (PoolNode, ViewNode))] == [0]
