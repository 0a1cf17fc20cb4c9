# SPDX-License-Identifier: Apache-2.0
"""com.microsoft.QLinearSoftmax over the last axis."""

import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import SoftmaxNode, Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.unsupported import in_float

__all__ = ["OPERATORS", "ROWS", "contiguous_rows"]

ROWS = Limit(
    "axis {axis} of {rank} dimensions; the machine's rows are the last axis",
    lambda axis, rank: rank and axis in (-1, rank - 1),
)


def qlinear_softmax(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, x_scale, x_zero, y_scale, y_zero."""
    given = attributes(node)
    y_scale, y_zero, dtype = context.quantization(node, 3, "output")
    x = context.operand(node)
    rank = len(x.shape)
    axis = given.get("axis", -1)
    # Before opset 13 all axes from ``axis`` on are one row: the same where it is the last.
    ROWS.check(axis=axis, rank=rank)
    x = contiguous_rows(context, x)
    y = Tensor(node.output[0], x.shape, dtype, y_scale, y_zero, x.layout)
    context.emit(SoftmaxNode(node_name(node), node.op_type, x, y))


def contiguous_rows(context: Context, x: Tensor) -> Tensor:
    """Return ``x`` or a copy of it, whose last axis is contiguous in memory."""
    if x.name in context.free:
        return context.settle(x, ROW_MAJOR)
    x = context.settled(x)
    steps = x.strides
    fits = steps is not None and 1 in (steps[-1], x.shape[-1])
    return x if fits else context.settle(x, ROW_MAJOR)


OPERATORS = (
    Operator(
        "Softmax",
        (
            Form("QOperator", ("QLinearSoftmax",), "runtime", qlinear_softmax),
            Form("QDQ", ("Softmax",), "runtime"),
        ),
        "softmax.softmax",
        (ROWS,),
        'rows of 2 to 60 593 elements, int8 and uint8, any scale; `special.softmax = "onnx"`',
        ("tests/golden/test_softmax.py", "tests/special/test_softmax.py"),
        otherwise=in_float,
    ),
)
