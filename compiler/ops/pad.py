# SPDX-License-Identifier: Apache-2.0
"""Pad: a constant around images is a window of one pixel that reaches into the padding; any other
result is put together from copies, and a constant is any element clamped to its code."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import Box, MoveNode, Piece, PoolNode, Shape, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.chain import chain_table, emit_chain
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, LAST
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.own_scale import in_codes
from kiwicha.compiler.ops.part import axis_order
from kiwicha.compiler.ops.tflite import SAME_SCALE, image, operand, options, target
from kiwicha.machine.isa import Reduction

__all__ = ["OPERATORS", "pad_constant", "pads_of"]

_ONE = np.float32(1)
_PAIRS = Limit(
    "paddings are {pads} for {rank} dimensions", lambda pads, rank: pads == (rank, 2)
)

_BEHIND = ("clip", "view", "part", "pool")
_Pads = tuple[tuple[int, int], ...]


def float_pad(context: Context, node: onnx.NodeProto) -> None:
    """Of a float value; nothing is emitted before the QuantizeLinear."""
    value = in_codes(context, node, node.input[0])
    pads = pads_of(context, node, value.shape)
    if not any(map(any, pads)):
        done = FloatOp("view", node, value.shape, view=("reshape", value.shape))
        context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))
        return
    FIRST.check(done=value.operations[-1].node.op_type if value.operations else "")
    shape = _padded(value.shape, pads)
    context.floats[node.output[0]] = FloatValue(
        value.origin, (FloatOp("pad", node, shape, finish=_finish),)
    )


def _finish(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Change the scale, then pad with the code of the constant."""
    pad = operations[0].node
    rest = operations[1:]
    LAST.check(done=pad.op_type, rest=[op for op in rest if op.kind not in _BEHIND])
    if rest:
        name = context.names.fresh(target.name, "padded")
        padded = replace(target, name=name, shape=operations[0].shape)
        _finish(context, node, x, operations[:1], padded)
        context.uses[name] = 1
        emit_chain(context, node, context.tensors[name], rest, target)
        return
    fill = np.float32(pad_constant(context, pad))
    info = np.iinfo(target.dtype)
    with np.errstate(all="ignore"):
        ratio = np.clip(fill / target.scale, info.min - target.zero_point,
                        info.max - target.zero_point)
    code = int(np.rint(ratio)) + target.zero_point
    same = (x.scale, x.zero_point, x.dtype) == (target.scale, target.zero_point, target.dtype)
    if not same or not np.array_equal(chain_table(x, (), target), np.arange(256) + int(info.min)):
        if x.name in context.free and attributes(pad).get("mode", "constant") == "constant":
            x = context.settle(x, channels_last(len(x.shape)))
        codes = replace(target, name=context.names.fresh(target.name, "codes"), shape=x.shape)
        x = emit_chain(context, node, x, (), codes)
    _emit(context, pad, x, replace(target, layout=x.layout), code)


def pad(context: Context, node: onnx.NodeProto) -> None:
    """Input x; scale and zero point pass through, and the constant is a code."""
    x = context.tensor(node.input[0])
    _emit(context, node, x, replace(x, name=node.output[0]), int(pad_constant(context, node)))


def tflite_pad(context: Context, node: onnx.NodeProto) -> None:
    """PAD: x and what is added before and behind each axis, constant; PADV2: a constant besides,
    of which PAD has the zero point."""
    pads = context.constant(node, 1, "paddings").astype(int)
    described = context.described[node.input[0]].shape
    _PAIRS.check(pads=pads.shape, rank=len(described))
    around = len(described) == 4
    x = (image if around else operand)(context, node)
    shape = tuple(n + int(both.sum()) for n, both in zip(described, pads, strict=True))
    y = target(context, node, shape, image=around)
    SAME_SCALE.check(x=x, y=y)
    code = y.zero_point
    if node.op_type == "PADV2":
        code = int(context.constant(node, 2, "constant").reshape(-1)[0])
    axes = (0, 3, 1, 2) if around else range(len(described))
    ordered = [tuple(int(n) for n in pads[axis]) for axis in axes]
    flat = [before for before, _ in ordered] + [behind for _, behind in ordered]
    _emit(context, options(node, pads=flat), replace(x, scale=y.scale), y, code)


def _emit(context: Context, node: onnx.NodeProto, x: Tensor, y: Tensor, code: int) -> None:
    """Emit ``y``: the codes of ``x`` with ``code`` around them, or what the mode has there."""
    pads, mode = pads_of(context, node, x.shape), attributes(node).get("mode", "constant")
    info = np.iinfo(y.dtype)
    y = replace(y, shape=_padded(x.shape, pads))
    spatial = len(pads) in (3, 4) and not any(map(any, pads[:2])) and min(map(min, pads)) >= 0
    if mode == "constant" and spatial:
        x = context.settle(x, channels_last(len(x.shape)))
        (top, bottom), (left, right) = ((0, 0), *pads[2:])[-2:]
        # Padding reads as 0 once the zero point is off: read with `code` for zero point.
        made = replace(y, zero_point=code, layout=x.layout)
        context.emit(PoolNode(
            node_name(node), node.op_type, replace(x, zero_point=code), made, (1, 1), (1, 1),
            (top, left, bottom, right), (1, 1), _ONE, np.float64(1), int(info.min), int(info.max),
            Reduction.SUM,
        ))
        context.tensors[y.name] = replace(y, layout=x.layout)
        return
    x = context.settled(x)
    y = replace(y, layout=axis_order(x))
    x = replace(x, scale=y.scale, zero_point=y.zero_point)
    low, high = int(info.min), int(info.max)
    pieces = [
        Piece(x, source, target, _ONE, np.float64(1), low, high)
        if source is not None
        else Piece(x, _anything(target.shape), target, _ONE, np.float64(1), code, code)
        for source, target in _layers(x.shape, pads, mode)
    ]
    context.emit(MoveNode(node_name(node), node.op_type, tuple(pieces), y))


def _layers(shape: Shape, pads: _Pads, mode: str) -> Iterator[tuple[Box | None, Box]]:
    """Yield what of a tensor goes where in the padded one; None where it is the constant."""
    kept = [
        range(max(0, -before), n - max(0, -after))
        for n, (before, after) in zip(shape, pads, strict=True)
    ]
    added = [(max(0, before), max(0, after)) for before, after in pads]
    target = Box.whole(_padded(shape, pads))
    if mode != "constant":
        yield Box(tuple(
            tuple(np.pad(np.asarray(line), both, mode=mode).tolist())  # type: ignore[call-overload]
            for line, both in zip(kept, added, strict=True)
        )), target
        return
    for axis, (before, after) in enumerate(added):
        length = len(target.axes[axis])
        for end in (range(before), range(length - after, length)):
            if end:
                yield None, target.along(axis, end)
        target = target.along(axis, range(before, length - after))
    if 0 not in target.shape:
        yield Box(tuple(kept)), target


def _anything(shape: Shape) -> Box:
    """Return the first element as often as a shape has room for it."""
    return Box(tuple((0,) * length for length in shape))


def _padded(shape: Shape, pads: _Pads) -> Shape:
    return tuple(n + sum(both) for n, both in zip(shape, pads, strict=True))


def pads_of(context: Context, node: onnx.NodeProto, shape: Shape) -> _Pads:
    """Return what is added before and behind each axis: attributes before opset 11, then inputs."""
    rank = len(shape)
    given = attributes(node).get("pads")
    if given is None:
        given = context.constant(node, 1, "pads").reshape(-1)
    values = [int(value) for value in given]
    axes = list(range(rank))
    if len(node.input) > 3 and node.input[3]:
        axes = [int(axis) % rank for axis in context.constant(node, 3, "axes").reshape(-1)]
    pads = dict(zip(axes, zip(values, values[len(axes) :], strict=False), strict=True))
    return tuple(pads.get(axis, (0, 0)) for axis in range(rank))


def pad_constant(context: Context, node: onnx.NodeProto) -> float:
    """Return what is around: an input, or an attribute of old ones."""
    if len(node.input) > 2 and node.input[2]:
        return float(context.constant(node, 2, "constant").reshape(-1)[0])
    return float(attributes(node).get("value", 0))


OPERATORS = (
    Operator(
        "Pad",
        (
            Form("QDQ", ("Pad",), "runtime", float_pad, first_is_float),
            Form("QOperator", ("Pad",), "runtime", pad),
            Form("TFLite", ("PAD",), "runtime", tflite_pad, operands=2),
            Form("TFLite", ("PADV2",), "runtime", tflite_pad, operands=3),
        ),
        "",
        (FIRST, SAME_SCALE),
        "constant, edge, reflect and wrap along any axes, negative pads",
        ("tests/compiler/test_pad.py",),
    ),
)
