# SPDX-License-Identifier: Apache-2.0
"""Quantized constants of operators that ONNX Runtime leaves in float, and what is computed of
constants alone."""

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.normal_form import RANDOM
from kiwicha.compiler.frontend.onnx_node import Refusal, attributes
from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.frontend.subgraph import subgraph
from kiwicha.compiler.graph.graph import Shape
from kiwicha.compiler.ops.context import Context, Quantized
from kiwicha.errors import ModelError

__all__ = ["dequantize_constant", "fold", "folds"]

_AXIS = Limit(
    "{size} values of {what} along axis {axis} of '{name}', which is {shape}",
    lambda size, what, axis, name, shape: (
        -len(shape) <= axis < len(shape) and shape[axis] == size
    ),
)


_SHAPES = ("Shape", "Size")


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
            _AXIS.check(
                size=value.size, what=what, axis=axis, name=node.input[0], shape=codes.shape
            )
            shape[axis] = value.size
            value = value.reshape(shape)
        else:
            value = value.reshape(())
        parameters.append(np.broadcast_to(value, codes.shape))
    quantized = Quantized(codes, *parameters)
    context.constants[node.output[0]] = quantized.real
    context.quantized[node.output[0]] = quantized


def folds(context: Context, node: onnx.NodeProto) -> bool:
    """Whether all that a node reads is constant."""
    if node.op_type in _SHAPES:
        return node.input[0] not in context.unknown and _shape(context, node) is not None
    read = [name for name in node.input if name]
    return bool(read) and node.op_type not in RANDOM and all(n in context.constants for n in read)


def _shape(context: Context, node: onnx.NodeProto) -> Shape | None:
    """Return the shape of what a node reads, None where that is not known."""
    name = node.input[0]
    known = context.constants.get(name, context.floats.get(name, context.tensors.get(name)))
    return None if known is None else known.shape


def fold(context: Context, node: onnx.NodeProto) -> None:
    """Have ONNX Runtime compute a node of constants, which it leaves behind DequantizeLinear or
    where it writes out an operator's definition; a shape is a constant, too.

    Raises
    ------
    Refusal
        Where it does not run.
    """
    known = {name: context.constants[name] for name in node.input if name in context.constants}
    if node.op_type in _SHAPES:
        known[node.input[0]] = np.zeros(_shape(context, node) or (), np.bool_)
    for name in filter(None, node.output):
        try:
            session = open_session(
                subgraph(context.model, {}, name, values=known), context.settings
            )
        except (KeyError, ModelError) as error:
            raise Refusal(f"cannot be run by itself: {error}") from None
        context.constants[name] = np.asarray(session.run([name], {})[0])
