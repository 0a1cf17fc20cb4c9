# SPDX-License-Identifier: Apache-2.0
"""Two operands in float between DequantizeLinear and QuantizeLinear: two tensors, or one and a
constant of any shape.

What ONNX Runtime computes is a function of two codes, of a constant by which of its values it is.
The machine adds or multiplies functions of them in its own order of roundings; both are compared on
all pairs of codes, and the node promises what came out.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.frontend.onnx_node import Refusal, node_name
from kiwicha.compiler.graph.graph import Promise, TablesNode, Tensor
from kiwicha.compiler.ops.chain import emit_chain
from kiwicha.compiler.ops.clip import clip_codes, leading_clips
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, QUANTIZED
from kiwicha.compiler.ops.pair import placed
from kiwicha.compiler.ops.pair_functions import (
    EXTREMES,
    SCALED,
    Function,
    approximation,
    differences,
    quantized,
)
from kiwicha.compiler.ops.pair_operands import Operand, operand_of, plain_operand
from kiwicha.machine.pair_tables import sum_tables

__all__ = ["LIMITS", "PAIRS", "float_pair", "is_pair"]

_SCALED = Limit(
    "'{name}' is a constant or a function of codes; {op} needs a factor that is quantized",
    lambda name, op, plain: plain,
)
_APART = Limit(
    "its result would be {apart} codes from that in float for some codes",
    lambda apart: apart <= 1,
)
LIMITS = (_SCALED, _APART)
PAIRS = ("Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Sum", "Mean")
"""Operators that have a rule for two operands."""
_SUMS = ("Sum", "Mean")
_NEAR = 0.95
"""Codes that a sum may be off before it is rounded so that it is at most one apart."""
_BEFORE = ("map", "clip", "view")


def is_pair(context: Context, node: onnx.NodeProto) -> bool:
    """Whether a node has operands of which no table of single codes is a function."""
    names = [name for name in node.input if name]
    if len(names) < 2 or (len(names) > 2 and node.op_type not in (*EXTREMES, *_SUMS)):
        return False
    values = [context.floats[name] for name in names if name in context.floats]
    constants = [context.constants[name] for name in names if name in context.constants]
    if not values or len(values) + len(constants) < len(names):
        return False
    roots = {context.roots.get(v.origin.name, v.origin).name for v in values}
    shapes = {value.shape for value in values}
    return max(len(roots), len(shapes)) > 1 or any(constant.size > 1 for constant in constants)


def float_pair(context: Context, node: onnx.NodeProto) -> None:
    """Note the operation; nothing is emitted before the QuantizeLinear."""
    values = [context.floats[name] for name in node.input if name in context.floats]
    for value in values:
        QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
        last = next((op.node.op_type for op in value.operations if op.kind not in _BEFORE), "")
        FIRST.check(done=last)
    shapes = [value.shape for value in values]
    shapes += [context.constants[n].shape for n in node.input if n in context.constants]
    done = FloatOp("pair", node, np.broadcast_shapes(*shapes), finish=finish_pair)
    context.floats[node.output[0]] = FloatValue(values[0].origin, (done,))


def finish_pair(
    context: Context, end: onnx.NodeProto, _x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit the operation, the clips behind it as its bounds, and what moves the result."""
    node = operations[0].node
    clips, rest = leading_clips(operations[1:])
    last = next((op.node.op_type for op in rest if op.finish or op.kind == "map"), "")
    FIRST.check(done=node.op_type if last else "")
    name = context.names.fresh(target.name, "codes") if rest else target.name
    y = replace(target, name=name, shape=operations[0].shape)
    label = "+".join(op.node.op_type for op in (operations[0], *clips))
    try:
        y = _emit(context, node, label, clips, y)
    except Refusal as refusal:  # of this node, not of the QuantizeLinear
        raise Refusal(str(refusal), refusal.node or node) from None
    if rest:
        emit_chain(context, end, y, rest, target)


def _emit(
    context: Context, node: onnx.NodeProto, label: str, clips: Sequence[FloatOp], y: Tensor
) -> Tensor:
    """Emit one or two nodes that make ``y`` of the operands, and return it as it lies."""
    operands = [operand_of(context, node, name, y) for name in node.input]
    title = node_name(node)
    if node.op_type in _SUMS and len(operands) > 2:
        _emit_sums(context, node, label, operands, clip_codes(clips, y), y)
        return context.tensors[y.name]
    while len(operands) > 2:  # of codes of y, whose extremes are those of the values
        shape = np.broadcast_shapes(*(operand.tensor.shape for operand in operands[:2]))
        part = replace(y, name=context.names.fresh(y.name, "part"), shape=shape)
        name = context.names.fresh(title, "part")
        part = _emit_two(context, node, label, name, operands[:2], clip_codes((), y), part)
        operands[:2] = [plain_operand(part, all(operand.exact for operand in operands[:2]))]
    return _emit_two(context, node, label, title, operands, clip_codes(clips, y), y)


def _emit_sums(
    context: Context, node: onnx.NodeProto, label: str, operands: list[Operand],
    bounds: tuple[int, int], y: Tensor,
) -> None:
    """Emit the sum of more than two operands, or their mean: one after the other, in 8 bits that
    have all that the sum of the first may be."""
    title, first, off = node_name(node), len(context.nodes), 0.0
    # A number for several values of a constant is off by more than the roundings of float32.
    whole = all(each.exact and each.values.size <= 256 for each in operands)
    if node.op_type == "Mean":
        count = np.float32(len(operands))
        operands = [replace(each, values=each.values / count) for each in operands]
    plain = onnx.helper.make_node("Sum", node.input, node.output, name=title)
    while len(operands) > 2:
        ends = [(float(each.values.min()), float(each.values.max())) for each in operands[:2]]
        low, high = (min(0.0, ends[0][0] + ends[1][0]), max(0.0, ends[0][1] + ends[1][1]))
        scale = np.float32((high - low) / 255)
        check_scale(np.atleast_1d(scale), "scale of the sum of the first two")
        shape = np.broadcast_shapes(*(operand.tensor.shape for operand in operands[:2]))
        part = Tensor(
            context.names.fresh(y.name, "part"), shape, np.dtype(np.uint8), scale,
            min(int(np.rint(-low / float(scale))), 255),
        )
        name = context.names.fresh(title, "part")
        part = _emit_two(context, plain, label, name, operands[:2], (0, 255), part)
        operands[:2] = [plain_operand(part, all(operand.exact for operand in operands[:2]))]
        off += 0.5 * float(scale) / float(y.scale)
    _emit_two(context, plain, label, title, operands, bounds, y)
    promise: Promise = "near" if whole and off < _NEAR else "golden"
    for place, each in enumerate(context.nodes[first:], first):
        if isinstance(each, TablesNode):
            context.nodes[place] = replace(each, promise=promise)
    context.note(
        node, f"lowered by kiwicha: {node.op_type} of several, which ONNX Runtime computes in "
        f"float; before it is rounded at most {off:.2g} codes apart",
    )


def _emit_two(
    context: Context,
    node: onnx.NodeProto,
    label: str,
    name: str,
    operands: Sequence[Operand],
    bounds: tuple[int, int],
    y: Tensor,
) -> Tensor:
    real = Function(node.op_type, operands[0].values, operands[1].values, bounds, y)
    places = SCALED.get(node.op_type, (0, 1))
    a = places[0]
    if node.op_type in SCALED:
        plain = [place for place in places if operands[place].steps is not None]
        _SCALED.check(name=node.input[a], op=node.op_type, plain=plain)
        a = plain[0]
    first, second = operands[a], operands[1 - a]
    # The one that is walked through: no constant, and rather the larger.
    larger = second.codes is None and second.tensor.size > first.tensor.size
    swap = first.codes is not None or larger
    main, other = (second, first) if swap else (first, second)
    x, z, y = placed(context, main.tensor, other.tensor, y, other.codes)
    emit = partial(
        TablesNode, op=label, z=z, y=y, low=bounds[0], high=bounds[1], zero_last=True,
        constant=None if other.codes is None else other.codes.reshape(z.shape),
    )
    exact = first.exact and second.exact
    if node.op_type in EXTREMES:
        promise: Promise = "runtime" if exact else "golden"
        emit = partial(emit, name=name, promise=promise)
        _emit_extreme(context, node, (main, x), other, emit)
        return y
    operation, tables = approximation(
        replace(real, first=operands[0].by_number, second=operands[1].by_number), a,
        first.steps if node.op_type in SCALED else None, float(first.tensor.scale),
    )
    apart = differences(real, a, (first.numbers, second.numbers), operation, tables)
    _APART.check(apart=apart)
    promise = "golden" if not exact else "near" if apart else "runtime"
    context.emit(
        emit(name=name, x=x, z_first=swap, operation=operation, tables=tables, promise=promise)
    )
    if promise != "runtime":
        context.note(
            node,
            f"lowered by kiwicha: {node.op_type}, which ONNX Runtime computes in float; at most "
            f"one code apart",
        )
    return y


def _emit_extreme(
    context: Context,
    node: onnx.NodeProto,
    main: tuple[Operand, Tensor],
    other: Operand,
    emit: "partial[TablesNode]",
) -> None:
    """Emit the greater or the lesser of two codes, which is that of the two values: by how much
    one exceeds the other, and the sum or difference of that and the other."""
    sign = 1 if node.op_type == "Max" else -1
    y = emit.keywords["y"]
    x, z = (quantized(operand.by_number, y).astype(np.float64) for operand in (main[0], other))
    name = context.names.fresh(y.name, "excess")
    excess = replace(y, name=name, dtype=np.dtype(np.uint8), zero_point=0)
    context.emit(emit(
        name=context.names.fresh(emit.keywords["name"], "excess"), x=main[1], y=excess, low=0,
        high=255, tables=sum_tables(sign * x, -sign * z),
    ))
    codes = np.arange(256, dtype=np.float64)
    context.emit(emit(x=excess, tables=sum_tables(sign * codes, z - y.zero_point)))
