# SPDX-License-Identifier: Apache-2.0
"""TRANSPOSE_CONV of TFLite: a transposed convolution whose result's shape is given."""

from typing import cast

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import ConvTransposeNode, Pair
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.tflite import (
    activation,
    codes_of,
    given_options,
    image,
    label,
    padding,
    target,
)
from kiwicha.compiler.ops.weights import bias_vector, combined_scale, per_channel, signed_weights
from kiwicha.machine.fixed_scales import convolution_scale

__all__ = ["OPERATORS"]

_FIT = Limit(
    "input is {x}, the weight {weights}; must have as many channels",
    lambda x, weights: len(weights) == 4 and x[1] == weights[3],
)
_AXIS = Limit(
    "weight scales along axis {axis}; must be along 0",
    lambda scales, axis: scales == 1 or axis == 0,
)
_IMAGES = Limit(
    "its result is {shape} by its first operand; must have 4 dimensions and {images} images",
    lambda shape, images: len(shape) == 4 and shape[0] == images,
)


def transpose_conv(context: Context, node: onnx.NodeProto) -> None:
    """Inputs: the result's shape, weights O H W I, x, optional bias."""
    given, x = given_options(node), image(context, node, 2)
    codes, scale, zero, axis = codes_of(context, node, 1, "weight")
    _FIT.check(x=x.shape, weights=codes.shape)
    _AXIS.check(scales=scale.size, axis=axis)
    shape = tuple(int(size) for size in context.constant(node, 0, "shape").reshape(-1))
    _IMAGES.check(shape=shape, images=x.shape[0])
    y = target(context, node, (*shape[:3], len(codes)), image=True)
    kernel, strides = codes.shape[1:3], (given["strideH"], given["strideW"])
    pads = padding(given["padding"], shape[1:3], kernel, strides, (1, 1))
    scale = per_channel(scale, len(codes), "weight scale")
    zero = per_channel(zero, len(codes), "weight zero point")
    weights, weight_zero = signed_weights(codes.transpose(0, 3, 1, 2), zero)
    low, high = activation(node, y)
    context.emit(ConvTransposeNode(
        name=node_name(node), op=label(node), x=x, y=y, weights=np.ascontiguousarray(weights),
        weight_zero=weight_zero, bias=bias_vector(context, node, 3, len(codes)),
        scale=combined_scale(x.scale, scale, y.scale)[0],
        scale64=convolution_scale(x.scale, scale, y.scale, x.dtype), groups=1,
        strides=strides, pads=cast(Pair, tuple(pads[:2])), dilations=(1, 1), low=low, high=high,
        promise="runtime",
    ))


OPERATORS = (
    Operator(
        "TRANSPOSE_CONV",
        (Form("TFLite", ("TRANSPOSE_CONV",), "runtime", transpose_conv, operands=3),),
        "conv_transpose.conv_transpose2d",
        (_FIT, _AXIS, _IMAGES),
        "int8, per tensor and per channel, and uint8; any strides, SAME and VALID",
        ("tests/compiler/test_tflite_transpose_conv.py",),
    ),
)
