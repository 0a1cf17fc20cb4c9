# SPDX-License-Identifier: Apache-2.0
"""Conv, ConvTranspose, MatMul and Gemm that ONNX Runtime leaves in float between Dequantize- and
QuantizeLinear.

It does so where it has no integer operator, as of ConvTranspose, or where that does not fit: types
of input and output that differ, a Relu or Clip whose limits lie inside the range of the codes,
alpha or beta of a Gemm, weights that come through a Reshape. Here they become integer products like
all others, which sum up without any rounding; no code is further than one from the runtime's. The
report says so, and it is checked.
"""

from dataclasses import replace

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.frontend.onnx_node import Refusal, attributes, node_name
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.ops.chain import emit_chain
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue, Quantized
from kiwicha.compiler.ops.conv import conv_shape, emit_conv
from kiwicha.compiler.ops.conv_transpose import (
    conv_transpose_shape,
    emit_conv_transpose,
    forward_weights,
)
from kiwicha.compiler.ops.limits import CODES, FIRST
from kiwicha.compiler.ops.linear_weights import CONV_LIMITS, linear_weights
from kiwicha.compiler.ops.linear_weights import LIMITS as WEIGHT_LIMITS
from kiwicha.compiler.ops.matmul import STACK, emit_matmul, matmul_shape, transposed
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.unsupported import in_float
from kiwicha.compiler.ops.view import emit_view, moved
from kiwicha.compiler.ops.window import LIMITS as WINDOW_LIMITS
from kiwicha.compiler.ops.window import RANK

__all__ = ["OPERATORS", "add_bias", "takes_bias"]

_LINEAR = ("Conv", "FusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm")
"""Operators with float operands; MatMulIntegerToFloat, which ONNX Runtime makes, has integers."""

_BACK = "ConvTranspose"
_INTEGERS = "MatMulIntegerToFloat"
_LABELS = {"FusedConv": "Conv", "FusedMatMul": "MatMul", "FusedGemm": "Gemm", _INTEGERS: "MatMul"}

_TRANSPOSED = Limit(
    "its operand is transposed; transpose it before it is quantized", lambda given: not given
)
_SUM = Limit(
    "adds another tensor before it is quantized; quantize its result first", lambda added: not added
)
_FOLLOWS = Limit(
    "the result of {done} must be quantized before {following}",
    lambda done, following, known: known,
)


def float_linear(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, weight, optional bias; nothing is emitted before the QuantizeLinear."""
    value = _operand(context, node)
    if not isinstance(value.origin, Tensor):
        raise Refusal(in_float(context, node))
    FIRST.check(
        done=next((op.node.op_type for op in value.operations if op.kind != "view"), "")
    )
    weight = _weight(context, node)
    if _label(node) == "Conv":
        shape = conv_shape(node, value.shape, weight.codes.shape)
    elif node.op_type == _BACK:
        shape = conv_transpose_shape(node, value.shape, weight.codes.shape)
    else:
        given = attributes(node)
        source, kernel = value.shape, weight.codes.shape
        if given.get("transA", 0) or given.get("transBatchA", 0) or given.get("transBatchB", 0):
            _TRANSPOSED.check(given=_label(node) != "Gemm")
            source = source[::-1]
        if given.get("transB", 0):
            kernel = (*kernel[:-2], *kernel[:-3:-1])
        shape = matmul_shape(source, kernel)
    operations = (*value.operations, FloatOp("linear", node, shape, finish=finish_linear))
    context.floats[node.output[0]] = FloatValue(
        value.origin, (*operations, *_activation(node, shape))
    )


def _label(node: onnx.NodeProto) -> str:
    """Return what the user calls the operator."""
    return _LABELS.get(node.op_type, node.op_type)


def _operand(context: Context, node: onnx.NodeProto) -> FloatValue:
    """Return what is multiplied; inputs of MatMulIntegerToFloat are a, b, their scales and zero
    points, and a bias."""
    if node.op_type != _INTEGERS:
        return context.floats[node.input[0]]
    scale, zero = context.scale(node, 2, "input scale"), context.zero(node, 4, "input zero point")
    context.one_scale(f"input '{node.input[0]}'", scale, zero)
    x = context.tensor(node.input[0])
    return FloatValue(replace(x, scale=np.float32(scale[0]), zero_point=int(zero[0])))


def _activation(node: onnx.NodeProto, shape: tuple[int, ...]) -> tuple[FloatOp, ...]:
    """Return the clamp inside a FusedConv or FusedGemm."""
    if node.op_type not in ("FusedConv", "FusedGemm"):
        return ()
    _SUM.check(added=node.op_type == "FusedConv" and any(node.input[3:]))
    given = attributes(node)
    kind, limits = given.get("activation", ""), given.get("activation_params", ())
    if kind == "Clip" and len(limits) == 2:
        bounds = np.float32(limits[0]), np.float32(limits[1])
    elif kind == "Relu":
        bounds = np.float32(0), np.float32(np.inf)
    else:
        _FOLLOWS.check(done=_label(node), following=kind, known=not kind)
        return ()
    clip = onnx.helper.make_node(kind, node.output, node.output, node_name(node))
    return (FloatOp("clip", clip, shape, bounds=bounds),)


def _weight(context: Context, node: onnx.NodeProto) -> Quantized:
    name = node.input[1]
    if node.op_type == _INTEGERS:
        codes = context.constant(node, 1, "weight")
        scale, zero = (context.scale(node, 3, "scale"), context.zero(node, 5, "zero point"))
        return Quantized(codes, *(np.broadcast_to(a, codes.shape) for a in (scale, zero)))
    if name in context.quantized:
        weight = context.quantized[name]
        CODES.check(what=f"weight '{name}'", dtype=weight.codes.dtype)
        check_scale(weight.scale, f"scale of weight '{name}'")
        return weight
    raise Refusal(in_float(context, node))


def add_bias(context: Context, node: onnx.NodeProto) -> None:
    """Add of a constant to the result of a MatMul that has none yet."""
    name = next(name for name in node.input if name in context.floats)
    value = context.floats[name]
    product = replace(value.operations[-1], bias=next(n for n in node.input if n != name))
    context.floats[node.output[0]] = replace(value, operations=(*value.operations[:-1], product))


def takes_bias(context: Context, node: onnx.NodeProto) -> bool:
    """Whether `add_bias` is what an Add is."""
    known = [name for name in node.input if name in context.constants]
    value = next((context.floats[name] for name in node.input if name in context.floats), None)
    if node.op_type != "Add" or len(known) != 1 or value is None or not value.operations:
        return False
    last = value.operations[-1]
    return last.kind == "linear" and _label(last.node) == "MatMul" and not _bias_name(last)


def _bias_name(operation: FloatOp) -> str:
    """Return the name of the bias, empty where there is none."""
    given = operation.node.input
    place = 6 if operation.node.op_type == _INTEGERS else 2
    return operation.bias or (given[place] if len(given) > place else "")


def finish_linear(
    context: Context, end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit a product in float and what follows it, all of which commutes with the rounding."""
    place = next(i for i, op in enumerate(operations) if op.kind == "linear")
    head, rest = operations[: place + 1], operations[place + 1 :]
    for op in rest:
        _FOLLOWS.check(
            done=head[-1].node.op_type, following=op.node.op_type,
            known=op.kind in ("clip", "pool", "view"),
        )
    if not rest:
        emit_linear(context, head, x, target)
        return
    name = context.names.fresh(target.name, "product")
    emit_linear(context, head, x, replace(target, name=name, shape=head[-1].shape))
    context.uses[name] = 1
    emit_chain(context, end, context.tensors[name], rest, target)


def emit_linear(
    context: Context, operations: tuple[FloatOp, ...], x: Tensor, target: Tensor
) -> None:
    """Emit views of ``x`` and then the product whose result QuantizeLinear makes ``target``.

    Parameters
    ----------
    operations : views, the linear one last.

    Raises
    ------
    Refusal
        Naming the linear operator, where sums may need more than 32 bits, or bias or scales cannot
        be expressed.
    """
    try:
        _emit(context, operations, x, target)
    except Refusal as refusal:
        raise Refusal(str(refusal), operations[-1].node) from None


def _emit(
    context: Context, operations: tuple[FloatOp, ...], x: Tensor, target: Tensor
) -> None:
    last = operations[-1]
    node, weight = last.node, _weight(context, last.node)
    for move in operations[:-1]:
        name = context.names.fresh(target.name, node_name(move.node))
        y = replace(x, name=name, shape=move.shape)
        x = emit_view(context, move.node, x, move.view, y)
    label, given = _label(node), attributes(node)
    if label == "Conv":
        product = linear_weights(context, node, x, weight, 0, target, _bias_name(last))
        emit_conv(context, node, x, product, target, label=label, promise="near")
    elif label == _BACK:
        weight = forward_weights(node, weight)
        product = linear_weights(context, node, x, weight, 0, target, _bias_name(last))
        emit_conv_transpose(context, node, x, product, target)
    else:
        if given.get("transA", 0):
            x = transposed(context, node, x)
        codes = weight.codes
        if codes.ndim != 2:
            matrix = (codes.size, 1) if codes.ndim == 1 else codes.shape[-2:]
            weight = moved(weight, ("reshape", matrix))
        if given.get("transB", 0):
            weight = moved(weight, ("transpose", (1, 0)))
        product = linear_weights(context, node, x, weight, 1, target, _bias_name(last))
        emit_matmul(context, node, x, product, target, label=label, promise="near")
    context.note(
        node,
        f"lowered by kiwicha: {label}, which ONNX Runtime leaves in float; at most one code apart",
    )


OPERATORS = (
    Operator(
        "Conv, MatMul (+ Add), Gemm in float",
        (
            Form("float", _LINEAR, "near", float_linear, first_is_float),
            Form("QOperator", (_INTEGERS,), "near", float_linear),
        ),
        "matmul.matmul",
        (
            _TRANSPOSED, _SUM, _FOLLOWS, FIRST, *WEIGHT_LIMITS, STACK, *WINDOW_LIMITS,
        ),
        "types of input and output that differ, Relu and Clip inside the range, alpha, beta, float "
        "bias, weights through Reshape and Transpose",
        ("tests/compiler/test_linear.py",),
        otherwise=in_float,
    ),
    Operator(
        _BACK,
        (Form("float", (_BACK,), "near", float_linear, first_is_float),),
        "conv_transpose.conv_transpose2d",
        (_FOLLOWS, FIRST, *CONV_LIMITS, RANK),
        "1-D and 2-D, strides, pads, output_padding, auto_pad, output_shape, dilations, groups, "
        "per tensor and per channel, bias",
        ("tests/golden/test_conv_transpose.py", "tests/compiler/test_conv_transpose.py"),
        otherwise=in_float,
    ),
)
