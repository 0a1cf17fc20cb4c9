# SPDX-License-Identifier: Apache-2.0
"""Where and com.microsoft.QLinearWhere with a constant condition and a scalar: a mask. Of two
tensors (`compiler.ops.select`) elements are copied.

The code that replaces others is below or above all that are kept. Adding a constant far out of
range in its places and zero elsewhere, clamped to that code, gives the same. What is kept goes
through a table first where its codes change.
"""

from dataclasses import replace

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import AddNode, TableNode, Tensor
from kiwicha.compiler.ops.chain import note_chain
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.function import code_function
from kiwicha.compiler.ops.limits import LAST
from kiwicha.compiler.ops.operator import Form, Operator, some_is_float
from kiwicha.compiler.ops.pair import constant_operand
from kiwicha.compiler.ops.select import float_select, select_where

__all__ = ["OPERATORS"]

_CODES = Limit(
    "its input is the float result of more than a table; quantize it",
    lambda origin, kinds: isinstance(origin, Tensor) and kinds <= {"clip", "map"},
)
_FAR = np.float32(512)
"""In codes: carries every one out of the range of 8 bits."""


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
    _CODES.check(origin=value.origin, kinds=kinds)
    done = FloatOp("where", node, value.shape, finish=finish_where)
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _chosen(context: Context, node: onnx.NodeProto, places: tuple[int, int]) -> int:
    """Return which of the operands at ``places`` is the activation; the other is a scalar."""
    context.constant(node, 0, "condition")
    return [node.input[place] in context.constants for place in places].index(False)


def finish_where(
    context: Context, end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit the mask, and the functions around it, that QuantizeLinear turns into codes."""
    kinds = [op.kind for op in operations]
    node = operations[kinds.index("where")].node
    others = [kind for kind in kinds if kind not in ("map", "clip", "where")]
    LAST.check(done=node.op_type, rest=others or kinds.count("where") > 1)
    emit_where(context, node, x, target)
    note_chain(context, end, operations, "done on the quantized codes")


def emit_where(context: Context, node: onnx.NodeProto, x: Tensor, target: Tensor) -> None:
    """Emit the mask of ``node``, with all that the model computes between ``x`` and ``target``."""
    x = context.settled(context.tensors[context.roots.get(x.name, x).name])
    condition = context.constant(node, 0, "condition").astype(bool)
    first = node.input[1] not in context.constants
    function, filling = (
        code_function(context, x, target.name, {node.input[0]: np.array(truth)})
        for truth in (first, not first)
    )
    promise = function.promise(context, node)
    kept, fill = function.values[0], filling.values[0, 0]
    info = np.iinfo(target.dtype)
    low, high, order = int(info.min), int(info.max), None
    below = bool(fill <= kept.min())
    if below:
        low = int(fill)
    elif fill >= kept.max():
        high = int(fill)
    else:
        below, order = True, np.append(fill, np.setdiff1d(kept, fill))
        kept = (low + np.argmax(kept[:, None] == order, axis=1)).astype(target.dtype)
    name = node_name(node)
    # What is added is codes, whatever they stand for.
    y = replace(target, shape=x.shape, layout=x.layout)
    ranks = y.name if order is None else context.names.fresh(y.name, "ranks")
    masked = replace(y, scale=np.float32(1), name=ranks)
    if x.dtype != y.dtype or not np.array_equal(kept.view(np.uint8), np.arange(256)):
        codes = replace(masked, name=context.names.fresh(y.name, "kept"))
        label, title = "Requantize" if order is None else "Rank", context.names.fresh(name, "kept")
        context.emit(TableNode(title, label, x, codes, kept.view(np.uint8), promise))
        x = codes
    zero = int(below)
    values = np.where(condition == first, zero, 1 - zero).astype(y.dtype)
    constant = context.names.fresh(name, "constant")
    z, values = constant_operand(constant, masked, values, _FAR, zero)
    x = replace(masked, name=x.name)
    context.emit(AddNode(name, node.op_type, x, z, masked, low, high, values))
    if order is not None:
        table = np.zeros(256, np.uint8)
        table[np.arange(low, low + len(order)) % 256] = order.view(np.uint8)
        title = context.names.fresh(name, "filled")
        context.emit(TableNode(title, "Unrank", masked, y, table))


def _is_mask(context: Context, node: onnx.NodeProto, places: tuple[int, int]) -> bool:
    """Whether one operand is a constant scalar, and the result as large as the other."""
    names = [node.input[place] for place in places]
    constant = [name for name in names if name in context.constants]
    if len(constant) != 1 or context.constants[constant[0]].size != 1:
        return False
    name = names[names[0] == constant[0]]
    x = context.floats.get(name, context.tensors.get(name))
    condition = context.constants.get(node.input[0])
    return x is None or condition is None or (
        np.broadcast_shapes(x.shape, condition.shape) == x.shape)


def _is_qlinear_mask(context: Context, node: onnx.NodeProto) -> bool:
    return _is_mask(context, node, (1, 4))


def _is_float_mask(context: Context, node: onnx.NodeProto) -> bool:
    return some_is_float(context, node) and _is_mask(context, node, (1, 2))


OPERATORS = (
    Operator(
        "Where",
        (
            Form("QOperator", ("QLinearWhere",), "runtime", qlinear_where, _is_qlinear_mask),
            Form("QOperator", ("QLinearWhere",), "runtime", select_where),
            Form("QDQ", ("Where",), "runtime", float_where, _is_float_mask),
            Form("QDQ", ("Where",), "runtime", float_select, some_is_float),
        ),
        "add.add",
        (_CODES, LAST),
        "constant conditions; a scalar below, above or among the kept codes, or two tensors of any "
        "shapes and scales",
        ("tests/compiler/test_special.py", "tests/compiler/test_functions.py",
         "tests/compiler/test_select.py"),
    ),
)
