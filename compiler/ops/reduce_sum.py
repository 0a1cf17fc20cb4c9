# SPDX-License-Identifier: Apache-2.0
"""ReduceSum, ReduceMean and ReduceL1 over any axes, which ONNX Runtime computes in float.

Axes that end where others begin in memory are a pooling that sums; innermost ones a product with
ones, over as many lanes as the array has rows. The sums are exact; ONNX Runtime adds up floats, and
where many codes cancel its rounding may be seen (`_promise`). Absolute values come from a table.
"""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.frontend.onnx_node import Refusal, attributes, node_name
from kiwicha.compiler.graph.graph import ConvNode, MatMulNode, PoolNode, Promise, TableNode, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.chain import code_bounds
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.own_scale import in_codes
from kiwicha.compiler.ops.reduce_square import float_square, is_square
from kiwicha.compiler.ops.reduction import (
    Axes,
    Windows,
    as_image,
    from_image,
    in_memory,
    reduced_axes,
)
from kiwicha.compiler.ops.rows import emit_views
from kiwicha.compiler.ops.tflite import operand, target
from kiwicha.machine.fixed_scales import mean_scale
from kiwicha.machine.isa import Reduction

__all__ = ["OPERATORS", "emit_absolute"]

_TALL = 1024
"""Pixels of a window over a row of lanes that a machine's memory holds."""
_MOST = (2**31 - 1) // 255
_COUNT = Limit("sums up {count} values; 32 bits hold 8421504", lambda count: count <= _MOST)


def float_sum(context: Context, node: onnx.NodeProto) -> None:
    """Nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    if node.op_type != "ReduceL1" and is_square(context, value):
        float_square(context, node)
        return
    value = in_codes(context, node, node.input[0])
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    others = [op.node.op_type for op in value.operations if op.kind != "view"]
    FIRST.check(done=others[-1] if others else "")
    axes = reduced_axes(context, node, value.shape)
    _COUNT.check(count=prod(value.shape[axis] for axis in axes.reduced))
    done = FloatOp("sum", node, axes.shape, finish=_finish)
    if not axes.reduced and node.op_type != "ReduceL1":
        done = FloatOp("view", node, axes.shape, view=("reshape", axes.shape))
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _finish(
    context: Context, _end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit a sum, the views before it, and the clips and views behind."""
    place = [op.kind for op in operations].index("sum")
    node, rest = operations[place].node, operations[place + 1 :]
    LAST.check(done=node.op_type, rest=[op for op in rest if op.kind not in ("clip", "view")])
    if place:
        x = emit_views(context, node, context.settled(x), [op.view for op in operations[:place]])
    axes = reduced_axes(context, node, x.shape)
    views = [op.view for op in rest if op.kind == "view"]
    name = context.names.fresh(target.name, "sum") if views else target.name
    if node.op_type == "ReduceL1":
        x = emit_absolute(context, node, x)
    bounds = code_bounds(target, [op for op in rest if op.kind == "clip"])
    y = _emit(context, node, x, axes, replace(target, name=name), bounds)
    context.note(
        node,
        f"lowered by kiwicha: {node.op_type}, which ONNX Runtime leaves in float; its sums are "
        "exact here",
    )
    if views:
        emit_views(context, node, y, views, target.name)


def emit_absolute(context: Context, node: onnx.NodeProto, x: Tensor) -> Tensor:
    """Emit the distances from the zero point, 0 to 255."""
    x = context.settled(x)
    codes = np.arange(256, dtype=np.uint8).view(x.dtype).astype(np.int32)
    table = np.abs(codes - x.zero_point).astype(np.uint8)
    name = context.names.fresh(x.name, "absolute")
    y = replace(x, name=name, dtype=np.dtype(np.uint8), zero_point=0)
    context.emit(TableNode(context.names.fresh(node_name(node), "absolute"), "Abs", x, y, table))
    return y


def tflite_mean(context: Context, node: onnx.NodeProto) -> None:
    """MEAN: input x, constant axes."""
    x, rank = operand(context, node), len(context.described[node.input[0]].shape)
    given = context.constant(node, 1, "axes").reshape(-1)
    reduced = tuple(sorted({int(axis) % rank for axis in given}))
    shape = [1 if axis in reduced else length for axis, length in enumerate(x.shape)]
    if not attributes(node).get("keepDims", 0):
        shape = [length for axis, length in enumerate(shape) if axis not in reduced]
    y, info = target(context, node, tuple(shape)), np.iinfo(x.dtype)
    count = prod(x.shape[axis] for axis in reduced)
    _COUNT.check(count=count)
    try:
        scale64 = mean_scale(float(x.scale), float(y.scale), count)
    except ValueError as error:
        raise Refusal(str(error)) from None
    bounds = int(info.min), int(info.max)
    _emit(context, node, x, Axes(reduced, y.shape), y, bounds, scale64)


def _emit(
    context: Context, node: onnx.NodeProto, x: Tensor, axes: Axes, target: Tensor,
    bounds: tuple[int, int], fields: NDArray[Any] | None = None,
) -> Tensor:
    """Emit the sums along ``axes``, as codes of ``target``, whose shape follows.

    Parameters
    ----------
    fields : ``scale64`` of a runtime that has more to say of it than a number.
    """
    x, runs = in_memory(context, x, axes, _TALL)
    windows = Windows.of(runs)
    assert windows is not None
    count = prod(x.shape[axis] for axis in axes.reduced)
    divisor = count if node.op_type == "ReduceMean" else 1
    scale64: Any = np.float64(x.scale) / (np.float64(target.scale) * divisor)
    with np.errstate(over="ignore", under="ignore"):
        scale = np.float32(scale64)
    check_scale(np.atleast_1d(scale), "input scale / (output scale * count)")
    common: dict[str, Any] = {
        "name": node_name(node), "op": node.op_type, "low": bounds[0], "high": bounds[1],
        "promise": "runtime" if fields is not None else _promise(x, target, count, divisor),
    }
    scale64 = scale64 if fields is None else fields
    y = replace(target, name=context.names.fresh(target.name, "windows"))
    if runs and runs[-1].reduced:
        image = _innermost(windows)
        x_image = as_image(context, node, x, image, first=True)
        ones = {
            "weight_zero": np.zeros(1, np.int16), "bias": np.zeros(1, np.int32),
            "scale": np.atleast_1d(scale), "scale64": np.atleast_1d(scale64), **common,
        }
        y = _product(context, node, x_image, y, image, ones)
    else:
        x_image = as_image(context, node, x, windows, first=True)
        shape = (windows.images, windows.channels, 1, windows.groups)
        y = replace(y, shape=shape, layout=channels_last(4))
        context.emit(PoolNode(
            x=x_image, y=y, kernel=windows.kernel, strides=windows.kernel, pads=(0, 0, 0, 0),
            dilations=(1, 1), scale=scale, scale64=scale64, reduction=Reduction.SUM, **common,
        ))
    return from_image(context, node, y, x, axes, target.name)


def _innermost(windows: Windows) -> Windows:
    """Return the windows with the columns as channels: all that lies in one piece."""
    if windows.columns > 1:
        return replace(windows, columns=1, channels=windows.columns)
    return Windows(windows.images, 1, 1, 1, windows.rows)


def _product(
    context: Context, node: onnx.NodeProto, x: Tensor, y: Tensor, windows: Windows,
    ones: dict[str, Any],
) -> Tensor:
    """Emit the sums over the channels, and rows, of an image."""
    depth = windows.channels
    if windows.rows > 1:
        y = replace(y, shape=(windows.images, 1, 1, windows.groups), layout=channels_last(4))
        context.emit(ConvNode(
            x=x, y=y, weights=np.ones((1, depth, windows.rows, 1), np.int8), groups=1,
            strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), **ones,
        ))
        return y
    images = windows.images * windows.groups
    matrix = emit_views(context, node, x, [("transpose", (0, 2, 3, 1)),
                                           ("reshape", (images, depth))])
    order: NDArray[np.int64] = np.arange(depth)
    rows = replace(y, name=context.names.fresh(y.name, "column"), shape=(images, 1))
    weights = np.ones((depth, 1), np.int8)
    context.emit(MatMulNode(x=matrix, y=rows, weights=weights, order=order, **ones))
    shape = (windows.images, 1, 1, windows.groups)
    return emit_views(context, node, rows, [("reshape", shape)], y.name)


def _promise(x: Tensor, y: Tensor, count: int, divisor: int) -> Promise:
    """Return "near" where ONNX Runtime's rounding, half a unit in the last place of the largest
    partial sum for each of ``count`` values, comes to less than a code."""
    info = np.iinfo(x.dtype)
    widest = max(info.max - x.zero_point, x.zero_point - info.min) * float(x.scale)
    apart = count * 2.0**-24 * count * widest / (float(y.scale) * divisor)
    return "near" if apart < 0.9 else "golden"


OPERATORS = (
    Operator(
        "ReduceSum, ReduceMean, ReduceL1",
        (
            Form("float", ("ReduceSum", "ReduceMean", "ReduceL1"), "golden", float_sum,
                 first_is_float),
            Form("TFLite", ("MEAN",), "runtime", tflite_mean),
        ),
        "pool.sum_pool2d",
        (FIRST, LAST, _COUNT),
        "any axes, kept or not, none, all. Within one code, unless so many values are added that "
        "ONNX Runtime's float sums may be further from the exact ones; golden-exact then. By the "
        "host, runtime-exact, where it is the graph output",
        ("tests/compiler/test_reduce_sum.py",),
    ),
)
