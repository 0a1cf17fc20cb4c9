# SPDX-License-Identifier: Apache-2.0
"""QLinearConv."""

import numpy as np
import onnx

from compiler.graph import ConvNode, Tensor
from compiler.layout import channels_last
from compiler.operators.context import Context, Refusal, attributes, node_name
from compiler.operators.weights import bias_vector, combined_scale, per_channel, signed_weights
from compiler.operators.window import window

__all__ = ["qlinear_conv"]


def qlinear_conv(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, optional bias (int32)."""
    given = attributes(node)
    if given.get("channels_last", 0):
        raise Refusal("channels_last=1; give the model as it was before layout optimization")
    weights = context.constant(node, 3, "weight")
    if weights.ndim not in (3, 4):
        raise Refusal(f"is {weights.ndim - 2}-D; the machine has 1-D and 2-D windows")
    out, per_group = weights.shape[:2]
    groups = given.get("group", 1)
    w_scale = per_channel(context.scale(node, 4, "weight scale"), out, "weight scale")
    zero = per_channel(context.zero(node, 5, "weight zero point"), out, "weight zero point")
    y_scale, y_zero, dtype = context.quantization(node, 6, "output")
    bias = bias_vector(context, node, 8, out)
    weights, weight_zero = signed_weights(weights, zero)
    x = context.operand(node)
    if len(x.shape) != weights.ndim:
        raise Refusal(f"input '{x.name}' has {len(x.shape)} dimensions, the weight {weights.ndim}")
    if x.shape[1] != per_group * groups or out % groups:
        raise Refusal(f"{x.shape[1]} input channels, weight {weights.shape}, {groups} groups")
    x = context.settle(x, channels_last(len(x.shape)))
    frame = window(given, x.shape[2:], weights.shape[2:])
    info = np.iinfo(dtype)
    shape = (x.shape[0], out, *frame.output)
    context.emit(ConvNode(
        name=node_name(node), op=node.op_type, x=x,
        y=Tensor(node.output[0], shape, dtype, y_scale, y_zero, channels_last(len(shape))),
        weights=weights.reshape(out, per_group, *frame.kernel), weight_zero=weight_zero,
        bias=bias, scale=combined_scale(x.scale, w_scale, y_scale),
        groups=groups, strides=frame.strides, pads=frame.pads, dilations=frame.dilations,
        low=int(info.min), high=int(info.max),
    ))  # fmt: skip
