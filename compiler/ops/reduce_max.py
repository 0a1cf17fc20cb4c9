# SPDX-License-Identifier: Apache-2.0
"""GlobalMaxPool, and ReduceMax over axes of space: a MaxPool with a window as long as they are."""

from dataclasses import replace

import onnx
from onnx import helper

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import Shape
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.pool import emit_pool
from kiwicha.compiler.ops.view import emit_view
from kiwicha.compiler.ops.window import RANK

__all__ = ["OPERATORS"]

_SPACE = Limit(
    "reduces axis {axis} of {rank}; the machine's windows are over axes 2 and 3",
    lambda axis, rank: 2 <= axis < rank,
)


def float_maximum(context: Context, node: onnx.NodeProto) -> None:
    """Of a float value; nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    window, pooled, shape = _window(context, node, value.shape)
    done = [FloatOp("pool", window, pooled)]
    if shape != pooled:
        done.append(FloatOp("view", node, shape, view=("reshape", shape)))
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, *done))


def maximum(context: Context, node: onnx.NodeProto) -> None:
    """Input x; scale and zero point pass through."""
    x = context.tensor(node.input[0])
    window, pooled, shape = _window(context, node, x.shape)
    name = node.output[0]
    if shape == pooled:
        emit_pool(context, window, x, replace(x, name=name), op=node.op_type)
        return
    kept = replace(x, name=context.names.fresh(name, "kept"))
    y = emit_pool(context, window, x, kept, op=node.op_type)
    emit_view(context, node, y, ("reshape", shape), replace(y, name=name, shape=shape))


def _window(
    context: Context, node: onnx.NodeProto, shape: Shape
) -> tuple[onnx.NodeProto, Shape, Shape]:
    """Return the node with a kernel, the shape that its maxima have, and that of its result."""
    RANK.check(rank=len(shape) - 2)
    given, axes = attributes(node), list(range(2, len(shape)))
    keep = True
    if node.op_type == "ReduceMax":
        axes, keep = _axes(context, node, len(shape)), bool(given.get("keepdims", 1))
    for axis in axes:
        _SPACE.check(axis=axis, rank=len(shape))
    kernel = [length if axis in axes else 1 for axis, length in enumerate(shape)][2:]
    window = helper.make_node(
        node.op_type, node.input[:1], node.output[:1], name=node_name(node), kernel_shape=kernel
    )
    pooled = tuple(1 if axis in axes else length for axis, length in enumerate(shape))
    if keep:
        return window, pooled, pooled
    return window, pooled, tuple(n for axis, n in enumerate(shape) if axis not in axes)


def _axes(context: Context, node: onnx.NodeProto, rank: int) -> list[int]:
    """Return the axes: an attribute before opset 18 and an input after; all where left out."""
    given = attributes(node).get("axes")
    if len(node.input) > 1 and node.input[1]:
        given = context.constant(node, 1, "axes").reshape(-1)
    if given is not None and len(given):
        return [int(axis) % rank for axis in given]
    return [] if attributes(node).get("noop_with_empty_axes", 0) else list(range(rank))


OPERATORS = (
    Operator(
        "GlobalMaxPool, ReduceMax",
        (
            Form("QDQ", ("GlobalMaxPool", "ReduceMax"), "runtime", float_maximum, first_is_float),
            Form("QOperator", ("ReduceMax",), "runtime", maximum),
        ),
        "pool.max_pool2d",
        (RANK, _SPACE),
        "1-D and 2-D images, all axes of space or one of them, axes kept or not",
        ("tests/compiler/test_reduce_max.py",),
    ),
)
