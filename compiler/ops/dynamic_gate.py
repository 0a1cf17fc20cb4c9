# SPDX-License-Identifier: Apache-2.0
"""Products of two values between dynamically quantized layers: one is in memory, the other is
multiplied by it on its way out of a layer. HardSwish is such a product of a layer with itself.
BatchNormalization that cannot be folded is one with constants."""

from dataclasses import replace

import onnx

from kiwicha.compiler.ops.dynamic_functions import hard_sigmoid, normalization
from kiwicha.compiler.ops.dynamic_real import Reals

__all__ = ["hard", "multiply", "normalize"]


def multiply(reals: Reals, node: onnx.NodeProto) -> bool:
    """Read the product of two values; return whether one of them is a layer's alone.

    Raises
    ------
    Refusal
        Where the other is none that can be in memory in the same order.
    """
    first, second = node.input
    for name, other in ((second, first), (first, second)):
        if name in reals.linear and reals.linear[name].bare and name != other:
            _gate(reals, node, name, other)
            return True
    return False


def hard(reals: Reals, node: onnx.NodeProto) -> bool:
    """Read HardSigmoid or HardSwish; return whether its input is a layer's alone. Of HardSwish,
    HardSigmoid is what the layer, computed again, is multiplied by."""
    name, output = node.input[0], node.output[0]
    made = hard_sigmoid(reals.linear[name], node) if name in reals.linear else None
    if made is None:
        return False
    if node.op_type == "HardSigmoid":
        reals.linear[output] = made
        return True
    gate = reals.context.names.fresh(output, "gate")
    reals.linear[gate] = made
    _gate(reals, node, name, gate)
    return True


def normalize(reals: Reals, node: onnx.NodeProto) -> bool:
    """Read BatchNormalization: of a layer alone factors and offsets, else of what is brought into
    memory; return whether it is of images.

    Raises
    ------
    Refusal
        Where it cannot be brought there.
    """
    name = node.input[0]
    linear = reals.linear.get(name)
    if name in reals.made or linear is None or not linear.bare:
        reals.get(node, name)
        return reals.normalize(node)
    if linear.frame is None or not linear.plain:
        return False
    made = linear.scaled(*normalization(reals.context, node), node.op_type)
    reals.linear[node.output[0]] = made
    return True


def _gate(reals: Reals, node: onnx.NodeProto, name: str, other: str) -> None:
    """Have the layer that makes ``name`` multiply its values by ``other``."""
    linear, real = reals.beside(node, name, other)
    reals.linear[node.output[0]] = replace(
        linear, addend=real.parts[0].x, gated=True, op=f"{linear.op}, {node.op_type}"
    )
