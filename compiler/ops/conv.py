# SPDX-License-Identifier: Apache-2.0
"""QLinearConv, and what it has in common with convolutions in float (`linear`)."""

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import ConvNode, Promise, Shape, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.tflite import (
    activation,
    codes_of,
    given_options,
    image,
    label,
    options,
    padding,
    target,
)
from kiwicha.compiler.ops.weights import LIMITS as WEIGHT_LIMITS
from kiwicha.compiler.ops.weights import (
    Weights,
    bias_vector,
    combined_scale,
    per_channel,
    signed_weights,
)
from kiwicha.compiler.ops.window import LIMITS as WINDOW_LIMITS
from kiwicha.compiler.ops.window import RANK, window
from kiwicha.machine.fixed_scales import convolution_scale

__all__ = ["CHANNELS_LAST", "OPERATORS", "conv_shape", "emit_conv"]

CHANNELS_LAST = Limit(
    "channels_last={value}; give the model as it was before layout optimization",
    lambda value: not value,
)
_DIMENSIONS = Limit(
    "input '{name}' has {image} dimensions, the weight {weight}",
    lambda name, image, weight: image == weight,
)
_GROUPS = Limit(
    "{channels} input channels, weight {weights}, {groups} groups",
    lambda channels, weights, groups: (
        channels == weights[1] * groups and not weights[0] % groups
    ),
)

_KERNEL = Limit("weight has {rank} dimensions; must have 4", lambda rank: rank == 4)
_AXIS = Limit(
    "weight scales along axis {axis}; must be along {wanted}",
    lambda scales, axis, wanted: scales == 1 or axis == wanted,
)


def qlinear_conv(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, optional bias (int32)."""
    CHANNELS_LAST.check(value=attributes(node).get("channels_last", 0))
    weights = context.constant(node, 3, "weight")
    RANK.check(rank=weights.ndim - 2)
    out = weights.shape[0]
    w_scale = per_channel(context.scale(node, 4, "weight scale"), out, "weight scale")
    zero = per_channel(context.zero(node, 5, "weight zero point"), out, "weight zero point")
    y_scale, y_zero, dtype = context.quantization(node, 6, "output")
    bias = bias_vector(context, node, 8, out)
    product = Weights(*signed_weights(weights, zero), w_scale, bias)
    target = Tensor(node.output[0], (), dtype, y_scale, y_zero)
    emit_conv(context, node, context.operand(node), product, target)


def tflite_conv(context: Context, node: onnx.NodeProto) -> None:
    """CONV_2D and DEPTHWISE_CONV_2D: inputs x, weights (O H W I, or 1 H W O), optional bias."""
    given, x = given_options(node), image(context, node)
    codes, scale, zero, axis = codes_of(context, node, 1, "weight")
    _KERNEL.check(rank=codes.ndim)
    depthwise = node.op_type == "DEPTHWISE_CONV_2D"
    _AXIS.check(scales=scale.size, axis=axis, wanted=3 * depthwise)
    codes = codes.transpose(3, 0, 1, 2) if depthwise else codes.transpose(0, 3, 1, 2)
    out = len(codes)
    bias = bias_vector(context, node, 2, out)
    scale = per_channel(scale, out, "weight scale")
    zero = per_channel(zero, out, "weight zero point")
    product = Weights(*signed_weights(codes, zero), scale, bias)
    strides = given["strideH"], given["strideW"]
    dilations = given["dilationHFactor"], given["dilationWFactor"]
    window_node = options(
        node, strides=strides, dilations=dilations,
        group=x.shape[1] if depthwise else max(1, x.shape[1] // codes.shape[1]),
        pads=padding(given["padding"], x.shape[2:], codes.shape[2:], strides, dilations),
    )
    n, c, h, w = conv_shape(window_node, x.shape, codes.shape)
    y = target(context, node, (n, h, w, c), image=True)
    scale64 = convolution_scale(x.scale, product.scale, y.scale, x.dtype)
    emit_conv(
        context, window_node, x, product, y, label=label(node), bounds=activation(node, y),
        scale64=scale64,
    )


def conv_shape(node: onnx.NodeProto, x: Shape, weights: Shape) -> Shape:
    """Return the shape of a convolution of ``x`` with ``weights``.

    Raises
    ------
    Refusal
        Where ranks, channels, groups or the window do not fit.
    """
    RANK.check(rank=len(weights) - 2)
    groups = attributes(node).get("group", 1)
    _DIMENSIONS.check(name=node.input[0], image=len(x), weight=len(weights))
    _GROUPS.check(channels=x[1], weights=weights, groups=groups)
    return (x[0], weights[0], *window(attributes(node), x[2:], weights[2:]).output)


def emit_conv(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    product: Weights,
    target: Tensor,
    *,
    label: str = "",
    promise: Promise = "runtime",
    bounds: tuple[int, int] | None = None,
    scale64: NDArray[np.float64] | None = None,
) -> None:
    """Emit a convolution.

    Parameters
    ----------
    target : name, type, scale and zero point of the result.
    label : operator for the report, that of ``node`` if not given.
    bounds : of the codes of the result, inclusive; those of its type if not given.
    scale64 : where it is not Sx * Sw / Sy in binary64.
    """
    given, weights = attributes(node), product.codes
    shape = conv_shape(node, x.shape, weights.shape)
    x = context.settle(x, channels_last(len(x.shape)))
    frame = window(given, x.shape[2:], weights.shape[2:])
    scale, real = combined_scale(x.scale, product.scale, target.scale)
    info = np.iinfo(target.dtype)
    low, high = bounds or (int(info.min), int(info.max))
    layout = channels_last(len(shape))
    context.emit(ConvNode(
        name=node_name(node), op=label or node.op_type, x=x,
        y=Tensor(target.name, shape, target.dtype, target.scale, target.zero_point, layout),
        weights=weights.reshape(*weights.shape[:2], *frame.kernel), weight_zero=product.zero,
        bias=product.bias, scale=scale, scale64=real if scale64 is None else scale64,
        groups=given.get("group", 1), strides=frame.strides, pads=frame.pads,
        dilations=frame.dilations, low=low, high=high, promise=promise,
    ))


OPERATORS = (
    Operator(
        "Conv",
        (
            Form("QOperator", ("QLinearConv",), "runtime", qlinear_conv),
            Form("QDQ", ("Conv",), "runtime"),
            Form("TFLite", ("CONV_2D", "DEPTHWISE_CONV_2D"), "runtime", tflite_conv, operands=2),
        ),
        "conv.conv2d",
        (CHANNELS_LAST, *WINDOW_LIMITS, *WEIGHT_LIMITS, _KERNEL, _AXIS),
        "int8, uint8, any zero point, per tensor and per channel, strides, pads, dilations, groups",
        ("tests/compiler/test_legalize.py", "tests/accelerator/test_layers.py"),
    ),
)
