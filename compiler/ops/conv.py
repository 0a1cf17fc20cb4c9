# SPDX-License-Identifier: Apache-2.0
"""QLinearConv, and what it has in common with convolutions in float (`linear`)."""

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import Refusal, attributes, node_name
from kiwicha.compiler.graph.graph import ConvNode, Promise, Shape, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.weights import (
    Weights,
    bias_vector,
    combined_scale,
    per_channel,
    signed_weights,
)
from kiwicha.compiler.ops.window import window

__all__ = ["conv_shape", "emit_conv", "qlinear_conv"]


def qlinear_conv(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, optional bias (int32)."""
    if attributes(node).get("channels_last", 0):
        raise Refusal("channels_last=1; give the model as it was before layout optimization")
    weights = context.constant(node, 3, "weight")
    _check_rank(weights.shape)
    out = weights.shape[0]
    w_scale = per_channel(context.scale(node, 4, "weight scale"), out, "weight scale")
    zero = per_channel(context.zero(node, 5, "weight zero point"), out, "weight zero point")
    y_scale, y_zero, dtype = context.quantization(node, 6, "output")
    bias = bias_vector(context, node, 8, out)
    product = Weights(*signed_weights(weights, zero), w_scale, bias)
    target = Tensor(node.output[0], (), dtype, y_scale, y_zero)
    emit_conv(context, node, context.operand(node), product, target)


def conv_shape(node: onnx.NodeProto, x: Shape, weights: Shape) -> Shape:
    """Return the shape of a convolution of ``x`` with ``weights``.

    Raises
    ------
    Refusal
        Where ranks, channels, groups or the window do not fit.
    """
    _check_rank(weights)
    groups = attributes(node).get("group", 1)
    if len(x) != len(weights):
        raise Refusal(f"input '{node.input[0]}' has {len(x)} dimensions, the weight {len(weights)}")
    if x[1] != weights[1] * groups or weights[0] % groups:
        raise Refusal(f"{x[1]} input channels, weight {weights}, {groups} groups")
    return (x[0], weights[0], *window(attributes(node), x[2:], weights[2:]).output)


def _check_rank(weights: Shape) -> None:
    if len(weights) not in (3, 4):
        raise Refusal(f"is {len(weights) - 2}-D; the machine has 1-D and 2-D windows")


def emit_conv(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    product: Weights,
    target: Tensor,
    *,
    label: str = "",
    promise: Promise = "runtime",
) -> None:
    """Emit a convolution.

    Parameters
    ----------
    target : name, type, scale and zero point of the result.
    label : operator for the report, that of ``node`` if not given.
    """
    given, weights = attributes(node), product.codes
    shape = conv_shape(node, x.shape, weights.shape)
    x = context.settle(x, channels_last(len(x.shape)))
    frame = window(given, x.shape[2:], weights.shape[2:])
    scale, scale64 = combined_scale(x.scale, product.scale, target.scale)
    info = np.iinfo(target.dtype)
    layout = channels_last(len(shape))
    context.emit(ConvNode(
        name=node_name(node), op=label or node.op_type, x=x,
        y=Tensor(target.name, shape, target.dtype, target.scale, target.zero_point, layout),
        weights=weights.reshape(*weights.shape[:2], *frame.kernel), weight_zero=product.zero,
        bias=product.bias, scale=scale, scale64=scale64,
        groups=given.get("group", 1), strides=frame.strides, pads=frame.pads,
        dilations=frame.dilations, low=int(info.min), high=int(info.max), promise=promise,
    ))
