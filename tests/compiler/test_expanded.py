# SPDX-License-Identifier: Apache-2.0
"""Attention of opset 23, written out and quantized by ONNX Runtime: every bit is the runtime's, and
in float what is written out is the operator."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel
from kiwicha.models.expand import expanded
from kiwicha.models.quantize import DEFAULT, Form, quantize

from ..support.slow import slow
from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

LOW = np.triu(np.full((5, 7), -np.inf, np.float32), 3)


def attention(q=(1, 4, 5, 8), kv=(1, 4, 7, 8), mask=None, inputs=None, **given):
    """Return a model of an Attention, and the shapes of its inputs."""
    shapes = {"q": q, "k": kv, "v": kv} | (inputs or {})
    constants = {} if mask is None else {"m": mask}
    names = [*"qkv", *(["m"] if "m" in {**shapes, **constants} else [])]
    graph = helper.make_graph(
        [node("Attention", names, ["y"], name="it", **given)], "test",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 23)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10), shapes


CASES = {
    "plain": attention(),
    "causal": attention(is_causal=1),
    "a mask of bool": attention(mask=np.isfinite(LOW)),
    "padded keys": attention(mask=np.repeat(np.isfinite(LOW[2:3]), 5, axis=0)),
    "a mask that is added": attention(mask=LOW),
    "a mask as input": attention(inputs={"m": (5, 7)}),
    "grouped queries": attention(kv=(1, 2, 7, 8), is_causal=1),
    "one key for all": attention(q=(2, 4, 3, 8), kv=(2, 1, 6, 8)),
    "three dimensions": attention((2, 5, 32), (2, 7, 16), q_num_heads=4, kv_num_heads=2,
                                  is_causal=1),
    "a softcap": attention(softcap=2.0),
    "a scale": attention(scale=0.5, is_causal=1),
}


def check(float_model, shapes, form, most=0.05, exact=True):
    rng = np.random.RandomState(4)
    samples = {n: rng.standard_normal((3, *s)).astype(np.float32) for n, s in shapes.items()}
    plain = expanded(float_model)
    given = {name: values[0] for name, values in samples.items()}
    before, after = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
        .run(["y"], given)[0] for m in (float_model, plain)
    )
    assert before.shape == after.shape
    assert np.abs(before - after).max() < most * np.abs(before).max()
    return agree(quantize(plain, form, samples), given, exact=exact)


@pytest.mark.parametrize("form", [DEFAULT, Form(activations="s8")], ids=lambda form: form.name)
@pytest.mark.parametrize("name", CASES)
def test_written_out(name, form):
    graph = check(*CASES[name], form)
    assert [n.kind for n in graph.nodes].count("product") == 2
    assert sum(n.kind == "softmax" for n in graph.nodes) == 1
    runs(graph, "default")


ROTATIONS = {"halves": {}, "interleaved": {"interleaved": 1}, "a part": {"rotary_embedding_dim": 4}}


@pytest.mark.parametrize("name", ROTATIONS)
def test_rotary_embeddings(name):
    """Before an attention, with angles for each position."""
    given, rng = ROTATIONS[name], np.random.RandomState(1)
    angles = rng.uniform(0, 6, (1, 5, given.get("rotary_embedding_dim", 8) // 2))
    built, shapes = attention(kv=(1, 4, 5, 8), is_causal=1)
    graph = built.graph
    for place, source in enumerate("qk"):
        graph.node.insert(place, node("RotaryEmbedding", [source, "cos", "sin"], [f"r{source}"],
                                      name=f"rotate_{source}", **given))
        graph.node[-1].input[place] = f"r{source}"
    graph.initializer.extend(
        numpy_helper.from_array(f(angles).astype(np.float32), f.__name__) for f in (np.cos, np.sin)
    )
    made = check(built, shapes, DEFAULT, exact=False)
    assert not [n for n in made.nodes if n.promise == "golden"]
    runs(made, "default")


@slow("1024")
@pytest.mark.parametrize("length", [1, 2, 17, 255, 1024])
def test_one_query_of_many_keys(length):
    """A step of a decoder, keys of all positions before it in a cache."""
    runs(check(*attention((1, 4, 1, 16), (1, 2, length, 16)), DEFAULT), "default")


@pytest.mark.parametrize("low", [-np.inf, np.finfo(np.float32).min, -10000])
@pytest.mark.parametrize("operator", ["Where", "Add"])
def test_masks_that_are_written_out(operator, low):
    """As exporters have them: no scale reaches so far, and what is hidden stays so."""
    seen, low = np.tri(5, 7, dtype=bool), np.float32(low)
    mask = {"m": seen, "low": low} if operator == "Where" else {"m": np.where(seen, 0, low)}
    inputs = ["m", "s", "low"] if operator == "Where" else ["s", "m"]
    graph = helper.make_graph(
        [node("MatMul", ["q", "k"], ["s"]), node(operator, inputs, ["h"]),
         node("Softmax", ["h"], ["p"], axis=-1), node("MatMul", ["p", "v"], ["y"])], "test",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in
         {"q": (1, 2, 5, 8), "k": (1, 2, 8, 7), "v": (1, 2, 7, 8)}.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in mask.items()],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rng = np.random.RandomState(4)
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
              for value in graph.input}
    samples = {n: rng.standard_normal((3, *s)).astype(np.float32) for n, s in shapes.items()}
    given = {name: values[0] for name, values in samples.items()}
    quantized = quantize(expanded(built, ()), DEFAULT, samples)
    runs(agree(quantized, given), "default")
    real, codes = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
        .run(["y"], given)[0] for m in (built, quantized)
    )
    assert np.abs(real - codes).max() < 0.1 * np.abs(real).max()


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_the_operator_itself_is_refused(domain):
    """With a sentence that says what to do."""
    name = "MultiHeadAttention" if domain else "Attention"
    made = node(name, ["f", "f", "f"], ["a"], name="it", domain=domain,
                **{"num_heads" if domain else "q_num_heads": 2},
                **({} if domain else {"kv_num_heads": 2}))
    built = model([q("x", "xq", "x"), dq("xq", "f", "x"), made, q("a", "yq", "x"),
                   dq("yq", "y", "x")], scales(x=(0.03, np.uint8(120))), {"x": [1, 5, 8]}, opset=23)
    built.ir_version = 10
    with pytest.raises(UnsupportedModel, match=r"is float inside; write it out .*models\.expand"):
        legalize(lower(built))
