# SPDX-License-Identifier: Apache-2.0
"""Float chains on quantized codes: what stands between DequantizeLinear and QuantizeLinear.

Relu, Clip, MaxPool and views are monotone, so they commute with rounding: the chain is one map of
256 codes, then integer pooling and views. The map becomes a clamp of the node before, a
requantization of its own, which is checked on every code, or else a table; the bits are those of
the float chain.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import (
    DynamicLinearNode,
    DynamicProductNode,
    DynamicRealNode,
    DynamicScaleNode,
    MoveNode,
    NormalizeNode,
    PoolNode,
    SoftmaxNode,
    TableNode,
    Tensor,
    ViewNode,
)
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.context import Context, FloatOp
from kiwicha.compiler.ops.part import emit_part
from kiwicha.compiler.ops.pool import emit_pool, ratio64
from kiwicha.compiler.ops.view import emit_view

__all__ = [
    "as_requantize",
    "chain_table",
    "chain_values",
    "code_bounds",
    "dequantized",
    "emit_chain",
    "expressible",
    "note_chain",
]

Operations = tuple[FloatOp, ...]

_UNCLAMPED = (
    ViewNode, TableNode, SoftmaxNode, NormalizeNode, DynamicLinearNode, DynamicProductNode,
    DynamicRealNode, DynamicScaleNode, MoveNode,
)
_RESIZED = ("pool", "part")  # layers that may rescale and clamp on the way


def dequantized(tensor: Tensor, codes: NDArray[np.int32]) -> NDArray[np.float32]:
    """DequantizeLinear in float32."""
    with np.errstate(over="ignore"):
        return (codes - tensor.zero_point).astype(np.float32) * tensor.scale


def chain_values(x: Tensor, operations: Operations) -> NDArray[np.float32]:
    """Return what the clips of a chain make of every code of ``x``, lowest code first."""
    real = dequantized(x, _codes(x))
    for operation in operations:
        real = np.minimum(np.maximum(real, operation.bounds[0]), operation.bounds[1])
    return real


def chain_table(x: Tensor, operations: Operations, target: Tensor) -> NDArray[np.int32]:
    """Return the code of ``target`` for every code of ``x``: QuantizeLinear in float32."""
    info, zero = np.iinfo(target.dtype), target.zero_point
    with np.errstate(over="ignore"):
        ratio = chain_values(x, operations) / target.scale
    return np.rint(np.clip(ratio, info.min - zero, info.max - zero)).astype(np.int32) + zero


def _codes(tensor: Tensor) -> NDArray[np.int32]:
    info = np.iinfo(tensor.dtype)
    return np.arange(info.min, info.max + 1, dtype=np.int32)


def code_bounds(target: Tensor, clips: Sequence[FloatOp]) -> tuple[int, int]:
    """Return the least and the greatest code of ``target`` that some clips leave."""
    info, zero = np.iinfo(target.dtype), target.zero_point
    low, high = float(info.min), float(info.max)
    for clip in clips:
        first, last = (
            float(np.clip(np.rint(float(bound) / float(target.scale)) + zero, info.min, info.max))
            for bound in clip.bounds
        )
        low, high = (min(max(bound, first), last) for bound in (low, high))
    return int(low), int(high)


def emit_chain(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    operations: Operations,
    target: Tensor,
) -> Tensor:
    """Emit what a float chain from ``x`` to a QuantizeLinear does to the codes.

    Parameters
    ----------
    node : the QuantizeLinear, or the last operation before a graph output.
    operations : the chain; the last one (or a node of its own) writes ``target``.
    """
    table = chain_table(x, operations, target)
    moves = [op for op in operations if op.kind != "clip"]
    clips = [op for op in operations if op.kind == "clip"]
    label, owner = "+".join(op.node.op_type for op in clips), (*(op.node for op in clips), node)[0]
    info = np.iinfo(target.dtype)
    found = as_requantize(x, target, table)
    if found is None:
        if x.name in context.free and moves and moves[0].kind == "pool":
            x = context.settle(x, channels_last(len(x.shape)))
        x = context.settled(x)
        name = context.names.fresh(target.name, "codes") if moves else target.name
        y = replace(target, name=name, shape=x.shape, layout=x.layout)
        raw = np.roll(table.astype(y.dtype).view(np.uint8), np.iinfo(x.dtype).min)
        context.emit(TableNode(node_name(owner), label or "Requantize", x, y, raw))
        context.roots[name] = context.roots.get(x.name, x)
        x, label, found = y, "", (np.float32(1), int(info.min), int(info.max))
    scale, low, high = found
    plain = scale == 1 and x.dtype == target.dtype and x.zero_point == target.zero_point
    plain = plain and (low, high) == (info.min, info.max)
    if not plain and scale == 1 and not any(op.kind == "part" for op in moves):
        through = [node.input[0]]
        through += [name for op in operations for name in (op.node.input[0], op.node.output[0])]
        name = context.names.fresh(target.name, "codes") if moves else target.name
        fused = _fuse(context, x, through, replace(target, name=name), low, high, label)
        if fused is not None:
            x, plain = fused, True
    pooled = plain
    if not pooled and not any(op.kind in _RESIZED for op in moves):
        name = context.names.fresh(target.name, "codes") if moves else target.name
        x = context.settled(x)
        y = replace(target, name=name, shape=x.shape, layout=x.layout)
        title = label or "Requantize"
        context.emit(PoolNode(
            node_name(owner), title, x, y, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), scale,
            ratio64(x, y), low, high,
        ))
        context.roots[name] = context.roots.get(x.name, x)
        x, pooled = y, True
    for place, move in enumerate(moves):
        last = place == len(moves) - 1
        name = target.name
        if not last:
            name = context.names.fresh(target.name, node_name(move.node))
        if move.kind in _RESIZED:
            emit: Any = emit_pool if move.box is None else partial(emit_part, box=move.box)
            y = replace(target, name=name)
            if pooled:
                x = emit(context, move.node, x, y)
            else:
                title = "+".join(filter(None, [move.node.op_type, label]))
                x = emit(context, move.node, x, y, scale=scale, bounds=(low, high), op=title)
                pooled = True
        else:
            kept = target if pooled else x
            y = replace(kept, name=name, shape=move.shape)
            x = emit_view(context, move.node, x, move.view, y)
    if x.name != target.name:  # nothing was left to do: the same codes under another name
        y = replace(target, shape=x.shape, layout=x.layout)
        x = emit_view(context, node, x, ("reshape", x.shape), y)
    return x


def expressible(x: Tensor, operations: Operations, target: Tensor) -> bool:
    """Whether the requantizer can, or `emit_chain` has to because a pooling or a part is in the
    chain."""
    resized = any(op.kind in _RESIZED for op in operations)
    return resized or as_requantize(x, target, chain_table(x, operations, target)) is not None


def as_requantize(
    x: Tensor, target: Tensor, table: NDArray[np.int32]
) -> tuple[np.float32, int, int] | None:
    """Return scale and bounds with which the requantizer computes ``table`` on every code; None
    where no float32 scale near the ratio of the two does."""
    acc = (_codes(x) - x.zero_point).astype(np.float32)
    low, high = int(table.min()), int(table.max())
    info = np.iinfo(target.dtype)
    with np.errstate(all="ignore"):
        ratio = np.float32(x.scale / target.scale)
    candidates = [np.float32(1)]
    if np.isfinite(ratio) and ratio >= np.finfo(np.float32).tiny:
        nearby = ratio.view(np.int32) + np.array(sorted(range(-8, 9), key=abs), np.int32)
        candidates += list(nearby.view(np.float32))
    zero = target.zero_point
    for scale in candidates:
        value = np.rint(np.clip(acc * scale, info.min - zero, info.max - zero)) + zero
        if np.array_equal(value, table):
            return scale, int(info.min), int(info.max)
        if np.array_equal(np.clip(value, low, high), table):
            return scale, low, high
    return None


def _fuse(
    context: Context, x: Tensor, through: list[str], y: Tensor, low: int, high: int, label: str
) -> Tensor | None:
    """Narrow the clamp of the node that writes ``x`` if nobody else reads that or what follows."""
    place = next((i for i, n in enumerate(context.nodes) if n.y.name == x.name), None)
    if place is None or any(context.uses[name] != 1 for name in (x.name, *through)):
        return None
    node = context.nodes[place]
    if isinstance(node, _UNCLAMPED):
        return None  # these have no clamp, or none that could be narrower
    if node.y.zero_point != x.zero_point:
        return None
    move = y.zero_point - node.y.zero_point
    y = replace(y, shape=node.y.shape, layout=node.y.layout)
    bounds = [min(max(bound + move, low), high) for bound in (node.low, node.high)]
    op = "+".join(filter(None, [node.op, label]))
    fused: Any = replace(node, y=y, low=bounds[0], high=bounds[1], op=op)
    del context.tensors[x.name]
    context.nodes[place] = fused
    context.tensors[y.name] = y
    return y


def note_chain(
    context: Context, node: onnx.NodeProto, operations: Sequence[FloatOp], how: str
) -> None:
    """Say in the report that a chain was lowered by our own rule; views alone compute nothing."""
    if not operations or any(op.kind != "view" for op in operations):
        what = ", ".join(op.node.op_type for op in operations) or "change of scale"
        context.note(node, f"lowered by kiwicha: {what} in float, {how}")
