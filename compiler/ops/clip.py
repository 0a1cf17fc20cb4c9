# SPDX-License-Identifier: Apache-2.0
"""Relu and Clip between DequantizeLinear and QuantizeLinear: bounds on codes."""

from collections.abc import Sequence

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float

__all__ = ["OPERATORS", "clip_codes", "leading_clips"]


def clip(context: Context, node: onnx.NodeProto) -> None:
    """Inputs x, and of Clip optional bounds; nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    done = FloatOp("clip", node, value.shape, bounds=_bounds(context, node))
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _bounds(context: Context, node: onnx.NodeProto) -> tuple[np.float32, np.float32]:
    if node.op_type == "Relu":
        return np.float32(0), np.float32(np.inf)
    given = attributes(node)
    bounds = []
    for index, name, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        bound = given.get(name, default)
        if index < len(node.input) and node.input[index]:
            bound = context.constant(node, index, name).reshape(-1)[0]
        bounds.append(np.float32(bound))
    return bounds[0], bounds[1]


def leading_clips(
    operations: Sequence[FloatOp],
) -> tuple[tuple[FloatOp, ...], tuple[FloatOp, ...]]:
    """Return the clips that nothing but views precedes, and all else."""
    end = next(
        (i for i, op in enumerate(operations) if op.kind not in ("clip", "view")), len(operations)
    )
    first = operations[:end]
    clips, views = ([op for op in first if op.kind == kind] for kind in ("clip", "view"))
    return tuple(clips), (*views, *operations[end:])


def clip_codes(clips: Sequence[FloatOp], y: Tensor) -> tuple[int, int]:
    """Return the least and the greatest code that QuantizeLinear makes of what clips leave."""
    info, zero = np.iinfo(y.dtype), y.zero_point
    ends = np.array([-np.inf, np.inf], np.float32)
    for operation in clips:
        ends = np.minimum(np.maximum(ends, operation.bounds[0]), operation.bounds[1])
    with np.errstate(over="ignore"):
        codes = np.rint(np.clip(ends / y.scale, info.min - zero, info.max - zero)) + zero
    return int(codes[0]), int(codes[1])


OPERATORS = (
    Operator(
        "Relu, Clip",
        (Form("QDQ", ("Relu", "Clip"), "runtime", clip, first_is_float),),
        "requantize.requantize",
        (),
        "any bounds: fused into the layer before, requantized, or by table",
        ("tests/compiler/test_operators.py",),
    ),
)
