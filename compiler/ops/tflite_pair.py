# SPDX-License-Identifier: Apache-2.0
"""ADD, SUB and MUL of TFLite: of two tensors that broadcast, or of one and a constant."""

from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Refusal, node_name
from kiwicha.compiler.graph.graph import FixedPairNode, Tensor
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.pair import placed
from kiwicha.compiler.ops.tflite import activation, input_tensor, label, operand, target
from kiwicha.machine.fixed_pairs import product_tables, sum_tables

__all__ = ["OPERATORS"]

_FUNCTIONS = {"ADD": "add", "SUB": "subtract", "MUL": "multiply"}
_SIGNS = {"ADD": 1, "SUB": -1}
_VARIES = Limit("both operands are constants", lambda both: not both)
_SHAPES = Limit(
    "operands of {a} and {b} do not broadcast",
    lambda a, b: all(
        1 in pair or pair[0] == pair[1] for pair in zip(a[::-1], b[::-1], strict=False)
    ),
)
_TYPES = Limit(
    "operands are {a} and {b}, the result {y}; must be of one type",
    lambda a, b, y: a == b == y,
)


def tflite_pair(context: Context, node: onnx.NodeProto) -> None:
    """Inputs a and b."""
    first, second = (name in context.constants for name in node.input[:2])
    _VARIES.check(both=first and second)
    a, b = (
        input_tensor(context, name) if name in context.constants else operand(context, node, place)
        for place, name in enumerate(node.input[:2])
    )
    _SHAPES.check(a=a.shape, b=b.shape)
    y = target(context, node, np.broadcast_shapes(a.shape, b.shape))
    _TYPES.check(a=a.dtype, b=b.dtype, y=y.dtype)
    _check_scales(node.op_type, a, b, y)
    # The operand that is read along the result is x; where b is, it is the second one still.
    larger = (prod(b.shape), len(b.shape)) > (prod(a.shape), len(a.shape))
    swapped = first or (not second and larger)
    x, z = (b, a) if swapped else (a, b)
    constant: NDArray[np.integer] | None = None
    if first or second:
        constant = context.constants[z.name]
        z = Tensor(
            context.names.fresh(node_name(node), "constant"), z.shape, z.dtype, z.scale,
            z.zero_point,
        )
    x, z, y = placed(context, x, z, y, constant)
    if constant is not None:
        constant = constant.reshape(z.shape)
    low, high = activation(node, y)
    context.emit(FixedPairNode(
        node_name(node), label(node), x, z, y, low, high, constant, z_first=swapped,
        function=_FUNCTIONS[node.op_type],
    ))


def _check_scales(operator: str, a: Tensor, b: Tensor, y: Tensor) -> None:
    """Refuse scales that LiteRT's fixed point does not take either."""
    first, second = ((float(each.scale), each.zero_point, each.dtype) for each in (a, b))
    try:
        if operator == "MUL":
            product_tables(first, second, float(y.scale))
        else:
            sum_tables(first, second, float(y.scale), _SIGNS[operator])
    except ValueError as error:
        raise Refusal(str(error)) from None


OPERATORS = (
    Operator(
        "ADD, SUB, MUL",
        (Form("TFLite", tuple(_FUNCTIONS), "runtime", tflite_pair, operands=2),),
        "fixed_pair.add",
        (_VARIES, _TYPES, _SHAPES),
        "int8 and uint8, broadcast, constants, fused activations, every triple of scales that "
        "LiteRT takes",
        ("tests/golden/test_fixed_pair.py", "tests/compiler/test_fixed_pairs.py",
         "tests/compiler/test_tflite.py"),
    ),
)
