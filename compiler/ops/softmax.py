# SPDX-License-Identifier: Apache-2.0
"""com.microsoft.QLinearSoftmax over the last axis."""


import onnx

from kiwicha.compiler.frontend.onnx_node import Refusal, attributes, node_name
from kiwicha.compiler.graph.graph import SoftmaxNode, Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.ops.context import Context

__all__ = ["contiguous_rows", "qlinear_softmax"]


def qlinear_softmax(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, x_scale, x_zero, y_scale, y_zero."""
    given = attributes(node)
    y_scale, y_zero, dtype = context.quantization(node, 3, "output")
    x = context.operand(node)
    rank = len(x.shape)
    axis = given.get("axis", -1)
    # Before opset 13 all axes from ``axis`` on are one row: the same where it is the last.
    if rank == 0 or axis not in (-1, rank - 1):
        raise Refusal(f"axis {axis} of {rank} dimensions; the machine's rows are the last axis")
    x = contiguous_rows(context, x)
    y = Tensor(node.output[0], x.shape, dtype, y_scale, y_zero, x.layout)
    context.emit(SoftmaxNode(node_name(node), node.op_type, x, y))


def contiguous_rows(context: Context, x: Tensor) -> Tensor:
    """Return ``x`` with its layout, whose last axis is contiguous in memory.

    Raises
    ------
    Refusal
        Where it is not.
    """
    x = context.settle(x, ROW_MAJOR) if x.name in context.free else context.settled(x)
    steps = x.strides
    if steps is None or not (steps[-1] == 1 or x.shape[-1] == 1):
        raise Refusal(f"reads '{x.name}' in an order that needs a transposition in memory")
    return x
