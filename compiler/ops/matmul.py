# SPDX-License-Identifier: Apache-2.0
"""QLinearMatMul and com.microsoft.QGemm with constant weights (without: `product`), and what they
have in common with products in float (`linear`)."""

from dataclasses import replace
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import MatMulNode, Promise, Shape, Tensor, ViewNode
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.product import LIMITS as PRODUCT_LIMITS
from kiwicha.compiler.ops.product import product, stack
from kiwicha.compiler.ops.tflite import activation, codes_of, label, operand, target
from kiwicha.compiler.ops.view import emit_reshape
from kiwicha.compiler.ops.weights import LIMITS as WEIGHT_LIMITS
from kiwicha.compiler.ops.weights import (
    Weights,
    bias_vector,
    combined_scale,
    per_channel,
    signed_weights,
)
from kiwicha.machine.away import encode_product
from kiwicha.machine.modes import RequantizeMode

__all__ = ["OPERATORS", "STACK", "emit_matmul", "matmul_shape", "row_order", "transposed"]

_RIGHT = Limit(
    "the first operand is a constant; transpose the product", lambda constant: not constant
)
STACK = Limit(
    "weight is a stack of matrices {weights}",
    lambda weights: len(weights) == 1 or prod(weights[:-2]) == 1,
)
_DEPTH = Limit("input is {x}, the weight {weights}", lambda x, weights, depth: x[-1:] == (depth,))
_OUTPUT = Limit("its output is float; quantize it", lambda scale: bool(scale))
_MATRIX = Limit(
    "input '{name}' has {rank} dimensions; must have 2", lambda name, rank: rank == 2
)

_ROWS = Limit(
    "input is {x}, no rows of {depth}", lambda x, depth: prod(x) % depth == 0 and prod(x) > 0
)
_AXIS = Limit(
    "weight scales along axis {axis}; must be along 0",
    lambda scales, axis: scales == 1 or axis == 0,
)


def qlinear_matmul(context: Context, node: onnx.NodeProto) -> None:
    """Inputs a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero; constant b K x N or K."""
    _RIGHT.check(constant=node.input[0] in context.constants)
    if node.input[3] not in context.constants:
        product(context, node)
        return
    weights = context.constant(node, 3, "weight")
    if prod(weights.shape[:-2]) > 1 and len(context.operand(node).shape) > 1:
        stack(context, node)
        return
    shape = matmul_shape(context.operand(node).shape, weights.shape)
    columns = 1 if weights.ndim == 1 else weights.shape[-1]
    weights = weights.reshape(-1, columns)
    zero = per_channel(context.zero(node, 5, "weight zero point"), columns, "weight zero point")
    w_scale = per_channel(context.scale(node, 4, "weight scale"), columns, "weight scale")
    bias = np.zeros(columns, np.int32)
    y_scale, y_zero, dtype = context.quantization(node, 6, "output")
    target = Tensor(node.output[0], shape, dtype, y_scale, y_zero)
    made = Weights(*signed_weights(weights, zero), w_scale, bias)
    emit_matmul(context, node, context.operand(node), made, target)


def matmul_shape(x: Shape, weights: Shape) -> Shape:
    """Return the shape of ``x`` times constant weights, as NumPy has it.

    Raises
    ------
    Refusal
        Where depths differ, or there is more than one matrix of weights.
    """
    STACK.check(weights=weights)
    depth = weights[0] if len(weights) == 1 else weights[-2]
    _DEPTH.check(x=x, weights=weights, depth=depth)
    if len(weights) == 1:
        return x[:-1]
    return (*(1,) * (len(weights) - max(len(x), 2)), *x[:-1], weights[-1])


def qgemm(context: Context, node: onnx.NodeProto) -> None:
    """Inputs a, a_scale, a_zero, b, b_scale, b_zero, optional bias (int32), y_scale, y_zero."""
    given = attributes(node)
    _OUTPUT.check(scale=any(node.input[7:8]))
    weights = context.constant(node, 3, "weight")
    if given.get("transB", 0):
        weights = weights.T
    columns = weights.shape[1]
    y_scale, y_zero, dtype = context.quantization(node, 7, "output")
    zero = per_channel(context.zero(node, 5, "weight zero point"), columns, "weight zero point")
    w_scale = per_channel(context.scale(node, 4, "weight scale"), columns, "weight scale")
    bias = bias_vector(context, node, 6, columns)
    x = context.operand(node)
    _MATRIX.check(name=x.name, rank=len(x.shape))
    if given.get("transA", 0):
        x = transposed(context, node, x)
    target = Tensor(node.output[0], matmul_shape(x.shape, weights.shape), dtype, y_scale, y_zero)
    made = Weights(*signed_weights(weights, zero), w_scale, bias)
    # ONNX Runtime multiplies alpha first.
    alpha = np.float32(given.get("alpha", 1.0))
    if alpha != 1 and bias.any():
        context.note(
            node,
            f"QGemm multiplies its bias by alpha = {alpha}, too, which ONNX Runtime's quantizer "
            "does not reckon with: compare with the float model",
        )
    emit_matmul(
        context, node, x, made.negative if alpha < 0 else made, target, alpha=np.abs(alpha)
    )


def fully_connected(context: Context, node: onnx.NodeProto) -> None:
    """FULLY_CONNECTED: inputs x, whose rows follow each other, weights O x I, optional bias."""
    codes, scale, zero, axis = codes_of(context, node, 1, "weight")
    _MATRIX.check(name=node.input[1], rank=codes.ndim)
    _AXIS.check(scales=scale.size, axis=axis)
    columns, depth = codes.shape
    x = operand(context, node)
    if x.shape[-1:] != (depth,):
        _ROWS.check(x=x.shape, depth=depth)
        x = emit_reshape(context, x, (x.size // depth, depth))
    given = attributes(node)
    lead = x.shape[:-1] if given.get("keepNumDims", 0) else (x.size // depth,)
    y = target(context, node, (*lead, columns))
    made = Weights(
        *signed_weights(codes.T, per_channel(zero, columns, "weight zero point")),
        per_channel(scale, columns, "weight scale"), bias_vector(context, node, 2, columns),
    )
    away = context.dense == "away"
    emit_matmul(
        context, node, x, made, y, label=label(node), bounds=activation(node, y), away=away
    )
    if away:
        _check_rounding(context, node)


def _check_rounding(context: Context, node: onnx.NodeProto) -> None:
    """Leave a product the machine's own rounding where 31 bits of multiplier are not enough for
    LiteRT's, which multiplies by a binary64 number."""
    made = context.nodes[-1]
    assert isinstance(made, MatMulNode)
    low, high = made.low - made.y.zero_point, made.high - made.y.zero_point
    try:
        encode_product(RequantizeMode.TFLITE, made.scale64, low, high, made.furthest)
    except ValueError:
        context.nodes[-1] = replace(made, away=False, promise="near")
        context.note(node, "LiteRT's scale needs more than 31 bits; at most one code apart")


def emit_matmul(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    product: Weights,
    target: Tensor,
    *,
    alpha: np.float32 = np.float32(1),
    label: str = "",
    promise: Promise = "runtime",
    bounds: tuple[int, int] | None = None,
    away: bool = False,
) -> None:
    """Emit a product with weights K x N.

    Parameters
    ----------
    target : the result; its layout will be row-major.
    alpha : factor of the input's scale.
    label : operator for the report, that of ``node`` if not given.
    bounds : of the codes of the result, inclusive; those of its type if not given.
    away : as in `MatMulNode`.
    """
    depth = len(product.codes)
    if x.name in context.free or row_order(x, depth) is None:
        x = context.settle(x, ROW_MAJOR)
    order = row_order(x, depth)
    assert order is not None
    scale, scale64 = combined_scale(alpha * x.scale, product.scale, target.scale)
    info = np.iinfo(target.dtype)
    low, high = bounds or (int(info.min), int(info.max))
    context.emit(MatMulNode(
        name=node_name(node), op=label or node.op_type, x=x, y=target,
        weights=np.ascontiguousarray(product.codes), weight_zero=product.zero, bias=product.bias,
        scale=scale, scale64=scale64,
        order=order, low=low, high=high, promise=promise, away=away,
    ))


def transposed(context: Context, node: onnx.NodeProto, x: Tensor) -> Tensor:
    """Return a transposed view; a graph input is written to memory transposed by the host."""
    if x.name in context.free:
        x = context.settle(x, ROW_MAJOR.transposed((1, 0)))
    name = context.names.fresh(x.name, "transposed")
    y = replace(x, name=name, shape=x.shape[::-1], layout=x.layout.transposed((1, 0)))
    title = context.names.fresh(node_name(node), "transA")
    context.emit(ViewNode(title, "Transpose", x, y, (1, 0)))
    return y


def row_order(x: Tensor, depth: int) -> NDArray[np.int64] | None:
    """Return the order of the elements of every row of ``x`` in memory; None where rows do not lie
    one after the other, each in that order."""
    index = x.layout.index(x.shape).reshape(-1, depth)
    order = index[0] % depth
    rows = np.arange(len(index))[:, None] * depth
    return order.astype(np.int64) if np.array_equal(index, rows + order) else None


_SEEN = ("tests/compiler/test_legalize.py", "tests/accelerator/test_layers.py")
OPERATORS = (
    Operator(
        "MatMul",
        (
            Form("QOperator", ("QLinearMatMul",), "runtime", qlinear_matmul),
            Form("QDQ", ("MatMul",), "runtime"),
        ),
        "matmul.matmul",
        (_RIGHT, STACK, *PRODUCT_LIMITS),
        "constant weights: per tensor and per column, stacks of matrices per tensor; two "
        "activations: batched and broadcast, transposed second operand, heads as views; int8 or "
        "uint8",
        (*_SEEN, "tests/compiler/test_products.py", "tests/compiler/test_stacks.py",
         "tests/accelerator/test_attention.py"),
    ),
    Operator(
        "Gemm",
        (
            Form("QOperator", ("QGemm",), "runtime", qgemm),
            Form("QDQ", ("Gemm",), "runtime"),
            Form("TFLite", ("FULLY_CONNECTED",), "runtime", fully_connected, operands=2),
        ),
        "matmul.matmul",
        (_OUTPUT, *WEIGHT_LIMITS, _ROWS, _AXIS),
        "constant weights, per tensor and per column, alpha",
        _SEEN,
    ),
)
