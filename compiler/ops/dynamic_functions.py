# SPDX-License-Identifier: Apache-2.0
"""Functions of the binary32 values of dynamically quantized layers: constants, and those that are
a factor and an offset for each channel."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Bounds
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic import BOUND, FINITE
from kiwicha.compiler.ops.dynamic_linear import Linear
from kiwicha.compiler.ops.dynamic_state import FULL

__all__ = ["clip_bounds", "hard_sigmoid", "normalization", "scaled_by"]


def clip_bounds(context: Context, node: onnx.NodeProto) -> Bounds:
    """Return the bounds of a Clip, finite ones: those of an old one are attributes.

    Raises
    ------
    Refusal
        For bounds that are no constants, or NaN.
    """
    given, ends = attributes(node), list[float]()
    for place, (key, without) in enumerate(zip(("min", "max"), FULL, strict=True), 1):
        name = node.input[place] if len(node.input) > place else ""
        BOUND.check(name=name, constants=context.constants)
        value = np.asarray(context.constants[name] if name else given.get(key, without))
        end = np.nan_to_num(
            value.reshape(-1)[:1].astype(np.float32), nan=np.nan, neginf=FULL[0], posinf=FULL[1]
        )
        FINITE.check(what="bound", name=name or key, value=end)
        ends.append(float(end[0]))
    return ends[0], ends[1]


def scaled_by(linear: Linear, node: onnx.NodeProto, value: NDArray[Any]) -> Linear | None:
    """Return the product or the sum of a layer's values and a constant of each column or of all;
    None where something is done to them that a factor and an offset cannot follow."""
    adds = node.op_type == "Add"
    ready = linear.bare or (adds and linear.factored)
    if not ready or value.dtype != np.float32:
        return None
    FINITE.check(what="constant", name=node.name or node.op_type, value=value)
    columns = linear.per_column(value, "constant")
    if not adds:
        return linear.scaled(columns, np.full_like(columns, -0.0), node.op_type)
    factor = linear.slope if linear.factored else np.ones_like(columns)
    return linear.scaled(factor, columns, node.op_type)


def normalization(context: Context, node: onnx.NodeProto) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return factor and offset of each channel that ONNX Runtime makes of a BatchNormalization.

    Raises
    ------
    Refusal
        For what is no constant, or not finite.
    """
    names = ("scale", "bias", "mean", "variance")
    scale, bias, mean, variance = (
        context.constant(node, place, name).astype(np.float32)
        for place, name in enumerate(names, 1)
    )
    epsilon = np.float32(attributes(node).get("epsilon", 1e-5))
    with np.errstate(all="ignore"):
        factor = np.float32(1) / np.sqrt(variance + epsilon) * scale
        offset = bias - mean * factor
    for name, value in (("factor", factor), ("offset", offset)):
        FINITE.check(what=name, name=node.op_type, value=value)
    return factor, offset


def hard_sigmoid(linear: Linear, node: onnx.NodeProto) -> Linear | None:
    """Return ``max(0, min(1, f(f(alpha v) + beta)))`` of a layer, of HardSwish the factor; None
    where it is no layer alone. ONNX Runtime rounds as often."""
    if not linear.bare:
        return None
    given = attributes(node) if node.op_type == "HardSigmoid" else {"alpha": 1 / 6}
    values = given.get("alpha", 0.2), given.get("beta", 0.5)
    FINITE.check(what="constant", name=node.op_type, value=np.array(values, np.float32))
    factor, offset = (np.full(linear.columns, value, np.float32) for value in values)
    made = linear.scaled(factor, offset, "HardSigmoid").clipped(0, 1)
    return replace(made, op=f"{linear.op}, {node.op_type}")
