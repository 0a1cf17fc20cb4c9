# SPDX-License-Identifier: Apache-2.0
"""Functions of each byte by itself, of whatever operators, as tables of 256 entries.

The entries are what ONNX Runtime computes for the 256 codes with exactly the operators that the
model has there: Gelu of Div, Erf, Add and Mul, Sigmoid, Tanh, a product with a scalar. Intermediate
results that the model quantizes go into the table too, so that x * sigmoid(x) is one table. Where a
code gives different results at different places (`compiler.ops.function`), the table has that
of most places, and the node promises no more than the golden model's bits.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.frontend.subgraph import ancestors
from kiwicha.compiler.graph.graph import TableNode, Tensor
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.float_pair import LIMITS as PAIR_LIMITS
from kiwicha.compiler.ops.float_pair import PAIRS, float_pair, is_pair
from kiwicha.compiler.ops.function import code_function
from kiwicha.compiler.ops.limits import FIRST, QUANTIZED
from kiwicha.compiler.ops.linear import add_bias, takes_bias
from kiwicha.compiler.ops.operator import Form, Operator, some_is_float
from kiwicha.compiler.ops.pair import pair
from kiwicha.compiler.ops.view import VIEWS, emit_view

__all__ = ["OPERATORS", "elementwise", "emit_table"]

_ELEMENTWISE = (
    "Abs", "Acos", "Acosh", "Add", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu",
    "Cos", "Cosh", "Div", "Elu", "Erf", "Exp", "FastGelu", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "PRelu",
    "Pow", "QuickGelu", "Reciprocal", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin",
    "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu",
)
"""Float operators whose results depend on one place of their operands only."""

_QLINEAR = {
    "QLinearAdd": (0, 3), "QLinearMul": (0, 3), "QLinearSigmoid": (0,), "QLinearLeakyRelu": (0,),
}
"""Integer operators that are elementwise, and the places of their operands."""

_EDGES = ("QuantizeLinear", "DequantizeLinear")

_MIXED = Limit(
    "input '{name}' is quantized, another is float", lambda name, quantized: not quantized
)
_ONE_TABLE = Limit(
    "constant '{name}' has shape {shape}: a function for each channel or place, and the machine "
    "has one table for the whole tensor; use one value",
    lambda name, shape: prod(shape) == 1,
)
_RANK = Limit(
    "a constant makes {rank} dimensions of {given}", lambda rank, given: rank <= given
)
_MOVES = Limit(
    "its operands are reshaped or transposed in different ways",
    lambda moves: all(other == moves[0] for other in moves),
)
_ONE_TENSOR = Limit(
    "combines {names}; only one activation may vary", lambda names, tensors: tensors == 1
)


def elementwise(context: Context, node: onnx.NodeProto) -> None:
    """A float operator on one float value, on several of one tensor, or on such and scalars."""
    values = []
    for name in filter(None, node.input):
        if name in context.floats:
            values.append(context.floats[name])
        elif name not in context.constants:
            context.tensor(name)  # unknown, or the refusal of a quantized operand
            _MIXED.check(name=name, quantized=True)
        else:
            _ONE_TABLE.check(name=name, shape=list(context.constants[name].shape))
    value = _merged(context, values)
    rank = max([len(value.shape), *(
        context.constants[name].ndim for name in node.input if name in context.constants
    )])
    _RANK.check(rank=rank, given=len(value.shape))
    done = FloatOp("map", node, value.shape)
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _merged(context: Context, values: Sequence[FloatValue]) -> FloatValue:
    """Return the one value whose function all ``values`` are, moved there in the same way."""
    first = values[0]
    QUANTIZED.check(quantized=all(isinstance(value.origin, Tensor) for value in values))
    apart = ["pool", "part", "pad", "pair", "normalize", "affine", "extreme", "sum"]
    apart += ["where"] if len(values) > 1 else []
    for operation in (op for value in values for op in value.operations):
        FIRST.check(done=operation.node.op_type if operation.kind in apart else "")
    _MOVES.check(
        moves=[[op.view for op in value.operations if op.kind == "view"] for value in values]
    )
    origins = [value.origin for value in values if isinstance(value.origin, Tensor)]
    if len({origin.name for origin in origins}) == 1:
        return first
    roots = [context.roots.get(origin.name, origin) for origin in origins]
    names = " and ".join(f"'{origin.name}'" for origin in origins)
    _ONE_TENSOR.check(names=names, tensors=len({root.name for root in roots}))
    return FloatValue(roots[0], first.operations)


def qlinear_elementwise(context: Context, node: onnx.NodeProto) -> None:
    """One of `_QLINEAR`: a table where all operands are functions of one tensor, else a sum or a
    product of two.

    Each operand is followed by its scale and zero point, the last by those of the result.
    """
    operands = _QLINEAR[node.op_type]
    inputs = [context.operand(node, i) for i in operands if node.input[i] not in context.constants]
    constants = [context.constants[n] for n in (node.input[i] for i in operands)
                 if n in context.constants]
    roots = {context.roots.get(x.name, x).name for x in inputs}
    ranks = [len(x.shape) for x in inputs]
    scalars = all(c.size == 1 and c.ndim <= min(ranks, default=0) for c in constants)
    if len(roots) == 1 and scalars and len({x.shape for x in inputs}) == 1:
        scale, zero, dtype = context.quantization(node, operands[-1] + 3, "output")
        target = Tensor(node.output[0], inputs[0].shape, dtype, scale, zero)
        emit_table(context, node, inputs[0], (), target)
    else:
        pair(context, node)


def emit_table(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    operations: Sequence[FloatOp],
    target: Tensor,
) -> None:
    """Emit what the model computes between ``x`` and ``target``, and the views on the way.

    Parameters
    ----------
    node : the one that writes ``target``.
    operations : the float chain between them; empty where there is none.
    """
    root = context.roots.get(x.name, x)
    x = context.settled(context.tensors[root.name])
    function = code_function(context, x, target.name)
    table = function.values[0].view(np.uint8)
    nodes = ancestors(context.model.graph, {x.name}, target.name)
    done = [n for n in nodes if n.op_type not in (*_EDGES, *VIEWS)] or [node]
    moves = [op for op in operations if op.kind == "view"]
    name = context.names.fresh(target.name, "codes") if moves else target.name
    y = replace(target, name=name, shape=x.shape, layout=x.layout)
    if x.dtype == y.dtype and np.array_equal(table, np.arange(256)) and function.exact:
        y = emit_view(context, done[-1], x, ("reshape", x.shape), y)
    else:
        label = "+".join(n.op_type for n in done)
        promise = function.promise(context, done[-1])
        context.emit(TableNode(node_name(done[-1]), label, x, y, table, promise))
    context.roots[name] = x
    for place, move in enumerate(moves):
        name = target.name
        if place < len(moves) - 1:
            name = context.names.fresh(target.name, node_name(move.node))
        y = emit_view(
            context, move.node, y, move.view, replace(y, name=name, shape=move.shape)
        )


OPERATORS = (
    Operator(
        "Functions of single elements",
        (
            Form("float", ("Add",), "near", add_bias, takes_bias),
            Form("float", PAIRS, "near", float_pair, is_pair),
            Form("QDQ", _ELEMENTWISE, "runtime", elementwise, some_is_float),
            Form("QOperator", tuple(_QLINEAR), "runtime", qlinear_elementwise),
            Form("QDQ", ("Swish",), "runtime"),
        ),
        "",
        (_ONE_TABLE, _RANK, QUANTIZED, FIRST, _MOVES, _ONE_TENSOR, *PAIR_LIMITS),
        "functions of one tensor, Mul by a scalar, and compositions: every code at every place, "
        "ONNX Runtime makes the table on a tensor of the real shape (golden-exact, noted, where a "
        "code gives several results in one tensor); behind the last DequantizeLinear by the host, "
        "runtime-exact. QLinearAdd and QLinearMul of two tensors or one and a constant, any shapes "
        "that broadcast: all 65 536 pairs of codes for each triple of scales, random, decimal, "
        "powers of two, far apart, over all of binary32. Of two operands in float (Div by a "
        "constant), Max and Min are runtime-exact; of the others all pairs of codes are compared "
        "with float when the model is compiled",
        ("tests/compiler/test_special.py", "tests/compiler/test_functions.py",
         "tests/golden/test_add.py", "tests/golden/test_mul.py", "tests/compiler/test_pairs.py",
         "tests/compiler/test_float_pairs.py",
         "tests/special/test_add_round.py", "tests/special/test_multiply_round.py"),
        elementwise=True,
    ),
)
