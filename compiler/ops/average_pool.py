# SPDX-License-Identifier: Apache-2.0
"""QLinearAveragePool and QLinearGlobalAveragePool (com.microsoft): sums over windows, scaled.

Over a whole image without padding ONNX Runtime adds up integers: exact. Over other windows it adds
up floats (`compiler.ops.float_average`), and where that may decide otherwise than the exact sum,
the layer promises one code. Where padding does not count, windows at the border are divided by
less.
"""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import PoolNode, Promise, Quad, Shape, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.chain import emit_chain
from kiwicha.compiler.ops.context import Context, FloatOp
from kiwicha.compiler.ops.conv import CHANNELS_LAST
from kiwicha.compiler.ops.float_average import Average, fitted, float_sums
from kiwicha.compiler.ops.float_pool import take_pool
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.pool import pool_options
from kiwicha.compiler.ops.tflite import SAME_SCALE, activation, image, label, target
from kiwicha.compiler.ops.unsupported import in_float
from kiwicha.compiler.ops.window import LIMITS, RANK, Window, window
from kiwicha.machine.isa import Reduction

__all__ = ["OPERATORS"]

_DIMENSIONS = Limit(
    "input '{name}' has {image} dimensions, the kernel {kernel}",
    lambda name, image, kernel: image == kernel + 2,
)
_EMPTY = Limit("a window lies in the padding altogether", lambda taps: bool((taps > 0).all()))
_RANGE = Limit(
    "input scale / (output scale * {size} values) is {scale}; ONNX Runtime takes 2^-32 to 256",
    lambda size, scale: 2.0**-32 <= scale < 256,
)


def average_pool(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, x_scale, x_zero, y_scale, y_zero."""
    given, (x, y) = attributes(node), _operands(context, node)
    kernel = tuple(given["kernel_shape"])
    RANK.check(rank=len(kernel))
    _DIMENSIONS.check(name=x.name, image=len(x.shape), kernel=len(kernel))
    frame = window(given, x.shape[2:], kernel, pool=True)
    if kernel == x.shape[2:] and not any(_pads(given, frame)):
        _emit_global(context, node, x, y)
        return
    taps = _taps(frame, x)
    _EMPTY.check(taps=taps)
    count = np.full_like(taps, frame.kernel[0] * frame.kernel[1])
    if not given.get("count_include_pad", 0):
        count = taps
    scale, scale64 = np.empty(count.shape, np.float32), np.empty(count.shape, np.float64)
    doubtful, sums = 0, float_sums(x, int(taps.max()))
    for divisor in np.unique(count):
        alike = count == divisor
        average = Average(x, y, int(divisor), tuple(map(int, np.unique(taps[alike]))))
        check_scale(np.atleast_1d(average.scale), "input scale / (output scale * window)")
        found, unsure = fitted(average, sums)
        scale[alike], scale64[alike] = found, average.scale64
        doubtful += unsure
    if doubtful:
        context.note(
            node,
            f"{node.op_type} adds up floats in ONNX Runtime, whose rounding may decide {doubtful} "
            "of the sums otherwise; at most one code apart",
        )
    if np.all(count == count[0, 0]):
        scale, scale64 = scale[0, 0], scale64[0, 0]
    _emit(context, node, x, y, frame, scale, scale64, "near" if doubtful else "runtime")


def global_average_pool(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, x_scale, x_zero, y_scale, y_zero."""
    x, y = _operands(context, node)
    RANK.check(rank=len(x.shape) - 2)
    _emit_global(context, node, x, y)


def _operands(context: Context, node: onnx.NodeProto) -> tuple[Tensor, Tensor]:
    """Return the input and the result, whose shape is still empty."""
    CHANNELS_LAST.check(value=attributes(node).get("channels_last", 0))
    x = context.operand(node)
    scale, zero, dtype = context.quantization(node, 3, "output", x.dtype)
    return x, Tensor(node.output[0], (), dtype, scale, zero)


def _pads(given: dict[str, Any], frame: Window) -> Quad:
    """Return the pads as they are given or follow from auto_pad, used by a window or not."""
    if given.get("auto_pad", "NOTSET") != "NOTSET":
        return frame.pads
    rank = len(frame.output)
    pads, flat = given.get("pads") or [0] * 2 * rank, [0] * (2 - rank)
    return cast(Quad, (*flat, *pads[:rank], *flat, *pads[rank:]))


def _taps(frame: Window, x: Tensor, pads: Quad = (0, 0, 0, 0)) -> NDArray[np.int64]:
    """Return how many values each window has, height x width: those of the image and of ``pads``
    around it."""
    counts = []
    for axis, size in enumerate((1, *x.shape[2:])[-2:]):
        start = np.arange((1, *frame.output)[-2:][axis]) * frame.strides[axis] - frame.pads[axis]
        place = start[:, None] + np.arange(frame.kernel[axis]) * frame.dilations[axis]
        inside = (place >= -pads[axis]) & (place < size + pads[axis + 2])
        counts.append(np.count_nonzero(inside, axis=1))
    return np.multiply.outer(*counts)


def _emit_global(context: Context, node: onnx.NodeProto, x: Tensor, y: Tensor) -> None:
    """Emit the average of whole images: f(Sx / f(Sy * size)) times the sum."""
    frame = window({}, x.shape[2:], x.shape[2:])
    size = frame.kernel[0] * frame.kernel[1]
    average = Average(x, y, size, (size,))
    _RANGE.check(size=size, scale=average.scale)
    _emit(context, node, x, y, frame, average.scale, average.scale64, "runtime")


def float_average_pool(context: Context, node: onnx.NodeProto) -> None:
    """AveragePool or GlobalAveragePool of a float value, where ONNX Runtime makes no integer
    operator of it; nothing is emitted before the QuantizeLinear."""
    take_pool(context, node, _frame, _finish)


def _frame(node: onnx.NodeProto, shape: Shape) -> Window:
    """Return the window of an average in float."""
    given = attributes(node)
    RANK.check(rank=len(shape) - 2)
    return window(given, shape[2:], given.get("kernel_shape", shape[2:]), pool=True)


def _finish(
    context: Context, end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit an average in float and the clips and views behind it: at most one code apart."""
    node, rest = operations[0].node, operations[1:]
    LAST.check(done=node.op_type, rest=[op for op in rest if op.kind not in ("clip", "view")])
    given, frame = attributes(node), _frame(node, x.shape)
    count = _taps(frame, x)
    _EMPTY.check(taps=count)
    if given.get("count_include_pad", 0):
        count = _taps(frame, x, _pads(given, frame))
    averages = {n: Average(x, target, int(n), ()) for n in np.unique(count)}
    scale, scale64 = (
        np.select([count == n for n in averages], [getattr(a, name) for a in averages.values()])
        for name in ("scale", "scale64")
    )
    scale = scale.astype(np.float32)
    check_scale(scale, "input scale / (output scale * window)")
    if len(averages) == 1:
        scale, scale64 = scale[0, 0], scale64[0, 0]
    name = context.names.fresh(target.name, "average") if rest else target.name
    _emit(context, node, x, replace(target, name=name), frame, scale, scale64, "near")
    context.note(
        node,
        f"lowered by kiwicha: {node.op_type}, which ONNX Runtime leaves in float; at most one code "
        "apart",
    )
    if rest:
        context.uses[name] = 1
        emit_chain(context, end, context.tensors[name], rest, target)


def tflite_average_pool(context: Context, node: onnx.NodeProto) -> None:
    """AVERAGE_POOL_2D: input x; codes are averaged as they are, halves away from zero."""
    x = image(context, node)
    window_node = pool_options(node, x.shape)
    frame = _frame(window_node, x.shape)
    n, c = x.shape[:2]
    y = target(context, node, (n, *frame.output, c), image=True)
    SAME_SCALE.check(x=x, y=y)
    taps = _taps(frame, x)
    _EMPTY.check(taps=taps)
    divisor = taps if np.any(taps != taps[0, 0]) else taps[0, 0]
    low, high = activation(node, y)
    context.emit(PoolNode(
        node_name(node), label(node), replace(x, scale=y.scale, zero_point=0),
        replace(y, zero_point=0), frame.kernel, frame.strides, frame.pads, frame.dilations,
        np.asarray(1 / divisor, np.float32)[()], np.asarray(1 / divisor)[()], low, high,
        Reduction.SUM, away=True,
    ))
    context.tensors[y.name] = y


def _emit(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    y: Tensor,
    frame: Window,
    scale: np.float32 | NDArray[np.float32],
    scale64: np.float64 | NDArray[np.float64],
    promise: Promise,
) -> None:
    layout, info = channels_last(len(x.shape)), np.iinfo(y.dtype)
    shape = (*x.shape[:2], *frame.output)
    context.emit(PoolNode(
        node_name(node), node.op_type, context.settle(x, layout),
        Tensor(y.name, shape, y.dtype, y.scale, y.zero_point, layout),
        frame.kernel, frame.strides, frame.pads, frame.dilations, scale, scale64,
        int(info.min), int(info.max), Reduction.SUM, promise,
    ))


OPERATORS = (
    Operator(
        "AveragePool",
        (
            Form("QOperator", ("QLinearAveragePool",), "near", average_pool),
            Form("QDQ", ("AveragePool",), "near"),
            Form("float", ("AveragePool",), "near", float_average_pool, first_is_float),
            Form("dynamic", ("AveragePool",), "golden"),
            Form("TFLite", ("AVERAGE_POOL_2D",), "runtime", tflite_average_pool),
        ),
        "average.average_pool",
        (CHANNELS_LAST, *LIMITS, _EMPTY, QUANTIZED, FIRST, LAST, SAME_SCALE),
        "1-D and 2-D, strides, pads, auto_pad, ceil mode, count_include_pad, int8 and uint8. "
        "Runtime-exact, for most scales, where each sum has one result in ONNX Runtime whatever "
        "its values are; else within one code, noted; of a dynamically quantized convolution, "
        "without padding, golden-exact",
        ("tests/golden/test_average.py", "tests/compiler/test_average_pool.py",
         "tests/compiler/test_dynamic_conv.py"),
        otherwise=in_float,
    ),
    Operator(
        "GlobalAveragePool",
        (
            Form("QOperator", ("QLinearGlobalAveragePool",), "runtime", global_average_pool),
            Form("QDQ", ("GlobalAveragePool",), "runtime"),
            Form("float", ("GlobalAveragePool",), "near", float_average_pool, first_is_float),
            Form("dynamic", ("GlobalAveragePool",), "golden"),
        ),
        "average.global_average_pool",
        (CHANNELS_LAST, RANK, _RANGE, QUANTIZED, FIRST, LAST),
        "1-D and 2-D, int8 and uint8, every scale that ONNX Runtime takes; of a dynamically "
        "quantized convolution golden-exact",
        ("tests/golden/test_average.py", "tests/compiler/test_average_pool.py",
         "tests/compiler/test_dynamic_conv.py"),
        otherwise=in_float,
    ),
)
