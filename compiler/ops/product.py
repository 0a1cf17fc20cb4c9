# SPDX-License-Identifier: Apache-2.0
"""QLinearMatMul of two activations, such as queries times keys, or with a stack of constants."""

from dataclasses import replace

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import MatMulStackNode, ProductNode, Shape, Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.rows import emit_views
from kiwicha.compiler.ops.weights import combined_scale, signed_weights

__all__ = ["LIMITS", "placed", "product", "stack"]

_DEPTH = Limit("operands are {x} and {z}", lambda x, z: x[-1] == z[-2])
_ONE_TYPE = Limit("operands are {x} and {z}; must be of one type", lambda x, z: x == z)
_ONE_SCALE = Limit(
    "its stack of matrices {weights} has {size} scales; must have one, ONNX Runtime takes no more",
    lambda weights, size: size == 1,
)
LIMITS = (_ONE_TYPE, _ONE_SCALE)

_TRANSPARENT = ("DequantizeLinear", "QuantizeLinear", "Identity")


def product(context: Context, node: onnx.NodeProto) -> None:
    """Inputs a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero; b is no constant."""
    y_scale, y_zero, dtype = context.quantization(node, 6, "output")
    x, z = context.operand(node), context.operand(node, 3)
    short = len(x.shape) == 1, len(z.shape) == 1
    if short[0]:
        x = emit_views(context, node, x, [("reshape", (1, *x.shape))])
    if short[1]:
        z = emit_views(context, node, z, [("reshape", (*z.shape, 1))])
    _DEPTH.check(x=x.shape, z=z.shape)
    # uint8 x int8 saturates in ONNX Runtime on hosts without VNNI.
    _ONE_TYPE.check(x=x.dtype, z=z.dtype)
    lead = np.broadcast_shapes(x.shape[:-2], z.shape[:-2])
    shape = (*lead, x.shape[-2], z.shape[-1])
    x, z = placed(context, x, (-1,)), placed(context, z, (-1, -2))
    if x.name == z.name:  # settled twice, the second time for both
        x = replace(x, layout=z.layout)
    (scale,), (scale64,) = combined_scale(x.scale, np.array([z.scale]), y_scale)
    info = np.iinfo(dtype)
    layout = ROW_MAJOR if any(short) else _layout(context, node.output[0], shape)
    name = context.names.fresh(node.output[0], "matrix") if any(short) else node.output[0]
    y = Tensor(name, shape, dtype, y_scale, y_zero, layout)
    context.emit(ProductNode(
        name=node_name(node), op=node.op_type, x=x, z=z, y=y, scale=np.float32(scale),
        scale64=np.float64(scale64), low=int(info.min), high=int(info.max),
    ))
    if any(short):
        result = (*lead, *shape[len(lead) : len(lead) + 1 - short[0]], *shape[-1:][short[1] :])
        emit_views(context, node, y, [("reshape", result)], node.output[0])


def stack(context: Context, node: onnx.NodeProto) -> None:
    """The same inputs; b is constant, a matrix for each place of its leading axes, all of them
    quantized alike."""
    weights = context.constant(node, 3, "weight")
    zero, w_scale = context.zero(node, 5, "weight zero point"), context.scale(node, 4, "scale")
    _ONE_SCALE.check(weights=weights.shape, size=max(zero.size, w_scale.size))
    y_scale, y_zero, dtype = context.quantization(node, 6, "output")
    x = context.operand(node)
    _DEPTH.check(x=x.shape, z=weights.shape)
    lead = np.broadcast_shapes(x.shape[:-2], weights.shape[:-2])
    x = placed(context, x, (-1,))
    codes, zeros = signed_weights(weights, zero)
    (scale,), (scale64,) = combined_scale(x.scale, w_scale, y_scale)
    info = np.iinfo(dtype)
    shape = (*lead, x.shape[-2], weights.shape[-1])
    context.emit(MatMulStackNode(
        name=node_name(node), op=node.op_type, x=x,
        y=Tensor(node.output[0], shape, dtype, y_scale, y_zero,
                 _layout(context, node.output[0], shape)),
        weights=codes, weight_zero=int(zeros[0]), scale=np.float32(scale),
        scale64=np.float64(scale64), low=int(info.min), high=int(info.max),
    ))


def placed(context: Context, tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return an operand one of whose ``axes`` is contiguous in memory; a graph input becomes
    row-major."""
    if tensor.name in context.free:
        return context.settle(tensor, ROW_MAJOR)
    tensor = context.settled(tensor)
    steps = tensor.strides
    fits = steps is not None and any(1 in (steps[a], tensor.shape[a]) for a in axes)
    return tensor if fits else context.settle(tensor, ROW_MAJOR)


def _layout(context: Context, name: str, shape: Shape) -> Layout:
    """Return the order in which the result is stored: that of the Transpose that all its readers
    are, so that heads are merged by the store; row-major where there is no such."""
    readers = context.readers[name]
    while len(readers) == 1 and readers[0].op_type in _TRANSPARENT:
        name = readers[0].output[0]
        readers = context.readers[name]
    axes = {
        tuple(attributes(reader).get("perm", ())) if reader.op_type == "Transpose" else ()
        for reader in readers
    }
    if len(readers) != context.uses[name] or len(axes) != 1:
        return ROW_MAJOR
    (chosen,) = axes
    # The machine stores whole rows of the result.
    if len(chosen) != len(shape) or chosen[-1] != len(shape) - 1:
        return ROW_MAJOR
    return Layout((("transpose", chosen),))
