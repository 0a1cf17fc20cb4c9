# SPDX-License-Identifier: Apache-2.0
"""Conv, MatMul and Gemm that ONNX Runtime leaves in float between Dequantize- and QuantizeLinear.

It does so where its own integer operators do not fit: types of input and output that differ, a
Relu or Clip whose limits lie inside the range of the codes, alpha or beta of a Gemm, weights that
come through a Reshape. Here they become integer products like all others, which sum up without any
rounding; no code is further than one from the runtime's. The report says so, and it is checked.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import Refusal, attributes, check_scale, node_name
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.ops.constant import moved
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue, Quantized
from kiwicha.compiler.ops.conv import conv_shape, emit_conv
from kiwicha.compiler.ops.matmul import emit_matmul, matmul_shape, transposed
from kiwicha.compiler.ops.unsupported import reason_of
from kiwicha.compiler.ops.view import emit_view
from kiwicha.compiler.ops.weights import Weights, signed_weights

__all__ = ["LINEAR", "add_bias", "emit_linear", "float_linear", "takes_bias"]

LINEAR = ("Conv", "FusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm")
"""Operators with float operands; MatMulIntegerToFloat, which ONNX Runtime makes, has integers."""

_INTEGERS = "MatMulIntegerToFloat"
_LABELS = {"FusedConv": "Conv", "FusedMatMul": "MatMul", "FusedGemm": "Gemm", _INTEGERS: "MatMul"}
_INT32 = np.iinfo(np.int32)


def float_linear(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, weight, optional bias; nothing is emitted before the QuantizeLinear."""
    value = _operand(context, node)
    if not isinstance(value.origin, Tensor):
        raise Refusal(reason_of(context, node))
    done = next((op.node.op_type for op in value.operations if op.kind != "view"), None)
    if done is not None:
        raise Refusal(f"its input is the float result of {done}; quantize it")
    weight = _weight(context, node)
    if _label(node) == "Conv":
        shape = conv_shape(node, value.shape, weight.codes.shape)
    else:
        given = attributes(node)
        source, kernel = value.shape, weight.codes.shape
        if given.get("transA", 0) or given.get("transBatchA", 0) or given.get("transBatchB", 0):
            if _label(node) != "Gemm":
                raise Refusal("its operand is transposed; transpose it before it is quantized")
            source = source[::-1]
        if given.get("transB", 0):
            kernel = (*kernel[:-2], *kernel[:-3:-1])
        shape = matmul_shape(source, kernel)
    operations = (*value.operations, FloatOp("linear", node, shape))
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
    if scale.size != 1 or zero.size != 1:
        raise Refusal(f"input '{node.input[0]}' has {scale.size} scales; must have one")
    x = context.tensor(node.input[0])
    return FloatValue(replace(x, scale=np.float32(scale[0]), zero_point=int(zero[0])))


def _activation(node: onnx.NodeProto, shape: tuple[int, ...]) -> tuple[FloatOp, ...]:
    """Return the clamp inside a FusedConv or FusedGemm."""
    if node.op_type not in ("FusedConv", "FusedGemm"):
        return ()
    if node.op_type == "FusedConv" and len(node.input) > 3 and node.input[3]:
        raise Refusal("adds another tensor before it is quantized; quantize its result first")
    given = attributes(node)
    kind, limits = given.get("activation", ""), given.get("activation_params", ())
    if kind == "Clip" and len(limits) == 2:
        bounds = np.float32(limits[0]), np.float32(limits[1])
    elif kind == "Relu":
        bounds = np.float32(0), np.float32(np.inf)
    elif not kind:
        return ()
    else:
        raise Refusal(f"the result of {_label(node)} must be quantized before {kind}")
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
        if weight.codes.dtype not in (np.int8, np.uint8):
            raise Refusal(f"weight '{name}' is {weight.codes.dtype}; must be int8 or uint8")
        check_scale(weight.scale, f"scale of weight '{name}'")
        return weight
    raise Refusal(reason_of(context, node))


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
        product = _product(context, last, x, weight, 0, target)
        emit_conv(context, node, x, product, target, label=label, promise="near")
    else:
        if given.get("transA", 0):
            x = transposed(context, node, x)
        codes = weight.codes
        if codes.ndim != 2:
            matrix = (codes.size, 1) if codes.ndim == 1 else codes.shape[-2:]
            weight = moved(weight, ("reshape", matrix))
        if given.get("transB", 0):
            weight = moved(weight, ("transpose", (1, 0)))
        product = _product(context, last, x, weight, 1, target)
        emit_matmul(context, node, x, product, target, label=label, promise="near")
    context.note(
        node,
        f"lowered by kiwicha: {label}, which ONNX Runtime leaves in float; at most one code apart",
    )


def _product(
    context: Context, operation: FloatOp, x: Tensor, weight: Quantized, axis: int, target: Tensor
) -> Weights:
    """Return the weights as integers with zero point, scale and bias of each output channel.

    Parameters
    ----------
    axis : of the output channels.
    """
    node = operation.node
    given = attributes(node) if _label(node) != "Conv" else {}
    alpha, beta = (np.float32(given.get(name, 1.0)) for name in ("alpha", "beta"))
    scale, zero = _each(weight.scale, axis, node, "scale"), _each(weight.zero, axis, node, "zero")
    codes, zero_point = signed_weights(weight.codes, zero)
    scale = (np.abs(alpha) * scale).astype(np.float32)
    check_scale(scale, "alpha * weight scale")
    bias = np.zeros(len(scale), np.int32)
    name = _bias_name(operation)
    if name and beta:
        real = np.float64(beta) * _columns(context, node, name, len(scale))
        real = -real if alpha < 0 else real  # in units of the weights before they are negated
        bias = _codes(real, np.float64(x.scale) * scale, np.float64(target.scale))
    info, lines = np.iinfo(x.dtype), np.moveaxis(codes, axis, 0).reshape(len(scale), -1)
    furthest = max(info.max - x.zero_point, x.zero_point - info.min)
    sums = np.abs(lines.astype(np.int64) - zero_point[:, None]).sum(axis=1) * furthest
    if np.any(sums + np.abs(bias.astype(np.int64)) > _INT32.max):
        raise Refusal("its sums may need more than 32 bits")
    made = Weights(codes, zero_point, scale, bias)
    return made.negative if alpha < 0 else made


def _each(value: NDArray[Any], axis: int, node: onnx.NodeProto, what: str) -> NDArray[Any]:
    """Return the one value of each output channel."""
    lines = np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)
    if np.any(lines != lines[:, :1]):
        raise Refusal(f"weight '{node.input[1]}' has more than one {what} for an output channel")
    return np.ascontiguousarray(lines[:, 0])


def _columns(
    context: Context, node: onnx.NodeProto, name: str, columns: int
) -> NDArray[np.float64]:
    """Return the bias in float, one value for each output channel."""
    if name not in context.constants:
        raise Refusal("its bias is not a constant")
    value = context.constants[name]
    if value.size != 1 and (value.size != columns or value.shape[-1] != columns):
        one = "channel" if _label(node) == "Conv" else "column"
        raise Refusal(f"its bias is {value.shape}; must be one for each {one} ({columns})")
    real = np.broadcast_to(value.reshape(-1).astype(np.float64), (columns,))
    if not np.isfinite(real).all():
        raise Refusal("its bias is not finite")
    return real


def _codes(
    real: NDArray[np.float64], unit: NDArray[np.float64], y_scale: np.float64
) -> NDArray[np.int32]:
    """Return a bias as int32 multiples of ``unit``, which must be fine enough for one code."""
    codes = np.rint(real / unit)
    if np.any(np.abs(codes) > _INT32.max):
        raise Refusal(
            "its bias needs more than 32 bits in units of input scale * weight scale, "
            f"{unit.min():.6g}"
        )
    if np.any(np.abs(codes * unit - real) > y_scale / 2):
        raise Refusal("its bias is no multiple of input scale * weight scale")
    return codes.astype(np.int32)
