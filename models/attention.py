# SPDX-License-Identifier: Apache-2.0
"""Quantized attention blocks of any size as ONNX graphs, for tests and benchmarks.

Nothing is trained: weights and the data that set the scales come from a seed. The graphs have the
Q/DQ form that ``onnxruntime.quantization.quantize_static`` writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["MASK", "attention_block", "attention_inputs"]

OPSET, IR_VERSION = 17, 8
MASK = -64.0  #: added to a masked score
#: how far below the lowest score masked ones saturate: exp(-8) rounds to nothing in eight bits
FLOOR = 8
TOKENS = 64  #: at least so many set the scales, however small the block

Array = NDArray[np.float32]


def attention_inputs(model: onnx.ModelProto, seed: int = 1) -> dict[str, Array]:
    """Random inputs for a block: standard normal, ``mask`` with a length from 1 for each sample.

    The queries ``q`` carry the division by the square root of the head's depth.
    """
    shapes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in model.graph.input
    }
    depth = next(p.value for p in model.metadata_props if p.key == "head_dim")
    return _random_inputs(shapes, int(depth), seed)


def _random_inputs(shapes: dict[str, list[int]], depth: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for name, shape in shapes.items():
        if name == "mask":
            lengths = rng.integers(1, shape[-1] + 1, shape[0])
            padding = np.arange(shape[-1]) >= lengths[:, None]
            arrays[name] = np.where(padding, MASK, 0).astype(np.float32).reshape(shape)
        else:
            factor = depth**-0.5 if name == "q" else 1.0
            arrays[name] = (rng.standard_normal(shape) * factor).astype(np.float32)
    return arrays


class _Graph:
    """Writes nodes, works out each one's value beside it, and quantizes every value."""

    def __init__(self, *, signed: bool) -> None:
        self.dtype = np.dtype(np.int8 if signed else np.uint8)
        self.low = int(np.iinfo(self.dtype).min)
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.values: dict[str, Array] = {}
        self.keys: dict[str, str] = {}  #: whose scale and zero point a tensor has

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def scale(self, key: str, scale: float, zero: int) -> str:
        self.constant(f"{key}_scale", np.float32(scale))
        self.constant(f"{key}_zero_point", self.dtype.type(zero))
        return key

    def range(self, key: str, value: Array) -> str:
        """Scale and zero point for the range of ``value``, zero included, as min-max does."""
        low, high = min(0.0, float(value.min())), max(0.0, float(value.max()))
        scale = (high - low) / 255 or 1.0
        return self.scale(key, scale, round(self.low - low / scale))

    def quantize(self, name: str, value: Array, key: str) -> str:
        """Q and DQ after the tensor ``name``; returns the name to read it by."""
        parameters = [f"{key}_scale", f"{key}_zero_point"]
        self.nodes.append(helper.make_node(
            "QuantizeLinear", [name, *parameters], [f"{name}_q"], name=f"{name}_quantize"))
        self.nodes.append(helper.make_node(
            "DequantizeLinear", [f"{name}_q", *parameters], [f"{name}_dq"],
            name=f"{name}_dequantize"))
        self.values[f"{name}_dq"], self.keys[f"{name}_dq"] = value, key
        return f"{name}_dq"

    def node(self, op: str, name: str, inputs: Sequence[str], value: Array, key: str = "",
             **attributes: Any) -> str:
        """A node and the Q and DQ of its output; ``key`` is the range's own if not given."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{name}_node", **attributes))
        return self.quantize(name, value, key or self.range(name, value))

    def view(self, op: str, name: str, x: str, value: Array, *shape: str, **attributes: Any) -> str:
        """A node that moves nothing but the view: scale and zero point stay."""
        return self.node(op, name, [x, *shape], value, self.keys[x], **attributes)

    def weight(self, name: str, value: Array) -> str:
        """An int8 weight (K x N) with a scale per column, behind DQ."""
        scale = (np.abs(value).max(axis=0) / 127).astype(np.float32)
        self.constant(f"{name}_quantized", np.rint(value / scale).astype(np.int8))
        self.constant(f"{name}_scale", scale)
        self.constant(f"{name}_zero_point", np.zeros(len(scale), np.int8))
        parts = [f"{name}_{part}" for part in ("quantized", "scale", "zero_point")]
        self.nodes.append(helper.make_node(
            "DequantizeLinear", parts, [name], name=f"{name}_dequantize", axis=1))
        return name


def attention_block(
    *, sequence: int, embedding: int, heads: int, head_dim: int, batch: int = 1,
    causal: bool = False, padding: bool = False, projected: bool = True, signed: bool = False,
    seed: int = 0,
) -> onnx.ModelProto:
    """Self-attention: softmax(Q K^T + mask) V for each head, the heads side by side.

    Parameters
    ----------
    sequence, embedding, heads, head_dim, batch : S, E, H, D, N
    causal : a query sees no later key (a constant mask, 1 x 1 x S x S)
    padding : the input ``mask`` (N x 1 x 1 x S, 0 or `MASK`) hides keys
    projected : weight matrices make Q, K and V of the one input ``x``, and the output ``y`` of the
        heads' results; otherwise the inputs are ``q``, ``k`` and ``v``, and ``embedding`` must be
        H * D. All of these are N x S x E
    signed : int8 activations rather than uint8

    Raises
    ------
    ValueError
        A size is not positive, or ``embedding`` is wrong without projections, or ``sequence`` is 1
        (ONNX Runtime's QLinearSoftmax overflows on rows of one element).
    """
    if min(embedding, heads, head_dim, batch) < 1:
        raise ValueError("embedding, heads, head_dim, batch: must be at least 1")
    if sequence < 2:
        raise ValueError(f"sequence={sequence}: must be at least 2")
    width = heads * head_dim
    if not projected and embedding != width:
        raise ValueError(f"embedding={embedding}: must be {width} (heads * head_dim)")
    shapes = {name: [batch, sequence, embedding] for name in (("x",) if projected else "qkv")}
    if padding:
        shapes["mask"] = [batch, 1, 1, sequence]
    model = helper.make_model(
        helper.make_graph(
            [], "attention",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, sequence, embedding])],
        ),
        producer_name="kiwicha", ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, {"head_dim": str(head_dim)})
    rng, g = np.random.default_rng(seed), _Graph(signed=signed)
    values, samples = g.values, -(-TOKENS // sequence)
    drawn = {name: [samples, *shape[1:]] for name, shape in shapes.items()}
    given = {
        name: g.quantize(name, value, g.range(name, value))
        for name, value in _random_inputs(drawn, head_dim, seed + 1).items()
    }

    def product(name: str, x: str, inputs: int, outputs: int, factor: float = 1.0) -> str:
        value = (rng.standard_normal((inputs, outputs)) * factor * inputs**-0.5).astype(np.float32)
        return g.node("MatMul", name, [x, g.weight(f"w{name}", value)], values[x] @ value)

    def split(name: str, *order: int) -> str:
        factor = head_dim**-0.5 if name == "q" else 1.0
        x = product(name, given["x"], embedding, width, factor) if projected else given[name]
        value = values[x].reshape(samples, sequence, heads, head_dim)
        x = g.view("Reshape", f"{name}_split", x, value, "split")
        return g.view("Transpose", f"{name}_heads", x, value.transpose(order), perm=order)

    g.constant("split", np.array([batch, sequence, heads, head_dim]))
    q, k, v = split("q", 0, 2, 1, 3), split("k", 0, 2, 3, 1), split("v", 0, 2, 1, 3)
    score = g.node("MatMul", "score", [q, k], values[q] @ values[k])
    floor = values[score].min() - np.float32(FLOOR)
    masks = [given["mask"]] if padding else []
    if causal:
        value = np.triu(np.full((1, 1, sequence, sequence), MASK, np.float32), 1)
        key = g.range("causal", value)
        masks.append(g.quantize(g.constant("causal", value), value, key))
    for mask in masks:
        # Masked scores lie below the range and saturate: the scale need not grow for the mask.
        value = np.maximum(values[score] + values[mask], floor)
        score = g.node("Add", f"masked_{mask.removesuffix('_dq')}", [score, mask], value)
    e = np.exp(values[score] - values[score].max(axis=-1, keepdims=True))
    share = g.node("Softmax", "share", [score], e / e.sum(axis=-1, keepdims=True),
                   g.scale("share", 1 / 256, g.low), axis=-1)
    y = g.node("MatMul", "mix", [share, v], values[share] @ values[v])
    value = values[y].transpose(0, 2, 1, 3)
    y = g.view("Transpose", "tokens", y, value, perm=[0, 2, 1, 3])
    g.constant("join", np.array([batch, sequence, width]))
    y = g.view("Reshape", "joined", y, value.reshape(samples, sequence, width), "join")
    if projected:
        y = product("out", y, width, embedding)
    g.nodes[-1].output[0] = "y"
    model.graph.node.extend(g.nodes)
    model.graph.initializer.extend(g.constants)
    onnx.checker.check_model(model, full_check=True)
    return model
