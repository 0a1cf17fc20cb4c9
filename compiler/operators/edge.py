# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear, DequantizeLinear and what stands between them.

Relu, Clip, MaxPool and views between a DequantizeLinear (or a graph input) and a QuantizeLinear
are all monotone, so they commute with rounding: the float chain is one map of 256 codes followed
by integer pooling and views. The map is checked on every code before it is used; the bits are
those of the float chain.
"""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from compiler.graph import (
    ConvNode, HostDequantize, HostQuantize, MatMulNode, PoolNode, Tensor, Value, ViewNode,
)  # fmt: skip
from compiler.layout import ROW_MAJOR, Layout
from compiler.operators.context import (
    Context, FloatOp, FloatValue, Refusal, Unknown, attributes, node_name,
)  # fmt: skip
from compiler.operators.pool import emit_pool, pool_window
from compiler.operators.view import VIEWS, emit_view, view_of

__all__ = ["FLOAT_OPERATORS", "dequantize_linear", "finish_output", "float_operator",
           "quantize_linear"]  # fmt: skip

_NO_BOUNDS = (np.float32(-np.inf), np.float32(np.inf))

FLOAT_OPERATORS = ("Relu", "Clip", "MaxPool", *VIEWS)


def dequantize_linear(context: Context, node: onnx.NodeProto) -> None:
    """A float reading of a tensor; nothing is computed until somebody needs it."""
    if node.input[0] in context.constants:
        raise Unknown  # the float constant's reader is refused for being float
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
    codes = _codes(value.origin)
    table = _quantize(_clipped(_real(value.origin, codes), value), target)
    _emit_chain(context, node, value.origin, value.operations, target, table)
    done = ", ".join(op.node.op_type for op in value.operations) or "change of scale"
    context.note(node, f"lowered by kiwicha: {done} in float, done on the quantized codes")


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
    name = f"{target.name}/input" if rest else target.name
    tensor = replace(target, name=name, shape=shape)
    context.quantize.append(
        HostQuantize(node_name(node), source.name, Layout(tuple(steps)), tensor)
    )
    context.tensors[name] = tensor
    context.free.add(name)
    if rest:
        chain = FloatValue(tensor, tuple(rest))
        table = _quantize(_clipped(_real(tensor, _codes(tensor)), chain), target)
        target = replace(target, shape=value.shape)
        _emit_chain(context, node, tensor, chain.operations, target, table)
        done = ", ".join(op.node.op_type for op in rest)
        context.note(node, f"lowered by kiwicha: {done} in float, done on the quantized codes")


def finish_output(context: Context, output: Value) -> None:
    """Give a float graph output its host dequantization."""
    value = context.floats[output.name]
    origin, operations = value.origin, value.operations
    if isinstance(origin, Value):
        raise Refusal("is float all the way from the graph input; quantize it")
    bounds = _NO_BOUNDS
    if operations:
        node, codes = operations[-1].node, _codes(origin)
        target = replace(
            origin, name=f"{output.name}/quantized", shape=value.shape, layout=ROW_MAJOR
        )
        real = _clipped(_real(origin, codes), value)
        table = _quantize(real, target)
        done = ", ".join(op.node.op_type for op in operations)
        text = f"lowered by kiwicha: {done} in float, done on the quantized codes"
        if not np.array_equal(_real(target, table), real):
            # The limits lie between codes, so that only float32 can express the result.
            low, high = _clipped(np.array([-np.inf, np.inf], np.float32), value)
            bounds, table = (low, high), codes
            text = f"lowered by kiwicha: {done} in float, limits applied by the host"
        tensor = _emit_chain(context, node, origin, operations, target, table)
        context.note(node, text)
    else:
        tensor = context.settled(origin)
    name = f"{output.name}/DequantizeLinear"
    context.dequantize.append(HostDequantize(name, tensor, output.name, bounds))


def _codes(tensor: Tensor) -> NDArray[np.int32]:
    info = np.iinfo(tensor.dtype)
    return np.arange(info.min, info.max + 1, dtype=np.int32)


def _real(tensor: Tensor, codes: NDArray[np.int32]) -> NDArray[np.float32]:
    """DequantizeLinear in float32."""
    with np.errstate(over="ignore"):
        return (codes - tensor.zero_point).astype(np.float32) * tensor.scale


def _clipped(real: NDArray[np.float32], value: FloatValue) -> NDArray[np.float32]:
    for operation in value.operations:
        real = np.minimum(np.maximum(real, operation.bounds[0]), operation.bounds[1])
    return real


def _quantize(real: NDArray[np.float32], target: Tensor) -> NDArray[np.int32]:
    """QuantizeLinear in float32."""
    info, zero = np.iinfo(target.dtype), target.zero_point
    with np.errstate(over="ignore"):
        ratio = np.clip(real / target.scale, info.min - zero, info.max - zero)
    return np.rint(ratio).astype(np.int32) + zero


def _emit_chain(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    operations: tuple[FloatOp, ...],
    target: Tensor,
    table: NDArray[np.int32],
) -> Tensor:
    """Emit ``table``, then pooling and views; the last of them writes ``target``."""
    scale, low, high = _as_requantize(x, target, table)
    moves = [op for op in operations if op.kind != "clip"]
    clips = [op for op in operations if op.kind == "clip"]
    info = np.iinfo(target.dtype)
    plain = scale == 1 and x.dtype == target.dtype and x.zero_point == target.zero_point
    plain = plain and (low, high) == (info.min, info.max)
    label = "+".join(op.node.op_type for op in clips)
    # `current` reads the bytes as codes of the target, whichever scale they had before.
    if not plain and scale == 1:
        through = [op.node.input[0] for op in operations] + [node.input[0]]
        name = target.name if not moves else f"{target.name}/codes"
        fused = _fuse(context, x, through, replace(target, name=name), low, high, label)
        if fused is not None:
            x, plain = fused, True
    pooled = plain
    if not pooled and not any(op.kind == "pool" for op in moves):
        name = target.name if not moves else f"{target.name}/codes"
        x = context.settled(x)
        y = replace(target, name=name, shape=x.shape, layout=x.layout)
        title = label or "Requantize"
        owner = node_name(clips[0].node if clips else node)
        context.emit(PoolNode(
            owner, title, x, y, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), scale, low, high
        ))  # fmt: skip
        x, pooled = y, True
    for place, move in enumerate(moves):
        last = place == len(moves) - 1
        name = target.name if last else f"{target.name}/{node_name(move.node)}"
        if move.kind == "pool":
            if pooled:
                x = emit_pool(context, move.node, x, replace(target, name=name))
            else:
                title = "+".join(filter(None, ["MaxPool", label]))
                x = emit_pool(
                    context, move.node, x, replace(target, name=name), scale, (low, high), title
                )
                pooled = True
        else:
            kept = target if pooled else x
            y = replace(kept, name=name, shape=move.shape)
            x = emit_view(context, move.node, x, move.view, y)
    if x.name != target.name:  # nothing was left to do: the same codes under another name
        y = replace(target, shape=x.shape, layout=x.layout)
        x = emit_view(context, node, x, ("reshape", x.shape), y)
    return x


def _as_requantize(
    x: Tensor, target: Tensor, table: NDArray[np.int32]
) -> tuple[np.float32, int, int]:
    """Return scale and bounds with which the requantizer computes ``table`` on every code.

    Raises
    ------
    Refusal
        Where no float32 scale near the ratio of the two does.
    """
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
    raise Refusal(f"no scale maps the codes of '{x.name}' as its float chain does")


def _fuse(
    context: Context, x: Tensor, through: list[str], y: Tensor, low: int, high: int, label: str
) -> Tensor | None:
    """Narrow the clamp of the node that writes ``x`` if nobody else reads that or what follows."""
    place = next((i for i, n in enumerate(context.nodes) if n.y.name == x.name), None)
    if place is None or any(context.uses[name] != 1 for name in (x.name, *through)):
        return None
    node = context.nodes[place]
    if isinstance(node, ViewNode):
        return None
    move = y.zero_point - node.y.zero_point
    y = replace(y, shape=node.y.shape, layout=node.y.layout)
    assert isinstance(node, (ConvNode, MatMulNode, PoolNode))
    bounds = [min(max(bound + move, low), high) for bound in (node.low, node.high)]
    op = "+".join(filter(None, [node.op, label]))
    fused: Any = replace(node, y=y, low=bounds[0], high=bounds[1], op=op)
    del context.tensors[x.name]
    context.nodes[place] = fused
    context.tensors[y.name] = y
    return y
