# SPDX-License-Identifier: Apache-2.0
"""DepthToSpace and SpaceToDepth: a transposition between two reshapes."""

from dataclasses import replace

import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Shape
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.view import View, emit_view

__all__ = ["OPERATORS"]

_NAMES = ("DepthToSpace", "SpaceToDepth")
_WHOLE = Limit(
    "blocks of {block} do not divide {shape}", lambda block, shape, whole: whole
)


def _views(node: onnx.NodeProto, shape: Shape) -> list[tuple[View, Shape]]:
    """Return what is done to an image one after the other, each with its result's shape."""
    given = attributes(node)
    n, c, h, w = shape
    b = given["blocksize"]
    inverse = node.op_type == "SpaceToDepth"
    _WHOLE.check(block=b, shape=shape, whole=not (h % b or w % b if inverse else c % (b * b)))
    if inverse:
        split, axes = (n, c, h // b, b, w // b, b), (0, 3, 5, 1, 2, 4)
        result = (n, c * b * b, h // b, w // b)
    else:
        result = (n, c // (b * b), h * b, w * b)
        split, axes = (n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2)
        if given.get("mode", "DCR") == "CRD":
            split, axes = (n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3)
    return [
        (("reshape", split), split),
        (("transpose", axes), tuple(split[axis] for axis in axes)),
        (("reshape", result), result),
    ]


def rearrange(context: Context, node: onnx.NodeProto) -> None:
    """Emit the views; scale and zero point pass through."""
    x = context.tensor(node.input[0])
    names = [context.names.fresh(node.output[0], "blocks") for _ in range(2)]
    for name, (step, shape) in zip(
        (*names, node.output[0]), _views(node, x.shape), strict=True
    ):
        x = emit_view(context, node, x, step, replace(x, name=name, shape=shape))


def float_rearrange(context: Context, node: onnx.NodeProto) -> None:
    """The same of a float value; nothing is emitted before the QuantizeLinear."""
    value = context.floats[node.input[0]]
    done = tuple(
        FloatOp("view", node, shape, view=step) for step, shape in _views(node, value.shape)
    )
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, *done))


OPERATORS = (
    Operator(
        ", ".join(_NAMES),
        (
            Form("QDQ", _NAMES, "runtime", float_rearrange, first_is_float),
            Form("QOperator", _NAMES, "runtime", rearrange),
        ),
        "",
        (),
        "DCR and CRD, any block; copied only where the next layer wants its bytes in order",
        ("tests/compiler/test_space.py",),
    ),
)
