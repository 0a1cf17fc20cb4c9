# SPDX-License-Identifier: Apache-2.0
"""com.microsoft.QLinearSoftmax over any axis."""

from dataclasses import replace
from math import prod

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import SoftmaxNode, Tensor
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.rows import as_rows, from_rows, rows_target
from kiwicha.compiler.ops.table import emit_table
from kiwicha.compiler.ops.tflite import operand, target
from kiwicha.compiler.ops.unsupported import in_float
from kiwicha.machine.tables import TFLITE_ROW

__all__ = ["OPERATORS"]

_BETA = Limit(
    "beta {beta} times the input scale is no binary32 number",
    lambda beta, scale, exact: np.float64(scale) == exact,
)
_RESULT = Limit(
    "its result has scale {y.scale}, zero point {y.zero_point}; must be 1/256 and the lowest code",
    lambda y, low: (y.scale, y.zero_point) == (np.float32(1 / 256), low),
)


def qlinear_softmax(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, x_scale, x_zero, y_scale, y_zero."""
    given = attributes(node)
    y_scale, y_zero, dtype = context.quantization(node, 3, "output")
    x = context.operand(node)
    axis = given.get("axis", -1) % len(x.shape)
    # Before opset 13 all axes from ``axis`` on are one row.
    axes = [axis] if given["opset"] >= 13 else range(axis, len(x.shape))
    target = Tensor(node.output[0], x.shape, dtype, y_scale, y_zero)
    if prod(x.shape[axis] for axis in axes) == 1:
        _one(context, node, x, target)
        return
    rows = as_rows(context, node, x, axes)
    y = rows_target(context, rows, axes, target)
    context.emit(SoftmaxNode(node_name(node), node.op_type, rows, y))
    from_rows(context, node, y, axes, target)


def _one(context: Context, node: onnx.NodeProto, x: Tensor, target: Tensor) -> None:
    """Rows of one element, whose exponential overflows in ONNX Runtime: a table of what it gives,
    the same for all codes."""
    emit_table(context, node, x, (), target)
    context.note(
        node,
        "softmax of one element: its exponential overflows in ONNX Runtime where the output scale "
        "is below 1/148; uint8 results are 0 then, not 1, int8 results are right",
    )


def tflite_softmax(context: Context, node: onnx.NodeProto) -> None:
    """SOFTMAX: input x, over the last axis; beta is a factor of its scale."""
    x = operand(context, node)
    y = target(context, node, x.shape)
    beta = attributes(node).get("beta", 1.0)
    scale = np.float32(x.scale * np.float32(beta))
    _BETA.check(beta=beta, scale=scale, exact=np.float64(x.scale) * np.float64(beta))
    _RESULT.check(y=y, low=int(np.iinfo(y.dtype).min))
    context.emit(SoftmaxNode(node_name(node), node.op_type, replace(x, scale=scale), y))
    if x.shape[-1] >= TFLITE_ROW:
        context.note(
            node,
            f"rows of {x.shape[-1]:,} codes: where a row's exponentials add up to {TFLITE_ROW} "
            "or more, as those of equal codes do, LiteRT's reference kernel ends the process; here "
            "the row's results are the lowest code",
        )


OPERATORS = (
    Operator(
        "Softmax",
        (
            Form("QOperator", ("QLinearSoftmax",), "runtime", qlinear_softmax),
            Form("QDQ", ("Softmax",), "runtime"),
            Form("TFLite", ("SOFTMAX",), "runtime", tflite_softmax),
        ),
        "softmax.softmax",
        (_BETA, _RESULT),
        'any axis, rows of up to 60 593 elements, int8 and uint8, any scale; '
        '`special.softmax = "onnx"`',
        ("tests/golden/test_softmax.py", "tests/special/test_softmax.py",
         "tests/compiler/test_softmax.py"),
        otherwise=in_float,
    ),
)
