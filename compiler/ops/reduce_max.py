# SPDX-License-Identifier: Apache-2.0
"""GlobalMaxPool, a MaxPool with a window as long as the image; ReduceMax and ReduceMin over any
axes.

A maximum may be taken of maxima: where a window is long, some passes are shorter than one. A
minimum is the maximum of the codes with all bits inverted, which turns their order round.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx
from onnx import helper

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import PoolNode, TableNode, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.chain import emit_chain, note_chain
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.own_scale import in_codes
from kiwicha.compiler.ops.reduction import (
    Axes,
    Run,
    Windows,
    as_image,
    from_image,
    in_memory,
    reduced_axes,
)
from kiwicha.compiler.ops.rows import emit_views
from kiwicha.compiler.ops.view import emit_view
from kiwicha.compiler.ops.window import RANK

__all__ = ["OPERATORS", "emit_extreme"]

_LONG, _TALL, _LANES = 64, 512, 16
"""Innermost windows longer than the first are cut in two, others if longer than the second, which
a machine's memory has to hold over so many lanes."""


def float_global_maximum(context: Context, node: onnx.NodeProto) -> None:
    """GlobalMaxPool of a float value; nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    space = value.shape[2:]
    RANK.check(rank=len(space))
    window = helper.make_node(
        node.op_type, node.input, node.output, name=node_name(node), kernel_shape=space
    )
    done = FloatOp("pool", window, (*value.shape[:2], *(1,) * len(space)))
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def float_extreme(context: Context, node: onnx.NodeProto) -> None:
    """ReduceMax or ReduceMin of a float value; nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    if any(op.kind not in ("clip", "view") for op in value.operations):
        value = in_codes(context, node, node.input[0])
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    others = [op.node.op_type for op in value.operations if op.kind not in ("clip", "view")]
    FIRST.check(done=others[-1] if others else "")
    axes = reduced_axes(context, node, value.shape)
    done = FloatOp("extreme", node, axes.shape, finish=_finish)
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _finish(
    context: Context, end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit the extremes of the codes, and the limits and views before and behind them."""
    y, rest = emit_extreme(context, x, operations)
    LAST.check(
        done=next(op.node.op_type for op in operations if op.kind == "extreme"),
        rest=[op for op in rest if op.kind not in ("clip", "view")],
    )
    emit_chain(context, end, y, rest, target)
    note_chain(context, end, operations, "done on the quantized codes")


def emit_extreme(
    context: Context, x: Tensor, operations: Sequence[FloatOp]
) -> tuple[Tensor, tuple[FloatOp, ...]]:
    """Emit the first ReduceMax or ReduceMin of a chain on codes; return the codes that it leaves
    and what is still to be done: limits before it may as well follow it."""
    place = [op.kind for op in operations].index("extreme")
    before, node = operations[:place], operations[place].node
    views = [op.view for op in before if op.kind == "view"]
    if views:
        x = emit_views(context, node, context.settled(x), views)
    axes = reduced_axes(context, node, x.shape)
    y = _emit(context, node, x, axes, context.names.fresh(node.output[0], "codes"))
    context.uses[y.name] = 1
    clips = (replace(op, shape=y.shape) for op in before if op.kind == "clip")
    return y, (*clips, *operations[place + 1 :])


def extreme(context: Context, node: onnx.NodeProto) -> None:
    """Input x; scale and zero point pass through."""
    x = context.tensor(node.input[0])
    _emit(context, node, x, reduced_axes(context, node, x.shape), node.output[0])


def _emit(context: Context, node: onnx.NodeProto, x: Tensor, axes: Axes, name: str) -> Tensor:
    """Emit the extremes of ``x``, in its codes."""
    x, runs = in_memory(context, x, axes)
    if not any(run.reduced for run in runs):
        y = replace(x, name=name, shape=axes.shape)
        return emit_view(context, node, x, ("reshape", axes.shape), y)
    least = node.op_type == "ReduceMin"
    y = _inverted(context, node, x, context.names.fresh(x.name, "inverted")) if least else x
    for index, windows in enumerate(_passes(runs)):
        image = as_image(context, node, y, windows, first=index == 0)
        shape = (windows.images, windows.channels, 1, windows.groups)
        made = context.names.fresh(name, "windows")
        y = replace(image, name=made, shape=shape, layout=channels_last(4))
        info = np.iinfo(y.dtype)
        title = node_name(node) if index == 0 else context.names.fresh(node_name(node), "again")
        context.emit(PoolNode(
            title, node.op_type, image, y, windows.kernel, windows.kernel, (0, 0, 0, 0), (1, 1),
            np.float32(1), np.float64(1), int(info.min), int(info.max),
        ))
    if least:
        y = _inverted(context, node, y, context.names.fresh(name, "least"))
    return from_image(context, node, y, x, axes, name)


def _inverted(context: Context, node: onnx.NodeProto, x: Tensor, name: str) -> Tensor:
    """Emit the codes with all bits inverted."""
    zero = 255 - x.zero_point if x.dtype == np.uint8 else ~x.zero_point
    y = replace(x, name=name, zero_point=zero)
    title = context.names.fresh(node_name(node), "inverted")
    context.emit(TableNode(title, "Invert", x, y, np.arange(256, dtype=np.uint8)[::-1].copy()))
    return y


def _passes(runs: Sequence[Run]) -> Iterator[Windows]:
    """Yield windows one pass after the other until nothing is left to be reduced."""
    runs = list(runs)
    while any(run.reduced for run in runs):
        for place, run in enumerate(runs):
            inner, last = 0, place == len(runs) - 1
            if run.reduced and run.length > (_LONG if last else _TALL):
                inner = _cut(run.length, last)
            if not inner:
                continue
            before = prod(other.length for other in runs[:place])
            after = prod(other.length for other in runs[place + 1 :])
            outer = run.length // inner
            if last:  # many lanes first, then one
                yield Windows(before, outer, 1, 1, inner)
                runs[place] = Run(inner, True)
            else:
                yield Windows(before * outer, inner, 1, 1, after)
                runs[place] = Run(outer, True)
            break
        else:  # two reduced runs at once
            end = [place for place, run in enumerate(runs) if run.reduced][:2][-1] + 1
            rest = prod(run.length for run in runs[end:])
            windows = Windows.of([*runs[:end], Run(rest, False)])
            assert windows is not None
            yield windows
            runs = [Run(windows.images * windows.groups, False), *runs[end:]]


def _cut(length: int, last: bool) -> int:
    """Return the inner one of two factors of a length with the fewest steps; 0 if it is prime."""
    factors = [n for n in range(2, length) if length % n == 0]
    if last:
        tall = [n for n in factors if length // n <= _TALL]
        return min(tall, key=lambda n: length // n * -(-n // _LANES) + n, default=0)
    return min(factors, key=lambda n: n + length // n, default=0)


OPERATORS = (
    Operator(
        "GlobalMaxPool",
        (Form("QDQ", ("GlobalMaxPool",), "runtime", float_global_maximum, first_is_float),),
        "pool.max_pool2d",
        (RANK,),
        "1-D and 2-D images",
        ("tests/compiler/test_reduce_max.py",),
    ),
    Operator(
        "ReduceMax, ReduceMin",
        (
            Form("QDQ", ("ReduceMax", "ReduceMin"), "runtime", float_extreme, first_is_float),
            Form("QOperator", ("ReduceMax", "ReduceMin"), "runtime", extreme),
        ),
        "pool.max_pool2d",
        (QUANTIZED, FIRST, LAST),
        "any axes, kept or not, none, all",
        ("tests/compiler/test_reduce_max.py",),
    ),
)
