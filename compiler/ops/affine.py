# SPDX-License-Identifier: Apache-2.0
"""BatchNormalization between DequantizeLinear and QuantizeLinear: a depthwise 1 x 1 convolution.

Behind a convolution it is folded into the weights before quantizing; behind a Relu it cannot be.
y = a x + b of each channel, a = gamma / sqrt(variance + epsilon), b = beta - a mean, becomes
integers w and c of a unit u of its own: w = rint(a Sx / u), c = rint(b / u), requantized by u / Sy.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import ConvNode, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.chain import code_bounds
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.own_scale import in_codes

__all__ = ["OPERATORS"]

_INFERENCE = Limit(
    "is that of training; export the model for inference", lambda training: not training
)
_DIMENSIONS = Limit(
    "normalizes {rank} dimensions; without a layer before it that it can be folded into, it must "
    "be 3 or 4",
    lambda rank: rank in (3, 4),
)
_CHANNELS = Limit(
    "{size} values of {what} for {channels} channels",
    lambda size, what, channels: size == channels,
)
_FINITE = Limit("its {what} of channel {channel} is not finite", lambda what, channel, ok: ok)

_LARGEST_WEIGHT, _LARGEST_BIAS, _FINEST = 127, 2.0**22, 2.0**-22
"""No weight, no bias is larger, no unit a smaller part of Sy: sums are exact in float32."""


def batch_normalization(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, scale, bias, mean, variance; nothing is emitted before its QuantizeLinear."""
    value = in_codes(context, node, node.input[0])
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    FIRST.check(done=value.operations[-1].node.op_type if value.operations else "")
    _INFERENCE.check(training=attributes(node).get("training_mode", 0) or any(node.output[1:]))
    _DIMENSIONS.check(rank=len(value.shape))
    gain, offset = _coefficients(context, node, value.shape[1])
    assert isinstance(value.origin, Tensor)
    info = np.iinfo(value.origin.dtype)
    ends = [float(value.origin.scale) * (end - value.origin.zero_point)
            for end in (info.min, info.max)]
    real = np.outer(ends, gain) + offset
    reach = float(real.min()), float(real.max())
    done = FloatOp("affine", node, value.shape, finish=emit_affine, reach=reach)
    context.floats[node.output[0]] = FloatValue(value.origin, (done,))


def emit_affine(
    context: Context, _end: onnx.NodeProto, x: Tensor, operations: Sequence[FloatOp], target: Tensor
) -> None:
    """Emit the normalization, and the clips behind it, that QuantizeLinear turns into codes."""
    node, clips = operations[0].node, operations[1:]
    LAST.check(done=node.op_type, rest=[op for op in clips if op.kind != "clip"])
    channels = x.shape[1]
    gain, offset = _coefficients(context, node, channels)
    step, result = float(x.scale), float(target.scale)
    unit = np.abs(gain) * step / _LARGEST_WEIGHT
    unit = np.maximum(np.maximum(unit, np.abs(offset) / _LARGEST_BIAS), result * _FINEST)
    with np.errstate(over="ignore"):
        scale = (unit / result).astype(np.float32)
    check_scale(scale, "the scale of a channel over that of the output")
    low, high = code_bounds(target, clips)
    x = context.settle(x, channels_last(len(x.shape)))
    context.emit(ConvNode(
        name=node_name(node), op="+".join(op.node.op_type for op in operations), x=x,
        y=replace(target, shape=x.shape, layout=x.layout),
        weights=np.rint(gain * step / unit).astype(np.int8).reshape(channels, 1, 1, 1),
        weight_zero=np.zeros(channels, np.int16), bias=np.rint(offset / unit).astype(np.int32),
        scale=scale, scale64=unit / result, groups=channels, strides=(1, 1), pads=(0, 0, 0, 0),
        dilations=(1, 1),
        low=low, high=high, promise="near",
    ))
    context.note(
        node,
        "lowered by kiwicha: BatchNormalization, which ONNX Runtime computes in float; at most one "
        "code apart",
    )


def _coefficients(
    context: Context, node: onnx.NodeProto, channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return gain and offset of each channel."""
    found = []
    for index, what in ((1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")):
        value = context.constant(node, index, what).astype(np.float64).reshape(-1)
        _CHANNELS.check(size=value.size, what=what, channels=channels)
        found.append(value)
    gamma, beta, mean, variance = found
    with np.errstate(all="ignore"):
        gain = gamma / np.sqrt(variance + float(attributes(node).get("epsilon", 1e-5)))
        offset = beta - mean * gain
    for value, what in ((gain, "gain"), (offset, "offset")):
        finite = np.isfinite(value)
        _FINITE.check(what=what, channel=np.argmin(finite), ok=finite.all())
    return gain, offset


OPERATORS = (
    Operator(
        "BatchNormalization",
        (Form("float", ("BatchNormalization",), "near", batch_normalization, first_is_float),),
        "conv.conv2d",
        (QUANTIZED, FIRST, _INFERENCE, _DIMENSIONS, _FINITE, LAST),
        "that is in no convolution: 3 and 4 dimensions, any gain; by the host, runtime-exact, "
        "where it is the graph output",
        ("tests/compiler/test_affine.py",),
    ),
)
