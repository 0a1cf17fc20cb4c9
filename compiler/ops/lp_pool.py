# SPDX-License-Identifier: Apache-2.0
"""LpPool and GlobalLpPool, which ONNX Runtime computes in float.

Of p 1 a sum of absolute values, which a table makes. Of others powers have two digits of base 255,
a table each; a convolution adds them up over the windows, 255 times the first, at the scales that
`compiler.ops.reduce_square` makes roots of.
"""

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import check_scale
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import (
    Box,
    ConvNode,
    MoveNode,
    Piece,
    PoolNode,
    Promise,
    Shape,
    TableNode,
    Tensor,
)
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.clip import clip_codes
from kiwicha.compiler.ops.context import Context, FloatOp
from kiwicha.compiler.ops.float_pool import take_pool
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.reduce_square import emit_roots
from kiwicha.compiler.ops.reduce_sum import emit_absolute
from kiwicha.compiler.ops.rows import emit_views
from kiwicha.compiler.ops.view import View
from kiwicha.compiler.ops.window import LIMITS, Window, window
from kiwicha.machine.isa import Reduction

__all__ = ["OPERATORS"]

_BASE = 255
_MOST = 128
"""Values of a window whose powers, rounded, add up to less than a step of the sum."""


def float_lp_pool(context: Context, node: onnx.NodeProto) -> None:
    """Nothing is emitted before the QuantizeLinear."""
    take_pool(context, node, _frame, _finish)


def _frame(node: onnx.NodeProto, shape: Shape) -> Window:
    given = attributes(node)
    return window(given, shape[2:], given.get("kernel_shape", shape[2:]), pool=True)


def _finish(
    context: Context, _end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit the norms, with the clips behind them as bounds, and the views."""
    node, rest = operations[0].node, operations[1:]
    LAST.check(done=node.op_type, rest=[op for op in rest if op.kind not in ("clip", "view")])
    bounds = clip_codes([op for op in rest if op.kind == "clip"], target)
    name = context.names.fresh(target.name, "norms")
    y, frame = replace(target, name=name, shape=operations[0].shape), _frame(node, x.shape)
    if attributes(node).get("p", 2) == 1:
        _emit_sums(context, node, x, y, frame, bounds)
    else:
        _emit_roots(context, node, x, y, frame, bounds)
    context.note(
        node, f"lowered by kiwicha: {node.op_type}, which ONNX Runtime leaves in float; its sums "
        "are exact here",
    )
    views = [op.view for op in rest if op.kind == "view"]
    emit_views(context, node, context.tensors[y.name], views, target.name)


def _emit_roots(
    context: Context, node: onnx.NodeProto, x: Tensor, y: Tensor, frame: Window,
    bounds: tuple[int, int],
) -> None:
    """Emit the roots of the sums of powers."""
    power, unit = attributes(node).get("p", 2), float(x.scale)
    layout = channels_last(len(x.shape))
    x = context.settle(x, layout)
    far = np.abs(np.arange(256, dtype=np.uint8).view(x.dtype).astype(np.float64) - x.zero_point)
    shape, (height, width), channels = y.shape, frame.kernel, x.shape[1]
    promise: Promise = "near" if height * width <= _MOST else "golden"
    squares = _digits(context, node, x, far**2, promise) if power == 2 else None
    weights = np.array([_BASE - 128, 1 - 128], np.int8).reshape(1, 2, 1, 1)

    def sums(made: Tensor, title: str) -> None:
        one, digits = unit**2, squares
        if digits is None:
            one = float(made.scale) * 255 / (_BASE**2 - 1)
            powers = np.rint(np.minimum((far * unit) ** power / one, _BASE**2 - 1))
            digits = _digits(context, node, x, powers, promise)
        scale64 = np.full(channels, one / float(made.scale))
        check_scale(scale64.astype(np.float32), "unit of the powers / scale of their sums")
        image = replace(made, name=context.names.fresh(made.name, "image"), shape=shape,
                        layout=layout)
        context.emit(ConvNode(
            title, node.op_type, digits, image, np.tile(weights, (channels, 1, height, width)),
            np.full(channels, -128, np.int16), np.zeros(channels, np.int32),
            scale64.astype(np.float32), scale64, channels, frame.strides, frame.pads,
            frame.dilations, 0, 255, promise,
        ))
        emit_views(context, node, image, [("transpose", last)], made.name)

    rank = len(shape)
    last = (0, *range(2, rank), 1)  # as it lies in memory
    made = replace(y, name=context.names.fresh(y.name, "pixels"),
                   shape=tuple(shape[axis] for axis in last))
    emit_roots(context, node, made, bounds, sums, power, promise)
    back: View = ("transpose", (0, rank - 1, *range(1, rank - 1)))
    emit_views(context, node, context.tensors[made.name], [back], y.name)


def _digits(
    context: Context, node: onnx.NodeProto, x: Tensor, powers: NDArray[np.float64],
    promise: Promise,
) -> Tensor:
    """Emit both digits of a power of each value, side by side in two channels."""
    pieces = []
    shape = (x.shape[0], 2 * x.shape[1], *x.shape[2:])
    both = Tensor(
        context.names.fresh(x.name, "digits"), shape, np.dtype(np.uint8), np.float32(1), 0,
        x.layout,
    )
    for place, values in enumerate((powers // _BASE, powers % _BASE)):
        digit = replace(both, name=context.names.fresh(x.name, "digit"), shape=x.shape)
        title = context.names.fresh(node_name(node), "digit")
        context.emit(TableNode(title, "Power", x, digit, values.astype(np.uint8), promise))
        target = Box.whole(shape).along(1, range(place, shape[1], 2))
        pieces.append(Piece(
            digit, Box.whole(x.shape), target, np.float32(1), np.float64(1), 0, 255
        ))
    title = context.names.fresh(node_name(node), "digits")
    context.emit(MoveNode(title, "Concat", tuple(pieces), both))
    return both


def _emit_sums(
    context: Context, node: onnx.NodeProto, x: Tensor, y: Tensor, frame: Window,
    bounds: tuple[int, int],
) -> None:
    """Emit the sums of absolute values."""
    layout = channels_last(len(x.shape))
    x = emit_absolute(context, node, context.settle(x, layout))
    scale64 = np.float64(x.scale) / np.float64(y.scale)
    check_scale(np.atleast_1d(np.float32(scale64)), "input scale / output scale")
    context.emit(PoolNode(
        node_name(node), node.op_type, x, replace(y, layout=layout), frame.kernel, frame.strides,
        frame.pads, frame.dilations, np.float32(scale64), scale64, *bounds, Reduction.SUM, "near",
    ))


OPERATORS = (
    Operator(
        "LpPool, GlobalLpPool",
        (Form("float", ("LpPool", "GlobalLpPool"), "golden", float_lp_pool, first_is_float),),
        "conv.conv2d",
        (QUANTIZED, FIRST, LAST, *LIMITS),
        "any p, 1-D and 2-D, strides, pads, auto_pad, ceil mode, dilations; windows of more than "
        "128 values golden-exact",
        ("tests/compiler/test_lp_pool.py",),
    ),
)
