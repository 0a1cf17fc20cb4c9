# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear and DequantizeLinear: the graph's edges, and what ends a float chain."""

from dataclasses import replace
from typing import cast

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Refusal, Unknown, node_name
from kiwicha.compiler.frontend.quantization import LIMITS
from kiwicha.compiler.graph.graph import HostDequantize, HostQuantize, Tensor, Value
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.compiler.ops.chain import (
    chain_table,
    chain_values,
    dequantized,
    emit_chain,
    expressible,
    note_chain,
)
from kiwicha.compiler.ops.constant import dequantize_constant
from kiwicha.compiler.ops.context import Context, FloatValue
from kiwicha.compiler.ops.function import code_function
from kiwicha.compiler.ops.host_first import split
from kiwicha.compiler.ops.limits import LAST
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.reduce_max import emit_extreme
from kiwicha.compiler.ops.table import emit_table
from kiwicha.compiler.ops.unsupported import in_float

__all__ = ["OPERATORS", "emit_value", "finish_output"]

_RAW = Limit(
    "is float all the way from the graph input; quantize it",
    lambda origin: isinstance(origin, Tensor),
)
_OUTPUT = Limit("is the float result of {done}; quantize it", lambda done, by_host: by_host)


def dequantize_linear(context: Context, node: onnx.NodeProto) -> None:
    """A float reading of a tensor; nothing is computed until somebody needs it."""
    if node.input[0] in context.constants:
        dequantize_constant(context, node)
        return
    x = context.operand(node)
    context.floats[node.output[0]] = FloatValue(x)


def quantize_linear(context: Context, node: onnx.NodeProto) -> None:
    """Host quantization of a graph input, or the end of a float chain."""
    scale, zero, dtype = context.quantization(node, 1, "output")
    name = node.input[0]
    if name in context.unknown:
        raise Unknown
    if name not in context.floats:
        raise Unknown
    value = context.floats[name]
    if isinstance(value.origin, Value):
        _from_host(context, node, value, Tensor(node.output[0], (), dtype, scale, zero))
        return
    target = Tensor(node.output[0], value.shape, dtype, scale, zero)
    emit_value(context, node, value, target)


def emit_value(
    context: Context, node: onnx.NodeProto, value: FloatValue, target: Tensor
) -> None:
    """Emit what makes ``target`` of a tensor's float function, as ``node`` quantizes it."""
    assert isinstance(value.origin, Tensor)
    finish = next((op.finish for op in value.operations if op.finish is not None), None)
    if finish is not None:
        finish(context, node, value.origin, value.operations, target)
        return
    kinds = {op.kind for op in value.operations}
    if "map" in kinds:
        mapped = next(op for op in value.operations if op.kind == "map")
        LAST.check(done=mapped.node.op_type, rest=kinds & {"pool", "part"})
    if "map" in kinds or not expressible(value.origin, value.operations, target):
        emit_table(context, node, value.origin, value.operations, target)
    else:
        emit_chain(context, node, value.origin, value.operations, target)
    note_chain(context, node, value.operations, "done on the quantized codes")


def _from_host(
    context: Context, node: onnx.NodeProto, value: FloatValue, target: Tensor
) -> None:
    """Quantize a graph input on the host, or what the host makes of it; the limits, pools and parts
    that precede it in float move behind it."""
    before, shape, behind = split(context, node, value)
    source, rest, steps = cast(Value, value.origin), list(behind), []
    while rest and rest[0].kind == "view":
        first = rest.pop(0)
        steps.append(first.view)
        shape = first.shape
    name = context.names.fresh(target.name, "input") if rest else target.name
    tensor = replace(target, name=name, shape=shape)
    context.quantize.append(
        HostQuantize(node_name(node), source.name, Layout(tuple(steps)), tensor, before=before)
    )
    context.tensors[name] = tensor
    context.free.add(name)
    finish = next((op.finish for op in rest if op.finish is not None), None)
    if finish is not None:
        finish(context, node, tensor, tuple(rest), replace(target, shape=value.shape))
    elif rest:
        emit_chain(context, node, tensor, tuple(rest), replace(target, shape=value.shape))
    if rest:
        note_chain(context, node, rest, "done on the quantized codes")


def finish_output(context: Context, output: Value) -> None:
    """Give a float graph output its host dequantization, with what follows it in float."""
    value = context.floats[output.name]
    origin, operations = value.origin, value.operations
    _RAW.check(origin=origin)
    assert isinstance(origin, Tensor)
    kinds, by_place = {op.kind for op in operations}, {"map", "affine"}
    if "extreme" in kinds:
        context.floats[output.name] = FloatValue(*emit_extreme(context, origin, operations))
        finish_output(context, output)
        return
    for op in operations:
        if op.kind in ("linear", "average", "pad"):
            raise Refusal(in_float(context, op.node), op.node)
        moved = op.kind in ("pool", "part") and kinds & by_place
        _OUTPUT.check(
            done=op.node.op_type,
            by_host=op.kind not in ("where", "pair") and not moved,
        )
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
        moves = tuple(op for op in operations if op.kind in ("view", "pool", "part"))
        done = operations if values is None else moves
        if done:
            tensor = emit_chain(context, done[-1].node, origin, done, target)
        note_chain(context, operations[-1].node, operations, how)
    name = context.names.fresh(output.name, "DequantizeLinear")
    context.dequantize.append(
        HostDequantize(name, context.settled(tensor), output.name, values, places)
    )


OPERATORS = (
    Operator(
        "QuantizeLinear, DequantizeLinear",
        (
            Form("QDQ", ("QuantizeLinear",), "runtime", quantize_linear),
            Form("QDQ", ("DequantizeLinear",), "runtime", dequantize_linear),
        ),
        "requantize.requantize",
        (*LIMITS, LAST, _RAW, _OUTPUT),
        "graph inputs and outputs by the host; a change of scale in between",
        ("tests/compiler/test_operators.py", "tests/compiler/test_inputs.py"),
    ),
)
