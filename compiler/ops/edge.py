# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear and DequantizeLinear: the graph's edges, and float chains in between."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import Refusal, Unknown, attributes, node_name
from kiwicha.compiler.graph.graph import HostDequantize, HostQuantize, Tensor, Value
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.compiler.ops.affine import emit_affine
from kiwicha.compiler.ops.chain import (
    chain_table,
    chain_values,
    dequantized,
    emit_chain,
    expressible,
)
from kiwicha.compiler.ops.constant import dequantize_constant
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.function import code_function
from kiwicha.compiler.ops.linear import emit_linear
from kiwicha.compiler.ops.normalize import emit_normalize
from kiwicha.compiler.ops.pool import pool_window
from kiwicha.compiler.ops.table import emit_table
from kiwicha.compiler.ops.unsupported import reason_of
from kiwicha.compiler.ops.view import VIEWS, view_of
from kiwicha.compiler.ops.where import emit_where

__all__ = ["FLOAT_OPERATORS", "dequantize_linear", "finish_output", "float_operator",
           "quantize_linear"]

FLOAT_OPERATORS = ("Relu", "Clip", "MaxPool", *VIEWS)


def dequantize_linear(context: Context, node: onnx.NodeProto) -> None:
    """A float reading of a tensor; nothing is computed until somebody needs it."""
    if node.input[0] in context.constants:
        dequantize_constant(context, node)
        return
    x = context.operand(node)
    context.floats[node.output[0]] = FloatValue(x)


def float_operator(context: Context, node: onnx.NodeProto) -> None:
    """Relu, Clip, MaxPool or a view of a float value."""
    value = context.floats[node.input[0]]
    if node.op_type in ("Relu", "Clip"):
        done = FloatOp("clip", node, value.shape, bounds=_bounds(context, node))
    elif node.op_type == "MaxPool":
        frame = pool_window(node, value.shape)
        done = FloatOp("pool", node, (*value.shape[:2], *frame.output))
    else:
        step, shape = view_of(context, node, value.shape)
        done = FloatOp("view", node, shape, view=step)
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _bounds(context: Context, node: onnx.NodeProto) -> tuple[np.float32, np.float32]:
    if node.op_type == "Relu":
        return np.float32(0), np.float32(np.inf)
    given = attributes(node)
    bounds = []
    for index, name, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        bound = given.get(name, default)
        if index < len(node.input) and node.input[index]:
            bound = context.constant(node, index, name).reshape(-1)[0]
        bounds.append(np.float32(bound))
    return bounds[0], bounds[1]


def quantize_linear(context: Context, node: onnx.NodeProto) -> None:
    """Host quantization of a graph input, or the end of a float chain."""
    scale, zero, dtype = context.quantization(node, 1, "output")
    name = node.input[0]
    if name in context.constants:
        raise Refusal(f"input '{name}' is a constant")
    if name not in context.floats:
        raise Unknown
    value = context.floats[name]
    if isinstance(value.origin, Value):
        _from_host(context, node, value, Tensor(node.output[0], (), dtype, scale, zero))
        return
    target = Tensor(node.output[0], value.shape, dtype, scale, zero)
    kinds: list[str] = [op.kind for op in value.operations]
    if "linear" in kinds:
        _product(context, node, value.origin, value.operations, target)
        return
    if kinds[:1] == ["affine"] and set(kinds[1:]) <= {"clip"}:
        emit_affine(context, value.operations, value.origin, target)
        return
    if kinds == ["normalize"]:
        emit_normalize(context, value.operations[0], value.origin, target)
        return
    if kinds.count("where") == 1 and set(kinds) <= {"map", "clip", "where"}:
        where = value.operations[kinds.index("where")].node
        emit_where(context, where, value.origin, target)
        _note(context, node, value.operations, "done on the quantized codes")
        return
    alone = next((kind for kind in ("affine", "normalize", "where", "map") if kind in kinds), "")
    if alone in ("affine", "normalize", "where") or (alone and "pool" in kinds):
        done = value.operations[kinds.index(alone)].node.op_type
        raise Refusal(f"the result of {done} must be quantized before anything else")
    if "map" in kinds or not expressible(value.origin, value.operations, target):
        emit_table(context, node, value.origin, value.operations, target)
    else:
        emit_chain(context, node, value.origin, value.operations, target)
    _note(context, node, value.operations, "done on the quantized codes")


def _from_host(
    context: Context, node: onnx.NodeProto, value: FloatValue, target: Tensor
) -> None:
    """Quantize a graph input on the host; what precedes it in float moves behind it."""
    source, rest, steps = cast(Value, value.origin), list(value.operations), []
    shape = source.shape
    while rest and rest[0].kind == "view":
        first = rest.pop(0)
        steps.append(first.view)
        shape = first.shape
    name = context.names.fresh(target.name, "input") if rest else target.name
    tensor = replace(target, name=name, shape=shape)
    context.quantize.append(
        HostQuantize(node_name(node), source.name, Layout(tuple(steps)), tensor)
    )
    context.tensors[name] = tensor
    context.free.add(name)
    if rest:
        emit_chain(context, node, tensor, tuple(rest), replace(target, shape=value.shape))
        _note(context, node, rest, "done on the quantized codes")


def _product(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """A product in float, and what follows it: all that commutes with the rounding to codes."""
    place = next(i for i, op in enumerate(operations) if op.kind == "linear")
    head, rest = operations[: place + 1], operations[place + 1 :]
    for op in rest:
        if op.kind not in ("clip", "pool", "view"):
            done = head[-1].node.op_type
            raise Refusal(f"the result of {done} must be quantized before {op.node.op_type}")
    if not rest:
        emit_linear(context, head, x, target)
        return
    name = context.names.fresh(target.name, "product")
    codes = replace(target, name=name, shape=head[-1].shape)
    emit_linear(context, head, x, codes)
    context.uses[codes.name] = 1
    emit_chain(context, node, context.tensors[codes.name], rest, target)


def finish_output(context: Context, output: Value) -> None:
    """Give a float graph output its host dequantization, with what follows it in float."""
    value = context.floats[output.name]
    origin, operations = value.origin, value.operations
    if isinstance(origin, Value):
        raise Refusal("is float all the way from the graph input; quantize it")
    kinds, by_place = {op.kind for op in operations}, {"map", "affine"}
    for op in operations:
        if op.kind == "linear":
            raise Refusal(reason_of(context, op.node), op.node)
        if op.kind in ("where", "normalize") or (op.kind == "pool" and kinds & by_place):
            raise Refusal(f"is the float result of {op.node.op_type}; quantize it")
    values = places = None
    tensor = origin
    if operations:
        target = replace(
            origin, name=context.names.fresh(output.name, "quantized"), shape=value.shape,
            layout=ROW_MAJOR,
        )
        how = "done on the quantized codes"
        if kinds & by_place:
            function = code_function(context, context.tensors[origin.name], output.name)
            values, how = function.values, "done by the host, a table of ONNX Runtime's results"
            places = None if function.exact else function.kinds
        else:
            real = chain_values(origin, operations)
            codes = chain_table(origin, operations, target)
            if not np.array_equal(dequantized(target, codes), real):
                # The limits lie between codes, so that only float32 can express the result.
                lowest = int(np.iinfo(origin.dtype).min)
                values, how = np.roll(real, lowest)[np.newaxis], "limits applied by the host"
        moves = tuple(op for op in operations if op.kind in ("view", "pool"))
        done = operations if values is None else moves
        if done:
            tensor = emit_chain(context, done[-1].node, origin, done, target)
        _note(context, operations[-1].node, operations, how)
    name = context.names.fresh(output.name, "DequantizeLinear")
    context.dequantize.append(
        HostDequantize(name, context.settled(tensor), output.name, values, places)
    )


def _note(
    context: Context, node: onnx.NodeProto, operations: Sequence[FloatOp], how: str
) -> None:
    """Say in the report that a chain was lowered by our own rule; views alone compute nothing."""
    if not operations or any(op.kind != "view" for op in operations):
        what = ", ".join(op.node.op_type for op in operations) or "change of scale"
        context.note(node, f"lowered by kiwicha: {what} in float, {how}")
