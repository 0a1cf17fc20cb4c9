# SPDX-License-Identifier: Apache-2.0
"""ReduceSumSquare and ReduceL2 over any axes, and ReduceSum and ReduceMean of a square, which ONNX
Runtime computes in float: rows times themselves, which is exact.

A root of a sum of 8 bits would be too coarse where it is small. So the sum is taken at several
scales, a table makes roots of each where it is fine enough, and the greatest is the result.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import (
    Box,
    MoveNode,
    Piece,
    PoolNode,
    ProductNode,
    Promise,
    TableNode,
    Tensor,
)
from kiwicha.compiler.graph.layout import ROW_MAJOR, channels_last
from kiwicha.compiler.ops.clip import clip_codes
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.own_scale import in_codes
from kiwicha.compiler.ops.reduction import Axes, reduced_axes
from kiwicha.compiler.ops.rows import as_rows, emit_views
from kiwicha.compiler.ops.weights import combined_scale

__all__ = ["OPERATORS", "emit_roots", "float_square", "is_square"]

Sums = Callable[[Tensor, str], None]
"""Emits sums of powers as codes of a tensor, under a name for the report."""


def is_square(context: Context, value: FloatValue) -> bool:
    """Whether a value is the square of codes, as variances and root mean squares are written."""
    others = [op.node for op in value.operations if op.kind != "view"]
    if len(others) != 1:
        return False
    (node,) = others
    if node.op_type == "Pow":
        power = context.constants.get(node.input[1])
        return power is not None and bool((power == 2).all())
    factors = [context.floats[name] for name in node.input if name in context.floats]
    # A factor that is no function of the tensor, nor a table of it, but the tensor.
    plain = all(op.kind == "view" for factor in factors for op in factor.operations)
    same = {(factor.origin.name, factor.origin) for factor in factors}
    return node.op_type == "Mul" and len(factors) == 2 and plain and len(same) == 1


def float_square(context: Context, node: onnx.NodeProto) -> None:
    """Nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    square = node.op_type in ("ReduceSum", "ReduceMean")
    value = value if square else in_codes(context, node, node.input[0])
    others = [op.node.op_type for op in value.operations if op.kind != "view"]
    if square:
        others = []  # but for the square
    FIRST.check(done=others[-1] if others else "")
    done = FloatOp("sum", node, reduced_axes(context, node, value.shape).shape, finish=_finish)
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _finish(
    context: Context, _end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit the sums of squares or their roots, the views before, and the clips and views behind."""
    place = [op.kind for op in operations].index("sum")
    node, rest = operations[place].node, operations[place + 1 :]
    LAST.check(done=node.op_type, rest=[op for op in rest if op.kind not in ("clip", "view")])
    views = [op.view for op in operations[:place] if op.kind == "view"]
    if views:
        x = emit_views(context, node, context.settled(x), views)
    axes = reduced_axes(context, node, x.shape)
    rows = _rows(context, node, x, axes)
    bounds = clip_codes([op for op in rest if op.kind == "clip"], target)
    shape = rows.shape[:-1]
    y = replace(target, name=context.names.fresh(target.name, "rows"), shape=shape)
    if node.op_type == "ReduceL2":
        def sums(made: Tensor, title: str) -> None:
            _squares(context, node, rows, made, title, (0, 255), "near")

        emit_roots(context, node, y, bounds, sums)
    else:
        divisor = rows.shape[-1] if node.op_type == "ReduceMean" else 1
        promise = _promise(x, target, rows.shape[-1], divisor)
        _squares(context, node, rows, y, node_name(node), bounds, promise, divisor)
    context.note(
        node,
        f"lowered by kiwicha: {node.op_type}, which ONNX Runtime leaves in float; sums are exact "
        "here",
    )
    steps = [("reshape", axes.shape), *(op.view for op in rest if op.kind == "view")]
    emit_views(context, node, context.tensors[y.name], steps, target.name)


def _rows(context: Context, node: onnx.NodeProto, x: Tensor, axes: Axes) -> Tensor:
    """Return a view of ``x`` as rows of what is reduced; rows of one element where nothing is."""
    if axes.reduced:
        return as_rows(context, node, x, axes.reduced)
    return emit_views(context, node, context.settle(x, ROW_MAJOR), [("reshape", (*x.shape, 1))])


def _squares(
    context: Context, node: onnx.NodeProto, rows: Tensor, y: Tensor, title: str,
    bounds: tuple[int, int], promise: Promise, divisor: int = 1,
) -> None:
    """Emit the product of each row with itself, divided, as codes of ``y``."""
    lead, length = rows.shape[:-1], rows.shape[-1]
    left, right = (
        emit_views(context, node, rows, [("reshape", shape)])
        for shape in ((*lead, 1, length), (*lead, length, 1))
    )
    (scale,), (scale64,) = combined_scale(
        rows.scale, np.array([rows.scale]), np.float32(y.scale * np.float32(divisor))
    )
    name = context.names.fresh(y.name, "squares")
    made = replace(y, name=name, shape=(*lead, 1, 1))
    context.emit(ProductNode(
        title, node.op_type, left, right, made, np.float32(scale), np.float64(scale64), *bounds,
        promise,
    ))
    emit_views(context, node, made, [("reshape", lead)], y.name)


def emit_roots(
    context: Context, node: onnx.NodeProto, y: Tensor, bounds: tuple[int, int], sums: Sums,
    power: int = 2, promise: Promise = "near",
) -> None:
    """Emit the roots of sums of powers at several scales, and the greatest of each."""
    info, zero, unit = np.iinfo(y.dtype), y.zero_point, float(y.scale)
    tops = _tops(max(int(info.max) - zero, 1) + 0.5, power)
    found = []
    for place, top in enumerate(tops):
        scale = np.float32((top * unit) ** power / 255)
        name = context.names.fresh(y.name, "sums")
        made = replace(y, name=name, dtype=np.dtype(np.uint8), scale=scale, zero_point=0)
        title = node_name(node) if not place else context.names.fresh(node_name(node), "finer")
        sums(made, title)
        codes = np.arange(256)
        roots = np.rint((codes * float(scale)) ** (1 / power) / unit)
        if place < len(tops) - 1:  # the next scale tells these better
            roots[codes < 255 * (tops[place + 1] / top) ** power] = 0
        table = np.clip(roots + zero, info.min, info.max).astype(y.dtype).view(np.uint8)
        root = replace(y, name=context.names.fresh(y.name, "roots"))
        title = context.names.fresh(node_name(node), "roots")
        context.emit(TableNode(title, "Sqrt", context.tensors[name], root, table, promise))
        found.append(context.tensors[root.name])
    _greatest(context, node, found, y, bounds, promise)


def _tops(top: float, power: int) -> list[float]:
    """Return the greatest root of each scale, in codes: those of the next one are where half a step
    of the sum comes to about half a code."""
    if power == 2:
        return [top, top / 2, top / 8, top / 128]
    made = [top]
    while made[-1] > 3:
        made.append(made[-1] / min((255 * power / made[-1]) ** (1 / (power - 1)), 16))
    return made


def _greatest(
    context: Context, node: onnx.NodeProto, roots: Sequence[Tensor], y: Tensor,
    bounds: tuple[int, int], promise: Promise,
) -> None:
    """Emit the greatest code of some tensors of one shape at each place."""
    size, info = prod(y.shape), np.iinfo(y.dtype)
    pieces = [
        Piece(
            emit_views(context, node, root, [("reshape", (1, size))]), Box.whole((1, size)),
            Box.at((place, 0), (1, size)), np.float32(1), np.float64(1), int(info.min),
            int(info.max),
        )
        for place, root in enumerate(roots)
    ]
    title = context.names.fresh(node_name(node), "greatest")
    every = replace(y, name=context.names.fresh(y.name, "every"), shape=(len(roots), size))
    context.emit(MoveNode(context.names.fresh(title, "side"), "Concat", tuple(pieces), every))
    image = emit_views(context, node, every, [
        ("reshape", (1, len(roots), 1, size)), ("transpose", (0, 3, 1, 2)),
    ])
    layout, kernel = channels_last(4), (len(roots), 1)
    made = replace(
        y, name=context.names.fresh(y.name, "greatest"), shape=(1, size, 1, 1), layout=layout
    )
    context.emit(PoolNode(
        title, "Max", context.settle(image, layout), made, kernel, kernel, (0, 0, 0, 0), (1, 1),
        np.float32(1), np.float64(1), *bounds, promise=promise,
    ))
    emit_views(context, node, made, [("transpose", (0, 2, 3, 1)), ("reshape", y.shape)], y.name)


def _promise(x: Tensor, y: Tensor, count: int, divisor: int) -> Promise:
    """Return "near" where ONNX Runtime's rounding, of each square and each partial sum, comes to
    less than a code."""
    info = np.iinfo(x.dtype)
    widest = max(info.max - x.zero_point, x.zero_point - info.min) * float(x.scale)
    apart = (count + 1) * 2.0**-24 * count * widest**2 / (float(y.scale) * divisor)
    return "near" if apart < 0.9 else "golden"


OPERATORS = (
    Operator(
        "ReduceSumSquare, ReduceL2",
        (
            Form("float", ("ReduceSumSquare", "ReduceL2"), "golden", float_square,
                 first_is_float),
        ),
        "product.product",
        (FIRST, LAST),
        "any axes, kept or not, none, all; so are ReduceSum and ReduceMean of Pow 2 and of a "
        "tensor times itself. Within one code; of ReduceSumSquare golden-exact where "
        "so many values are added that ONNX Runtime's sums may be further from the exact ones",
        ("tests/compiler/test_reduce_square.py",),
    ),
)
