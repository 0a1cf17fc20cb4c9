# SPDX-License-Identifier: Apache-2.0
"""Attention blocks and transformer layers as quantize_static writes them, on the golden model."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import AddNode, ProductNode, SoftmaxNode, TableNode, ViewNode
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.compiler.schedule.broadcast import meetings
from kiwicha.golden.network import evaluate
from kiwicha.models.quantize import FORMS
from kiwicha.sim.reference import node_reference

from .agree import agree
from .transformers import BATCH, HEADS, LENGTH, SHAPE, Builder, attention, encoder


def inputs(seed):
    return {"x": np.random.RandomState(seed).standard_normal(SHAPE).astype(np.float32)}


def layers(graph):
    return [node.name.removesuffix("_quant") for node in graph.nodes if node.kind != "view"]


@pytest.mark.parametrize("form", list(FORMS)[::5])
def test_attention_equals_onnx_runtime(form):
    build = Builder()
    graph = agree(build.quantized(attention(build, "x"), FORMS[form]), inputs(1))
    linear = [f"{name}{part}" for name in ("q", "k", "v", "out") for part in ("", "/bias")]
    assert sorted(layers(graph)) == sorted([*linear, "scores", "masked", "softmax", "context"])
    assert {node.promise for node in graph.nodes} == {"runtime"}


@pytest.mark.parametrize("mask", ["none", "where"])
def test_other_masks(mask):
    build = Builder(3)
    graph = agree(build.quantized(attention(build, "x", mask)), inputs(1))
    assert ("masked" in layers(graph)) == (mask == "where")


def test_heads_are_views_and_merged_by_the_store():
    build = Builder()
    graph = legalize(lower(build.quantized(attention(build, "x"))))
    scores, context = (node for node in graph.nodes if isinstance(node, ProductNode))
    assert scores.x.shape == (BATCH, HEADS, LENGTH, 4)
    assert scores.x.strides == (40, 4, 8, 1)
    assert scores.z.shape == (BATCH, HEADS, 4, LENGTH)
    assert scores.z.strides == (40, 4, 1, 8)
    assert scores.y.layout == ROW_MAJOR
    assert context.z.strides == (40, 4, 8, 1)
    assert context.y.strides == (40, 4, 8, 1)
    assert scores.macs == BATCH * HEADS * LENGTH * LENGTH * 4
    merged = [n for n in graph.nodes if isinstance(n, ViewNode)][-1]
    assert merged.y.layout == ROW_MAJOR
    assert scores.inputs == (scores.x, scores.z)


def test_scores_scaled_by_a_power_of_two_keep_their_codes():
    """Calibration halves the scale, so that dividing by two changes no byte."""
    build = Builder()
    graph = legalize(lower(build.quantized(attention(build, "x"))))
    assert not any(isinstance(node, TableNode) for node in graph.nodes)
    assert next(n for n in graph.nodes if n.op == "Div").kind == "view"


def test_the_mask_is_a_constant_operand():
    build = Builder()
    graph = legalize(lower(build.quantized(attention(build, "x"))))
    masked = next(n for n in graph.nodes if isinstance(n, AddNode) and n.name == "masked")
    assert masked.constant.shape == masked.z.shape == (1, 1, LENGTH, LENGTH)
    assert masked.inputs == (masked.x,)
    (met,) = meetings(masked)
    assert (met.rows, met.length, met.z.row) == (BATCH * HEADS, LENGTH * LENGTH, True)
    assert masked.z.name not in graph.tensors


@pytest.mark.parametrize(
    "form", ["qdq-u8s8-channel-asyma-symw", "qdq-s8s8-tensor-syma-symw",
             "qdq-u8u8-tensor-asyma-asymw"],
)
@pytest.mark.parametrize("seed", range(3))
def test_every_runtime_node_of_an_encoder_is_exact_for_its_inputs(form, seed):
    build = Builder(seed)
    lowered = lower(build.quantized(encoder(build, "x"), FORMS[form]))
    graph = legalize(lowered)
    tensors = evaluate(graph, inputs(seed))
    judged = 0
    for node in graph.nodes:
        expected = node_reference(lowered, graph, node, tensors)
        actual = tensors[node.y.name]
        assert expected is not None
        judged += node.kind != "view"
        if node.promise == "runtime":
            assert np.array_equal(actual, expected), node.name
            assert actual.dtype == expected.dtype
        else:
            assert node.kind == "normalize"
            assert np.abs(actual.astype(int) - expected).max() <= 1
    assert judged == 21


def test_an_encoder_says_what_is_not_the_runtimes():
    build = Builder()
    graph = legalize(lower(build.quantized(encoder(build, "x"))))
    assert [node.name for node in graph.nodes if node.promise == "golden"] == ["norm1", "norm2"]
    assert [note.node for note in graph.notes if "golden-exact" in note.text] == ["norm1", "norm2"]
    (table,) = (node for node in graph.nodes if isinstance(node, TableNode))
    assert table.op == "Div+Erf+QLinearAdd+QLinearMul+QLinearMul"
    (softmax,) = (node for node in graph.nodes if isinstance(node, SoftmaxNode))
    assert softmax.x.shape == (BATCH, HEADS, LENGTH, LENGTH)


def test_a_wrong_node_is_seen():
    build = Builder()
    lowered = lower(build.quantized(attention(build, "x")))
    graph = legalize(lowered)
    tensors = evaluate(graph, inputs(0))
    scores = next(node for node in graph.nodes if isinstance(node, ProductNode))
    tensors[scores.z.name] = tensors[scores.z.name].copy()
    tensors[scores.z.name][0, 0, 0, 0] ^= 64
    expected = node_reference(lowered, graph, scores, tensors)
    assert not np.array_equal(expected, tensors[scores.y.name])
