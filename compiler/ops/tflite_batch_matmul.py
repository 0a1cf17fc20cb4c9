# SPDX-License-Identifier: Apache-2.0
"""BATCH_MATMUL of TFLite: of two activations, or of one and a constant stack of matrices."""

from typing import Any

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import MatMulStackNode, ProductNode, Shape, Tensor
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.product import placed
from kiwicha.compiler.ops.rows import emit_views
from kiwicha.compiler.ops.tflite import codes_of, operand, target
from kiwicha.compiler.ops.weights import signed_weights
from kiwicha.machine.fixed_scales import product_scale

__all__ = ["OPERATORS"]

_RIGHT = Limit("its first operand is a constant", lambda constant: not constant)
_DEPTH = Limit(
    "operands are {x} and {z}, no matrices that can be multiplied",
    lambda x, z: len(x) > 1 and len(z) > 1 and x[-1] == z[-2] and _lead(x, z) is not None,
)
_TYPES = Limit(
    "operands are {x} and {z}; LiteRT multiplies int8", lambda x, z: x == z == np.int8
)
_ONE = Limit("its second operand has {scales} scales; must be one", lambda scales: scales == 1)


def batch_matmul(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x and z, either transposed if the options say so."""
    given = attributes(node)
    _RIGHT.check(constant=node.input[0] in context.constants)
    x = _transposed(context, node, operand(context, node), bool(given.get("adjX", 0)))
    turned = bool(given.get("adjY", 0))
    info = np.iinfo(np.int8)
    common: dict[str, Any] = {
        "name": node_name(node), "op": node.op_type, "low": int(info.min), "high": int(info.max),
    }
    if node.input[1] in context.constants:
        codes, scale, zero, _ = codes_of(context, node, 1, "weight")
        codes = codes.swapaxes(-1, -2) if turned and codes.ndim > 1 else codes
        _TYPES.check(x=x.dtype, z=codes.dtype)
        _DEPTH.check(x=x.shape, z=codes.shape)
        _ONE.check(scales=scale.size)
        y = target(context, node, _shape(x.shape, codes.shape))
        weights, zeros = signed_weights(codes, zero[:1])
        scale64 = np.float64(product_scale(x.scale, scale[0], y.scale))
        context.emit(MatMulStackNode(
            x=placed(context, x, (-1,)), y=y, weights=np.ascontiguousarray(weights),
            weight_zero=int(zeros[0]), scale=np.float32(scale64), scale64=scale64, **common,
        ))
        return
    z = _transposed(context, node, operand(context, node, 1), turned)
    _TYPES.check(x=x.dtype, z=z.dtype)
    _DEPTH.check(x=x.shape, z=z.shape)
    y = target(context, node, _shape(x.shape, z.shape))
    scale64 = np.float64(product_scale(x.scale, z.scale, y.scale))
    x, z = placed(context, x, (-1,)), placed(context, z, (-1, -2))
    context.emit(ProductNode(
        x=x, z=z, y=y, scale=np.float32(scale64), scale64=scale64, **common,
    ))


def _transposed(context: Context, node: onnx.NodeProto, x: Tensor, turned: bool) -> Tensor:
    """Return a tensor, or the view of it with its last two axes exchanged."""
    if not turned or len(x.shape) < 2:
        return x
    rank = len(x.shape)
    return emit_views(
        context, node, x, [("transpose", (*range(rank - 2), rank - 1, rank - 2))]
    )


def _lead(x: Shape, z: Shape) -> Shape | None:
    """Return the leading axes of a product; None where they do not broadcast."""
    try:
        return np.broadcast_shapes(x[:-2], z[:-2])
    except ValueError:
        return None


def _shape(x: Shape, z: Shape) -> Shape:
    return (*(_lead(x, z) or ()), x[-2], z[-1])


OPERATORS = (
    Operator(
        "BATCH_MATMUL",
        (Form("TFLite", ("BATCH_MATMUL",), "runtime", batch_matmul, operands=2),),
        "product.product",
        (_RIGHT, _DEPTH, _TYPES, _ONE),
        "int8; leading axes broadcast, either operand transposed, the second constant or not",
        ("tests/compiler/test_tflite_batch_matmul.py",),
    ),
)
