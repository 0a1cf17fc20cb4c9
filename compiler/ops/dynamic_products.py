# SPDX-License-Identifier: Apache-2.0
"""MatMulInteger and ConvInteger as linear layers of which nothing but the sums is known yet."""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.conv import conv_shape
from kiwicha.compiler.ops.dynamic import OWN_ZERO, PAIR, RIGHT, SHAPES
from kiwicha.compiler.ops.dynamic_linear import Linear
from kiwicha.compiler.ops.weights import per_channel, signed_weights
from kiwicha.compiler.ops.window import window

__all__ = ["convolution", "product"]

Records = Mapping[str, Tensor]
"""By tensor, the record with its scale."""
Zeros = Mapping[str, str]
"""By the name of a zero point, whose it is."""


def product(context: Context, records: Records, zeros: Zeros, node: onnx.NodeProto) -> Linear:
    """Return the sums of a MatMulInteger."""
    if {*node.input[:2]} <= records.keys():
        return _product_of_two(context, records, zeros, node)
    x, weights, known = _operands(context, records, zeros, node)
    SHAPES.check(name=x.name, x=x.shape, weights=weights.shape)
    codes, zero = _codes(context, node, weights, weights.shape[1])
    shape = (*x.shape[:-1], weights.shape[1])
    return Linear(node, x.name, codes, zero, shape, shape, zero=known)


def _product_of_two(
    context: Context, records: Records, zeros: Zeros, node: onnx.NodeProto
) -> Linear:
    """Both operands are quantized dynamically."""
    names, given = node.input[:2], [*node.input[2:4], "", ""][:2]
    for name, zero in zip(names, given, strict=True):
        OWN_ZERO.check(zero=zero, name=name, owner=zeros.get(zero))
    x, z = (context.tensors[name] for name in names)
    PAIR.check(x=x.shape, z=z.shape)
    lead = np.broadcast_shapes(x.shape[:-2], z.shape[:-2])
    shape = (*lead, x.shape[-2], z.shape[-1])
    nothing = np.zeros(0, np.int8), np.zeros(0, np.int16)
    return Linear(node, x.name, *nothing, shape, shape, second=(z.name, records[z.name]))


def convolution(context: Context, records: Records, zeros: Zeros, node: onnx.NodeProto) -> Linear:
    """Return the sums of a ConvInteger."""
    x, weights, known = _operands(context, records, zeros, node)
    shape, given = conv_shape(node, x.shape, weights.shape), attributes(node)
    codes, zero = _codes(context, node, weights, weights.shape[0])
    return Linear(
        node, x.name, codes, zero, shape, shape, window(given, x.shape[2:], weights.shape[2:]),
        given.get("group", 1), known, op="ConvInteger",
    )


def _operands(
    context: Context, records: Records, zeros: Zeros, node: onnx.NodeProto
) -> tuple[Tensor, NDArray[np.integer], int | None]:
    """Return the tensor and the constant that a layer multiplies, and the zero point of a tensor
    that has one of its own."""
    source = node.input[0]
    RIGHT.check(constant=source in context.constants)
    weights = context.constant(node, 1, "weight")
    name = node.input[2] if len(node.input) > 2 else ""
    if source in records:
        OWN_ZERO.check(zero=name, name=source, owner=zeros.get(name))
        return context.tensors[source], weights, None
    x = context.tensor(source)
    zero = context.zero(node, 2, "input zero point", x.dtype)
    context.one_scale(f"input '{source}'", zero, zero)
    return x, weights, int(zero[0])


def _codes(
    context: Context, node: onnx.NodeProto, weights: NDArray[np.integer], columns: int
) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Return weights and their zero points, one per column."""
    zero = np.zeros(1, weights.dtype)
    if len(node.input) > 3 and node.input[3]:
        zero = context.constant(node, 3, "weight zero point").reshape(-1)
    zero = per_channel(zero, columns, "weight zero point")
    codes, zero = signed_weights(weights, zero)
    return np.ascontiguousarray(codes), zero
