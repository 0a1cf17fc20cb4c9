# SPDX-License-Identifier: Apache-2.0
"""LpPool and GlobalLpPool of p 1 and 2, which ONNX Runtime computes in float.

Of p 1 a sum of absolute values, which a table makes. Of p 2 the windows are copied, one row each,
and the row times itself is what `compiler.ops.reduce_square` makes roots of.
"""

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import PoolNode, Shape, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.clip import clip_codes
from kiwicha.compiler.ops.concat import Operand
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.reduce_square import emit_roots
from kiwicha.compiler.ops.reduce_sum import emit_absolute
from kiwicha.compiler.ops.rows import emit_views
from kiwicha.compiler.ops.select import emit_selected
from kiwicha.compiler.ops.window import LIMITS, Window, window
from kiwicha.machine.isa import Reduction

__all__ = ["OPERATORS"]

_NORM = Limit("pools with a norm of p {p}; must be 1 or 2", lambda p: p in (1, 2))


def float_lp_pool(context: Context, node: onnx.NodeProto) -> None:
    """Nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    FIRST.check(done=value.operations[-1].node.op_type if value.operations else "")
    _NORM.check(p=attributes(node).get("p", 2))
    frame = _frame(node, value.shape)
    done = FloatOp("average", node, (*value.shape[:2], *frame.output), finish=_finish)
    context.floats[node.output[0]] = FloatValue(value.origin, (done,))


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
        nothing = replace(x, name=context.names.fresh(x.name, "nothing"), shape=(1,))
        zero = np.full(1, x.zero_point, x.dtype)
        places = _places(frame, x.shape)
        name = context.names.fresh(y.name, "windows")
        rows = emit_selected(
            context, node, [Operand(context.settled(x)), Operand(nothing, zero)],
            replace(x, name=name, shape=places.shape), places,
        )
        made = replace(y, name=context.names.fresh(y.name, "rows"), shape=places.shape[:-1])
        emit_roots(context, node, rows, made, bounds)
        emit_views(context, node, context.tensors[made.name], [("reshape", y.shape)], y.name)
    context.note(
        node, f"lowered by kiwicha: {node.op_type}, which ONNX Runtime leaves in float; its sums "
        "are exact here",
    )
    views = [op.view for op in rest if op.kind == "view"]
    emit_views(context, node, context.tensors[y.name], views, target.name)


def _places(frame: Window, shape: Shape) -> NDArray[np.int64]:
    """Return the place of each value of each window in the image, and one behind it for padding:
    batch x channels x height x width x window."""
    images, channels, *space = shape
    lines, inside = [], []
    for axis, size in enumerate((1, *space)[-2:]):
        count = (1, *frame.output)[-2:][axis]
        starts = np.arange(count) * frame.strides[axis] - frame.pads[axis]
        at = starts[:, None] + np.arange(frame.kernel[axis]) * frame.dilations[axis]
        lines.append(at)
        inside.append((at >= 0) & (at < size))
    width = space[-1]
    place = lines[0][:, None, :, None] * width + lines[1][None, :, None, :]
    known = inside[0][:, None, :, None] & inside[1][None, :, None, :]
    planes = np.arange(images * channels).reshape(images, channels, 1, 1, 1)
    pixels = int(np.prod(space))
    taps = (*place.shape[:2], -1)
    every = planes * pixels + place.reshape(taps)
    result: NDArray[np.int64] = np.where(known.reshape(taps), every, images * channels * pixels)
    return result


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
        (Form("float", ("LpPool", "GlobalLpPool"), "near", float_lp_pool, first_is_float),),
        "product.product",
        (QUANTIZED, FIRST, LAST, _NORM, *LIMITS),
        "p 1 and 2, 1-D and 2-D, strides, pads, auto_pad, ceil mode, dilations",
        ("tests/compiler/test_lp_pool.py",),
    ),
)
