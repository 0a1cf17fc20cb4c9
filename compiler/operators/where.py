# SPDX-License-Identifier: Apache-2.0
"""Where and com.microsoft.QLinearWhere with a constant condition and a scalar: a mask.

The code that replaces others is below or above all that are kept. Adding a constant far out of
range in its places and zero elsewhere, clamped to that code, gives the same. What is kept goes
through a table first where its codes change.
"""

from dataclasses import replace

import numpy as np
import onnx

from compiler.graph import AddNode, TableNode, Tensor
from compiler.operators.add import constant_operand
from compiler.operators.context import Context, FloatOp, FloatValue, Refusal, node_name
from compiler.operators.table import table_of

__all__ = ["emit_where", "float_where", "qlinear_where"]

_FAR = np.float32(512)
"""In units of the result's scale: carries every code out of the range of 8 bits."""


def qlinear_where(context: Context, node: onnx.NodeProto) -> None:
    """Inputs condition, a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero."""
    chosen = _chosen(context, node, (1, 4))
    scale, zero, dtype = context.quantization(node, 7, "output")
    x = context.operand(node, (1, 4)[chosen])
    emit_where(context, node, x, Tensor(node.output[0], x.shape, dtype, scale, zero))


def float_where(context: Context, node: onnx.NodeProto) -> None:
    """Inputs condition, a, b; nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[1 + _chosen(context, node, (1, 2))]]
    kinds = {operation.kind for operation in value.operations}
    if not isinstance(value.origin, Tensor) or kinds - {"clip", "map"}:
        raise Refusal("its input is the float result of more than a table; quantize it")
    done = FloatOp("where", node, value.shape)
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _chosen(context: Context, node: onnx.NodeProto, places: tuple[int, int]) -> int:
    """Return which of the operands at ``places`` is the activation; the other is a scalar."""
    names = [node.input[place] for place in places]
    constant = [name in context.constants for name in names]
    if sum(constant) != 1 or context.constants[names[constant.index(True)]].size != 1:
        raise Refusal("selects between two activations; the machine has masks of a scalar only")
    context.constant(node, 0, "condition")
    return constant.index(False)


def emit_where(context: Context, node: onnx.NodeProto, x: Tensor, target: Tensor) -> None:
    """Emit the mask of ``node``, with all that the model computes between ``x`` and ``target``.

    Raises
    ------
    Refusal
        Where the code that replaces others lies among them.
    """
    x = context.settled(context.tensors[context.roots.get(x.name, x).name])
    condition = context.constant(node, 0, "condition").astype(bool)
    if np.broadcast_shapes(x.shape, condition.shape) != x.shape:
        raise Refusal(f"its condition is {condition.shape}, its operand {x.shape}")
    first = node.input[1] not in context.constants
    tables = [
        table_of(context, x, target.name, {node.input[0]: np.array(truth)})
        for truth in (first, not first)
    ]
    kept = tables[0].view(target.dtype)
    fill = int(tables[1].view(target.dtype)[0])
    low, high = int(np.iinfo(target.dtype).min), int(np.iinfo(target.dtype).max)
    below = fill <= kept.min()
    if below:
        low = fill
    elif fill >= kept.max():
        high = fill
    else:
        raise Refusal(f"fills with {fill}, which lies among the codes that it keeps")
    far = target.scale * _FAR
    if not np.isfinite(far):
        raise Refusal(f"output scale is {target.scale}; too large to mask with")
    name = node_name(node)
    y = replace(target, shape=x.shape, layout=x.layout)
    if x.dtype != y.dtype or not np.array_equal(tables[0], np.arange(256)):
        codes = replace(y, name=context.names.fresh(y.name, "kept"))
        title = context.names.fresh(name, "kept")
        context.emit(TableNode(title, "Requantize", x, codes, tables[0]))
        x = codes
    x = replace(y, name=x.name)
    zero = int(below)
    values = np.where(condition == first, zero, 1 - zero).astype(y.dtype)
    constant = context.names.fresh(name, "constant")
    z, values = constant_operand(constant, y, values, far, zero)
    context.emit(AddNode(name, node.op_type, x, z, y, low, high, values))
