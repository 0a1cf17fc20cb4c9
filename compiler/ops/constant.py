# SPDX-License-Identifier: Apache-2.0
"""Quantized constants of operators that ONNX Runtime leaves in float, and views of constants."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import Refusal, attributes
from kiwicha.compiler.ops.context import Context, Quantized
from kiwicha.compiler.ops.view import View, view_of

__all__ = ["dequantize_constant", "moved", "view_constant"]


def moved(constant: Quantized, step: View) -> Quantized:
    """Return the same values reshaped or transposed."""
    return Quantized(
        *(_moved(a, step) for a in (constant.codes, constant.scale, constant.zero))
    )


def _moved(array: NDArray[Any], step: View) -> NDArray[Any]:
    kind, argument = step
    return array.reshape(argument) if kind == "reshape" else array.transpose(argument)


def dequantize_constant(context: Context, node: onnx.NodeProto) -> None:
    """DequantizeLinear of a constant: weights, or parameters such as a LayerNormalization's."""
    codes = context.constant(node, 0, "value")
    scale = context.constant(node, 1, "scale")
    zero = np.zeros(scale.shape, codes.dtype)
    if len(node.input) > 2 and node.input[2]:
        zero = context.constant(node, 2, "zero point")
    parameters = []
    for what, value in (("scale", scale), ("zero point", zero)):
        if value.size > 1:
            axis = attributes(node).get("axis", 1)
            shape = [1] * codes.ndim
            if not -codes.ndim <= axis < codes.ndim or codes.shape[axis] != value.size:
                raise Refusal(
                    f"{value.size} values of {what} along axis {axis} of "
                    f"'{node.input[0]}', which is {codes.shape}"
                )
            shape[axis] = value.size
            value = value.reshape(shape)
        else:
            value = value.reshape(())
        parameters.append(np.broadcast_to(value, codes.shape))
    quantized = Quantized(codes, *parameters)
    context.constants[node.output[0]] = quantized.real
    context.quantized[node.output[0]] = quantized


def view_constant(context: Context, node: onnx.NodeProto) -> None:
    """A Reshape, Transpose and the like of a constant, such as weights on their way."""
    source, target = node.input[0], node.output[0]
    step, _ = view_of(context, node, context.constants[source].shape)
    context.constants[target] = _moved(context.constants[source], step)
    if source in context.quantized:
        context.quantized[target] = moved(context.quantized[source], step)
