# SPDX-License-Identifier: Apache-2.0
"""DepthToSpace and SpaceToDepth: a transposition between two reshapes."""

from collections.abc import Sequence
from dataclasses import replace

import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Shape
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.view import View, emit_view

__all__ = ["OPERATORS"]

_Views = list[tuple[View, Shape]]
"""What is done to an image one after the other, each with its result's shape."""

_NAMES = ("DepthToSpace", "SpaceToDepth")
_WHOLE = Limit(
    "blocks of {block} do not divide {shape}", lambda block, shape, whole: whole
)


def _between(split: Shape, axes: Sequence[int], result: Shape) -> _Views:
    turned = tuple(split[axis] for axis in axes)
    return [
        (("reshape", split), split), (("transpose", tuple(axes)), turned),
        (("reshape", result), result),
    ]


def _views(node: onnx.NodeProto, shape: Shape) -> _Views:
    given = attributes(node)
    n, c, h, w = shape
    b = given["blocksize"]
    if node.op_type == "SpaceToDepth":
        _WHOLE.check(block=b, shape=shape, whole=not (h % b or w % b))
        split = (n, c, h // b, b, w // b, b)
        return _between(split, (0, 3, 5, 1, 2, 4), (n, c * b * b, h // b, w // b))
    _WHOLE.check(block=b, shape=shape, whole=not c % (b * b))
    if given.get("mode", "DCR") == "CRD":
        c //= b * b
        return _between((n, c, b, b, h, w), (0, 1, 4, 2, 5, 3), (n, c, h * b, w * b))
    c //= b * b
    return _between((n, b, b, c, h, w), (0, 3, 4, 1, 5, 2), (n, c, h * b, w * b))


def rearrange(context: Context, node: onnx.NodeProto) -> None:
    """Emit the views; scale and zero point pass through."""
    x = context.tensor(node.input[0])
    views = _views(node, x.shape)
    names = [context.names.fresh(node.output[0], "blocks") for _ in views[:-1]]
    for name, (step, shape) in zip((*names, node.output[0]), views, strict=True):
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
