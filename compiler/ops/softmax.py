# SPDX-License-Identifier: Apache-2.0
"""com.microsoft.QLinearSoftmax over any axis."""

import onnx

from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import SoftmaxNode, Tensor
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.rows import as_rows, from_rows, rows_target
from kiwicha.compiler.ops.unsupported import in_float

__all__ = ["OPERATORS"]


def qlinear_softmax(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, x_scale, x_zero, y_scale, y_zero."""
    given = attributes(node)
    y_scale, y_zero, dtype = context.quantization(node, 3, "output")
    x = context.operand(node)
    axis = given.get("axis", -1) % len(x.shape)
    # Before opset 13 all axes from ``axis`` on are one row.
    axes = [axis] if given["opset"] >= 13 else range(axis, len(x.shape))
    rows = as_rows(context, node, x, axes)
    target = Tensor(node.output[0], x.shape, dtype, y_scale, y_zero)
    y = rows_target(context, rows, target)
    context.emit(SoftmaxNode(node_name(node), node.op_type, rows, y))
    from_rows(context, node, y, axes, target)


OPERATORS = (
    Operator(
        "Softmax",
        (
            Form("QOperator", ("QLinearSoftmax",), "runtime", qlinear_softmax),
            Form("QDQ", ("Softmax",), "runtime"),
        ),
        "softmax.softmax",
        (),
        'any axis, rows of 2 to 60 593 elements, int8 and uint8, any scale; '
        '`special.softmax = "onnx"`',
        ("tests/golden/test_softmax.py", "tests/special/test_softmax.py",
         "tests/compiler/test_softmax.py"),
        otherwise=in_float,
    ),
)
