# SPDX-License-Identifier: Apache-2.0
"""The attention blocks compute attention, obey their masks, and lower to integer operators."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from kiwicha.compiler.frontend.lower import lower
from kiwicha.models.attention import MASK, attention_block, attention_inputs

SIZES = {"sequence": 9, "heads": 3, "head_dim": 4, "batch": 2}
KINDS = {
    "-".join(name for name, on in kind.items() if on) or "plain": kind
    for kind in (
        dict(zip(("causal", "padding", "projected", "signed"), on, strict=True))
        for on in product((False, True), repeat=4)
    )
}
INTEGER = {
    "QuantizeLinear", "QLinearMatMul", "QLinearAdd", "QLinearSoftmax", "Reshape", "Transpose",
    "DequantizeLinear",
}


def block(**options: object) -> onnx.ModelProto:
    return attention_block(**(SIZES | {"embedding": 12, "seed": 5} | options))


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    for key, value in lower(model).settings:
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    result: np.ndarray = session.run(None, feed)[0]
    return result


def reference(
    model: onnx.ModelProto, feed: dict[str, np.ndarray], *, causal: bool
) -> np.ndarray:
    """Attention in floating point, one query at a time."""
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}

    def weight(name: str) -> np.ndarray:
        return tensors[f"w{name}_quantized"] * tensors[f"w{name}_scale"]

    q, k, v = (feed["x"] @ weight(n) if "x" in feed else feed[n] for n in "qkv")
    y = np.zeros(q.shape)
    depth = SIZES["head_dim"]
    for n, i in np.ndindex(q.shape[:2]):
        live = np.ones(q.shape[1], bool) if "mask" not in feed else feed["mask"][n, 0, 0] == 0
        live = live & (np.arange(len(live)) <= i) if causal else live
        for h in range(0, q.shape[2], depth):
            e = np.exp(k[n, live, h : h + depth] @ q[n, i, h : h + depth])
            y[n, i, h : h + depth] = e @ v[n, live, h : h + depth] / e.sum()
    return y @ weight("out") if "x" in feed else y


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_block_computes_attention(kind) -> None:
    model = block(**kind)
    feed = attention_inputs(model)
    assert set(feed) == ({"x"} if kind["projected"] else set("qkv")) | (
        {"mask"} if kind["padding"] else set()
    )
    result, expected = run(model, feed), reference(model, feed, causal=kind["causal"])
    assert result.shape == expected.shape
    assert np.abs(result - expected).mean() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_block_lowers_to_integers_of_its_type(kind) -> None:
    lowered = lower(block(**kind)).model.graph
    operators = [node.op_type for node in lowered.node]
    assert set(operators) <= INTEGER
    assert operators.count("QLinearMatMul") == (6 if kind["projected"] else 2)
    assert operators.count("QLinearAdd") == kind["causal"] + kind["padding"]
    tensors = {t.name: numpy_helper.to_array(t) for t in lowered.initializer}
    final = lowered.node[-1]
    dtype = np.int8 if kind["signed"] else np.uint8
    assert (final.op_type, tensors[final.input[2]].dtype) == ("DequantizeLinear", dtype)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_masked_keys_change_no_bit(signed, causal) -> None:
    model = block(projected=False, padding=True, causal=causal, signed=signed)
    feed = attention_inputs(model)
    hidden = feed["mask"][:, 0, 0] == MASK
    assert hidden.any()
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal(feed["k"].shape).astype(np.float32) for _ in range(2)]
    other = feed | {
        name: np.where(hidden[..., None], change, feed[name])
        for name, change in zip("kv", noise, strict=True)
    }
    assert np.array_equal(run(model, feed), run(model, other))
    later = np.arange(hidden.shape[1]) > 4
    other = feed | {
        name: np.where(later[:, None], change, feed[name])
        for name, change in zip("kv", noise, strict=True)
    }
    first, second = run(model, feed), run(model, other)
    assert np.array_equal(first[:, :5], second[:, :5]) == causal
    assert not np.array_equal(first, second)


def test_same_seed_same_graph() -> None:
    first, same, other = (block(causal=True, seed=seed) for seed in (1, 1, 2))
    assert first == same
    assert first != other


@pytest.mark.parametrize(("options", "message"), [
    ({"heads": 0}, "^embedding, heads, head_dim, batch: must be at least 1$"),
    ({"sequence": 1}, "^sequence=1: must be at least 2$"),
    ({"embedding": 13, "projected": False}, r"^embedding=13: must be 12 \(heads \* head_dim\)$"),
])
def test_bad_sizes_are_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        block(**options)


def test_any_sizes_do() -> None:
    for sizes in ((2, 4, 1, 4, 1), (33, 20, 5, 3, 1), (7, 64, 2, 16, 3)):
        names = ("sequence", "embedding", "heads", "head_dim", "batch")
        model = attention_block(**dict(zip(names, sizes, strict=True)), padding=True)
        result = run(model, attention_inputs(model))
        assert result.shape == (sizes[4], sizes[0], sizes[1])
        assert len(np.unique(result)) > 2
