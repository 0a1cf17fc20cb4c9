# SPDX-License-Identifier: Apache-2.0
"""A float value that nobody quantizes before an operator that reads codes: codes of a scale of its
own.

Limits, pools and parts often leave values that the input's own scale has, which changes nothing.
Functions and normalizations get the scale of all that they may be, in 8 bits: golden-exact, noted.
"""

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import Refusal, node_name
from kiwicha.compiler.graph.graph import ConvNode, PoolNode, TableNode, Tensor
from kiwicha.compiler.ops.chain import chain_table, chain_values, dequantized, emit_chain
from kiwicha.compiler.ops.context import Context, FloatValue
from kiwicha.compiler.ops.function import code_function
from kiwicha.compiler.ops.rows import emit_views

__all__ = ["in_codes"]

_LIMITS = {"clip", "view", "pool", "part"}
_FUNCTIONS = {"map", "clip", "view"}
_REACHING = {"normalize", "affine", "clip", "view"}


def in_codes(context: Context, node: onnx.NodeProto, name: str) -> FloatValue:
    """Return a float value as codes, where nothing but views of them may precede ``node``; as it
    is where there is nothing to do, or no rule."""
    value = context.floats[name]
    kinds = {op.kind for op in value.operations}
    if kinds <= {"view"} or not isinstance(value.origin, Tensor) or name in context.unknown:
        return value
    if name in context.own:
        return context.own[name]
    made = None
    if kinds <= _LIMITS:
        made = _limited(context, node, name, value)
    if made is None and kinds <= _FUNCTIONS:
        made = _function(context, node, name, value)
    if kinds <= _REACHING and kinds & {"normalize", "affine"}:
        made = _reaching(context, node, name, value)
    if made is None:
        return value
    context.own[name] = FloatValue(made)
    origin = value.origin.name
    context.before[made.name] = context.before.get(origin, origin)
    return context.own[name]


def _limited(context: Context, node: onnx.NodeProto, name: str, value: FloatValue) -> Tensor | None:
    """Return limits, pools and parts in the input's own scale, where that has all their values."""
    x = value.origin
    assert isinstance(x, Tensor)
    y = replace(x, name=context.names.fresh(name, "codes"), shape=value.shape)
    codes = chain_table(x, value.operations, y)
    if not np.array_equal(dequantized(y, codes), chain_values(x, value.operations)):
        return None
    return emit_chain(context, node, x, value.operations, y)


def _function(context: Context, node: onnx.NodeProto, name: str, value: FloatValue) -> Tensor:
    """Return a function of codes by table."""
    x = value.origin
    assert isinstance(x, Tensor)
    x = context.settled(context.tensors[context.roots.get(x.name, x).name])
    real = code_function(context, x, name).values[0].astype(np.float64)
    if not np.isfinite(real).all():
        raise Refusal(f"its input '{name}' is infinite or NaN for some codes; quantize it")
    target = _spanning(x, context.names.fresh(name, "codes"), real)
    table = np.rint(real / float(target.scale)) + target.zero_point
    raw = np.clip(table, 0, 255).astype(np.uint8)
    last = value.operations[-1].node
    label = "+".join(op.node.op_type for op in value.operations if op.kind != "view")
    made = replace(target, shape=x.shape, layout=x.layout)
    context.emit(TableNode(node_name(last), label, x, made, raw, "golden"))
    _tell(context, last, node)
    views = [op.view for op in value.operations if op.kind == "view"]
    return emit_views(context, node, made, views)


def _reaching(
    context: Context, node: onnx.NodeProto, name: str, value: FloatValue
) -> Tensor | None:
    """Return what an operation that says its reach leaves, and limits and views around it."""
    done = next(op for op in value.operations if op.reach is not None)
    if done.finish is None or done.reach is None:
        return None
    low, high = done.reach
    for op in value.operations:
        if op.kind == "clip":
            low, high = (float(np.clip(end, *op.bounds)) for end in (low, high))
    target = _spanning(value.origin, context.names.fresh(name, "codes"), np.array([low, high]))
    assert isinstance(value.origin, Tensor)
    target = replace(target, shape=value.shape)
    first = len(context.nodes)
    done.finish(context, node, value.origin, value.operations, target)
    for place, emitted in enumerate(context.nodes[first:], first):
        if isinstance(emitted, ConvNode | PoolNode):  # the runtime rounds nothing here
            context.nodes[place] = replace(emitted, promise="golden")
    _tell(context, done.node, node)
    return context.tensors[target.name]


def _spanning(x: object, name: str, real: NDArray[np.float64]) -> Tensor:
    """Return a tensor of uint8 that has all of some values and 0, its shape still open."""
    assert isinstance(x, Tensor)
    low, high = min(float(real.min()), 0.0), max(float(real.max()), 0.0)
    scale = np.float32(max((high - low) / 255, float(np.finfo(np.float32).tiny)))
    zero = int(np.rint(-low / float(scale)))
    return Tensor(name, (), np.dtype(np.uint8), scale, min(zero, 255))


def _tell(context: Context, done: onnx.NodeProto, reader: onnx.NodeProto) -> None:
    context.note(
        done, f"lowered by kiwicha: {done.op_type}, which {reader.op_type} reads in float, in 8 "
        "bits of a scale of its own (golden-exact)",
    )
