# SPDX-License-Identifier: Apache-2.0
"""Flatten, Reshape, Squeeze, Unsqueeze, Transpose, Identity: the same bytes, read another way."""

from dataclasses import replace
from math import prod
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import Shape, Tensor, ViewNode
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue, Quantized
from kiwicha.compiler.ops.operator import Form, Operator, first_is_constant, first_is_float
from kiwicha.compiler.ops.tflite import operand, target

__all__ = ["OPERATORS", "VIEWS", "View", "emit_reshape", "emit_view", "moved", "view_of"]

_PERMUTATION = Limit(
    "perm {axes} for {rank} dimensions", lambda axes, rank: sorted(axes) == list(range(rank))
)
_PASSES = Limit(
    "scale and zero point are {x} before and {y} after; must be the same", lambda x, y: x == y
)
_TRAINING = Limit(
    "drops elements at random (training_mode); export the model for inference",
    lambda training: not training,
)
_SHAPE = Limit(
    "{shape} does not reshape to {result}", lambda shape, result: prod(shape) == prod(result)
)
_ZERO = Limit(
    "{shape} has no dimension for each 0 of {result}",
    lambda shape, result: not any(d == 0 for d in result[len(shape):]),
)
_AXES = Limit("axes are missing", lambda axes: axes is not None)

VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout")
View = tuple[Literal["reshape", "transpose"], Shape]


def view_of(context: Context, node: onnx.NodeProto, shape: Shape) -> tuple[View, Shape]:
    """Return what ``node`` does to a tensor of ``shape``, and the shape that results."""
    given = attributes(node)
    rank = len(shape)
    if node.op_type == "Transpose":
        axes = tuple(given.get("perm") or range(rank)[::-1])
        _PERMUTATION.check(axes=axes, rank=rank)
        return ("transpose", axes), tuple(shape[axis] for axis in axes)
    if node.op_type == "Flatten":
        axis = given.get("axis", 1)
        axis += rank if axis < 0 else 0
        result: Shape = (prod(shape[:axis]), prod(shape[axis:]))
    elif node.op_type == "Reshape":
        result = _reshaped(context, node, shape, bool(given.get("allowzero", 0)))
    elif node.op_type in ("Squeeze", "Unsqueeze"):
        result = _axes(context, node, shape)
    else:
        if len(node.input) > 2 and node.input[2]:
            mode = context.constant(node, 2, "training_mode")
            _TRAINING.check(training=bool(mode.any()))
        if len(node.output) > 1 and node.output[1]:  # what Dropout keeps: everything
            context.constants[node.output[1]] = np.ones(shape, np.bool_)
        result = shape
    _SHAPE.check(shape=shape, result=result)
    return ("reshape", result), result


def _reshaped(context: Context, node: onnx.NodeProto, shape: Shape, allow_zero: bool) -> Shape:
    target = [int(d) for d in context.constant(node, 1, "shape").reshape(-1)]
    if not allow_zero:
        _ZERO.check(shape=shape, result=tuple(target))
        target = [shape[i] if d == 0 else d for i, d in enumerate(target)]
    if -1 in target:
        known = prod(d for d in target if d != -1)
        target[target.index(-1)] = prod(shape) // known if known else 0
    return tuple(target)


def _axes(context: Context, node: onnx.NodeProto, shape: Shape) -> Shape:
    """Squeeze and Unsqueeze; axes are an attribute before opset 13 and an input after."""
    given = attributes(node).get("axes")
    if given is None and len(node.input) > 1 and node.input[1]:
        given = [int(a) for a in context.constant(node, 1, "axes").reshape(-1)]
    if node.op_type == "Squeeze":
        chosen = {a % len(shape) for a in given} if given is not None else None
        return tuple(
            d for i, d in enumerate(shape) if not (d == 1 if chosen is None else i in chosen)
        )
    _AXES.check(axes=given)
    assert given is not None
    rank = len(shape) + len(given)
    inserted = {a % rank for a in given}
    rest = iter(shape)
    return tuple(1 if i in inserted else next(rest) for i in range(rank))


def float_view(context: Context, node: onnx.NodeProto) -> None:
    """A view of a float value; nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    step, shape = view_of(context, node, value.shape)
    done = FloatOp("view", node, shape, view=step)
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def view_constant(context: Context, node: onnx.NodeProto) -> None:
    """A view of a constant, such as weights on their way."""
    source, target = node.input[0], node.output[0]
    step, _ = view_of(context, node, context.constants[source].shape)
    context.constants[target] = _moved(context.constants[source], step)
    if source in context.quantized:
        context.quantized[target] = moved(context.quantized[source], step)


def moved(constant: Quantized, step: View) -> Quantized:
    """Return the same values reshaped or transposed."""
    return Quantized(
        *(_moved(a, step) for a in (constant.codes, constant.scale, constant.zero))
    )


def _moved(array: NDArray[Any], step: View) -> NDArray[Any]:
    kind, argument = step
    return array.reshape(argument) if kind == "reshape" else array.transpose(argument)


def view(context: Context, node: onnx.NodeProto) -> None:
    """Emit a view of a tensor; scale and zero point pass through."""
    x = context.tensor(node.input[0])
    step, shape = view_of(context, node, x.shape)
    emit_view(context, node, x, step, replace(x, name=node.output[0], shape=shape))


def emit_view(
    context: Context, node: onnx.NodeProto, x: Tensor, step: View, y: Tensor
) -> Tensor:
    """Emit one view from ``x`` to ``y`` (layout still open)."""
    source = next((q for q in context.quantize if q.tensor.name == x.name), None)
    if x.name in context.free and source is not None:
        # The host writes the input once more, in the shape that its readers want.
        steps = Layout((*source.view.steps, step))
        y = replace(y, layout=ROW_MAJOR)
        context.quantize.append(replace(source, name=node_name(node), view=steps, tensor=y))
        context.tensors[y.name] = y
        context.free.add(y.name)
        return y
    x = context.settled(x)
    kind, argument = step
    layout = x.layout.reshaped(x.shape) if kind == "reshape" else x.layout.transposed(argument)
    # Plain layouts stay plain, so that equal ones compare equal at once; merged heads are plain
    # again.
    if kind == "reshape" and (x.layout == ROW_MAJOR or x.shape == y.shape):
        layout = x.layout
    elif layout.same(ROW_MAJOR, y.shape):
        layout = ROW_MAJOR
    y = replace(y, layout=layout)
    axes = argument if kind == "transpose" else None
    context.emit(ViewNode(node_name(node), node.op_type, x, y, axes))
    return y


def emit_reshape(context: Context, x: Tensor, shape: Shape) -> Tensor:
    """Emit a view of ``x`` in another shape, under a name that is made up."""
    y = replace(x, name=context.names.fresh(x.name, "reshape"), shape=shape)
    made = helper.make_node("Reshape", [x.name], [y.name], name=y.name)
    return emit_view(context, made, x, ("reshape", shape), y)


def tflite_reshape(context: Context, node: onnx.NodeProto) -> None:
    """The file gives the result's shape; codes, scale and zero point pass through."""
    x, y = operand(context, node), target(context, node)
    _SHAPE.check(shape=x.shape, result=y.shape)
    _PASSES.check(x=(x.scale, x.zero_point), y=(y.scale, y.zero_point))
    emit_view(context, node, x, ("reshape", y.shape), y)


OPERATORS = (
    Operator(
        ", ".join(VIEWS),
        (
            Form("QDQ", VIEWS, "runtime", float_view, first_is_float),
            Form("constant", VIEWS, "runtime", view_constant, first_is_constant),
            Form("QOperator", VIEWS, "runtime", view),
            Form("TFLite", ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), "runtime", tflite_reshape),
        ),
        "",
        (_TRAINING, _PASSES),
        "the reader takes the order in which the bytes lie; where it cannot, they are copied",
        ("tests/compiler/test_operators.py", "tests/compiler/test_orders.py"),
    ),
)
