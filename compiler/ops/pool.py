# SPDX-License-Identifier: Apache-2.0
"""MaxPool on int8 and uint8 tensors."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import PoolNode, Shape, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.tflite import (
    SAME_SCALE,
    activation,
    given_options,
    image,
    label,
    options,
    padding,
    target,
)
from kiwicha.compiler.ops.window import LIMITS, RANK, Window, window

__all__ = ["OPERATORS", "emit_pool", "pool_options", "ratio64"]

_INDICES = Limit("its second output (indices) is used", lambda used: not used)
_EMPTY = Limit("a window lies in the padding altogether", lambda meets: bool(meets.all()))
_DIMENSIONS = Limit(
    "input '{name}' has {image} dimensions, the kernel {kernel}",
    lambda name, image, kernel: image == kernel + 2,
)


def pool_window(node: onnx.NodeProto, shape: Shape) -> Window:
    """Return the window of a MaxPool on a tensor of ``shape``."""
    given = attributes(node)
    _INDICES.check(used=any(node.output[1:]))
    frame = window(given, shape[2:], given["kernel_shape"], pool=True)
    rank = len(frame.output)
    pads = (frame.pads[2 - rank : 2], frame.pads[4 - rank :])
    for axis in range(rank):
        place = 2 - rank + axis
        # Every window has to meet the image, else its maximum is that of nothing.
        taps = np.arange(frame.kernel[place]) * frame.dilations[place]
        starts = np.arange(frame.output[axis]) * frame.strides[place] - pads[0][axis]
        at = starts[:, None] + taps
        _EMPTY.check(meets=((at >= 0) & (at < shape[2 + axis])).any(axis=1))
    return frame


def max_pool(context: Context, node: onnx.NodeProto) -> None:
    """Input x; scale and zero point pass through."""
    rank = len(attributes(node)["kernel_shape"])
    RANK.check(rank=rank)
    x = context.tensor(node.input[0])
    _DIMENSIONS.check(name=x.name, image=len(x.shape), kernel=rank)
    emit_pool(context, node, x, replace(x, name=node.output[0]))


def float_max_pool(context: Context, node: onnx.NodeProto) -> None:
    """The same of a float value; nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    frame = pool_window(node, value.shape)
    done = FloatOp("pool", node, (*value.shape[:2], *frame.output))
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def tflite_max_pool(context: Context, node: onnx.NodeProto) -> None:
    """MAX_POOL_2D: input x; scale and zero point pass through."""
    x, window_node = image(context, node), pool_options(node, image(context, node).shape)
    n, c = x.shape[:2]
    frame = pool_window(window_node, x.shape)
    y = target(context, node, (n, *frame.output, c), image=True)
    SAME_SCALE.check(x=x, y=y)
    x = replace(x, scale=y.scale)
    emit_pool(
        context, window_node, x, y, bounds=activation(node, y), op=label(node)
    )


def pool_options(node: onnx.NodeProto, shape: Shape) -> onnx.NodeProto:
    """Return a pooling of TFLite with ONNX's attributes."""
    given = given_options(node)
    kernel = given["filterHeight"], given["filterWidth"]
    strides = given["strideH"], given["strideW"]
    pads = padding(given["padding"], shape[2:], kernel, strides, (1, 1))
    return options(node, kernel_shape=kernel, strides=strides, pads=pads)


def emit_pool(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    y: Tensor,
    scale: np.float32 = np.float32(1),
    bounds: tuple[int, int] | None = None,
    op: str = "MaxPool",
) -> Tensor:
    """Emit a maximum over the windows of ``node``, rescaled and clamped; y's shape is computed."""
    x = context.settle(x, channels_last(len(x.shape)))
    frame = pool_window(node, x.shape)
    y = replace(y, shape=(*x.shape[:2], *frame.output), layout=channels_last(len(x.shape)))
    low, high = bounds or _range(y.dtype)
    context.emit(PoolNode(
        node_name(node), op, x, y, frame.kernel, frame.strides, frame.pads, frame.dilations,
        scale, ratio64(x, y), low, high,
    ))
    return y


def ratio64(x: Tensor, y: Tensor) -> np.float64:
    """Return Sx / Sy in float64."""
    return np.float64(x.scale) / np.float64(y.scale)


def _range(dtype: np.dtype[Any]) -> tuple[int, int]:
    info: Any = np.iinfo(dtype)
    return int(info.min), int(info.max)


OPERATORS = (
    Operator(
        "MaxPool",
        (
            Form("QDQ", ("MaxPool",), "runtime", float_max_pool, first_is_float),
            Form("QOperator", ("MaxPool",), "runtime", max_pool),
            Form("TFLite", ("MAX_POOL_2D",), "runtime", tflite_max_pool),
        ),
        "pool.max_pool2d",
        (*LIMITS, _INDICES, _EMPTY, SAME_SCALE),
        "1-D and 2-D windows, strides, pads, dilations, ceil mode",
        ("tests/compiler/test_legalize.py", "tests/accelerator/test_layers.py"),
    ),
)
