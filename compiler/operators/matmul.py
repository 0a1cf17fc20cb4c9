# SPDX-License-Identifier: Apache-2.0
"""QLinearMatMul and com.microsoft.QGemm, with constant weights; without, `product`."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compiler.graph import MatMulNode, Shape, Tensor, ViewNode
from compiler.layout import ROW_MAJOR
from compiler.operators.context import Context, Refusal, attributes, node_name
from compiler.operators.product import product
from compiler.operators.weights import bias_vector, combined_scale, per_channel, signed_weights

__all__ = ["qgemm", "qlinear_matmul"]


def qlinear_matmul(context: Context, node: onnx.NodeProto) -> None:
    """Inputs a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero; constant b K x N or K."""
    if node.input[0] in context.constants:
        raise Refusal("the first operand is a constant; transpose the product")
    if node.input[3] not in context.constants:
        product(context, node)
        return
    weights = context.constant(node, 3, "weight")
    vector = weights.ndim == 1
    if vector:
        weights = weights[:, None]
    if weights.ndim != 2 and prod(weights.shape[:-2]) != 1:
        raise Refusal(f"weight is a stack of matrices {weights.shape}")
    depth, columns = weights.shape[-2], weights.shape[-1]
    weights = weights.reshape(depth, columns)
    quantized = context.quantization(node, 6, "output")
    zero = context.zero(node, 5, "weight zero point")
    w_scale = context.scale(node, 4, "weight scale")
    x = context.operand(node)
    if not x.shape or x.shape[-1] != depth:
        raise Refusal(f"input '{x.name}' is {x.shape}, the weight {weights.shape}")
    shape = (*x.shape[:-1], *(() if vector else (columns,)))
    bias = np.zeros(columns, np.int32)
    _emit(context, node, x, weights, zero, x.scale, w_scale, quantized, bias, shape)


def qgemm(context: Context, node: onnx.NodeProto) -> None:
    """Inputs a, a_scale, a_zero, b, b_scale, b_zero, optional bias (int32), y_scale, y_zero."""
    given = attributes(node)
    if len(node.input) < 8 or not node.input[7]:
        raise Refusal("its output is float; quantize it")
    weights = context.constant(node, 3, "weight")
    if given.get("transB", 0):
        weights = weights.T
    depth, columns = weights.shape
    quantized = context.quantization(node, 7, "output")
    zero = context.zero(node, 5, "weight zero point")
    w_scale = context.scale(node, 4, "weight scale")
    bias = bias_vector(context, node, 6, columns)
    alpha = np.float32(given.get("alpha", 1.0))
    x = context.operand(node)
    if len(x.shape) != 2:
        raise Refusal(f"input '{x.name}' has {len(x.shape)} dimensions; must have 2")
    if given.get("transA", 0):
        x = _transposed(context, node, x)
    if x.shape[1] != depth:
        raise Refusal(f"input '{x.name}' is {x.shape}, the weight {weights.shape}")
    shape = (x.shape[0], columns)
    # ONNX Runtime multiplies alpha first.
    scaled = alpha * x.scale
    _emit(context, node, x, weights, zero, scaled, w_scale, quantized, bias, shape)


def _emit(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    weights: NDArray[Any],
    zero: NDArray[Any],
    x_scale: np.float32,
    w_scale: NDArray[np.float32],
    quantized: tuple[np.float32, int, np.dtype[Any]],
    bias: NDArray[np.int32],
    shape: Shape,
) -> None:
    depth, columns = weights.shape
    signed, weight_zero = signed_weights(
        weights, per_channel(zero, columns, "weight zero point")
    )
    y_scale, y_zero, dtype = quantized
    if x.name in context.free:
        x = context.settle(x, ROW_MAJOR)
    info = np.iinfo(dtype)
    context.emit(MatMulNode(
        name=node_name(node), op=node.op_type, x=x,
        y=Tensor(node.output[0], shape, dtype, y_scale, y_zero),
        weights=np.ascontiguousarray(signed), weight_zero=weight_zero, bias=bias,
        scale=combined_scale(x_scale, per_channel(w_scale, columns, "weight scale"), y_scale),
        order=_order(x, depth), low=int(info.min), high=int(info.max),
    ))  # fmt: skip


def _transposed(context: Context, node: onnx.NodeProto, x: Tensor) -> Tensor:
    """Return a transposed view; a graph input is written to memory transposed by the host."""
    if x.name in context.free:
        x = context.settle(x, ROW_MAJOR.transposed((1, 0)))
    name = context.names.fresh(x.name, "transposed")
    y = replace(x, name=name, shape=x.shape[::-1], layout=x.layout.transposed((1, 0)))
    title = context.names.fresh(node_name(node), "transA")
    context.emit(ViewNode(title, "Transpose", x, y, (1, 0)))
    return y


def _order(x: Tensor, depth: int) -> NDArray[np.int64]:
    """Return the order of the elements of every row of ``x`` in memory."""
    index = x.layout.index(x.shape).reshape(-1, depth)
    order = index[0] % depth
    if not np.array_equal(index, np.arange(len(index))[:, None] * depth + order):
        raise Refusal(f"reads '{x.name}' in an order that needs a transposition in memory")
    return order.astype(np.int64)
