# SPDX-License-Identifier: Apache-2.0
"""Operators of TFLite that move codes: CONCATENATION, SPLIT, SLICE, STRIDED_SLICE,
RESIZE_NEAREST_NEIGHBOR."""

from dataclasses import replace

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import Box, MoveNode, TableNode, Tensor
from kiwicha.compiler.ops.concat import Operand, as_piece, constant_piece
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.part import emit_part
from kiwicha.compiler.ops.rows import emit_views
from kiwicha.compiler.ops.tflite import SAME_SCALE, input_tensor, label, operand, target
from kiwicha.compiler.ops.tflite_slice import taken
from kiwicha.machine.fixed_functions import Codes, rescale

__all__ = ["OPERATORS"]

_FUSED = Limit(
    "fused activation {word}; a concatenation has none", lambda word: word in ("", "NONE")
)
_VARIES = Limit("all operands are constants", lambda varying: bool(varying))
_EMPTY = Limit("its result is {shape}", lambda shape: 0 not in shape)
_AXES = Limit(
    "operands are {shapes}; must be alike but along axis {axis}",
    lambda shapes, axis: len({s[:axis] + s[axis + 1 :] for s in shapes}) == 1,
)


def concatenation(context: Context, node: onnx.NodeProto) -> None:
    """Any number of operands; of uint8, with scales of their own."""
    _FUSED.check(word=attributes(node).get("fusedActivationFunction", "NONE"))
    varying = [name for name in node.input if name not in context.constants]
    _VARIES.check(varying=varying)
    operands = [
        Operand(input_tensor(context, name), context.constants[name])
        if name in context.constants else Operand(operand(context, node, place))
        for place, name in enumerate(node.input)
    ]
    shapes = [each.x.shape for each in operands]
    axis = int(attributes(node).get("axis", 0)) % len(shapes[0])
    _AXES.check(shapes=shapes, axis=axis)
    shape = list(shapes[0])
    shape[axis] = sum(each[axis] for each in shapes)
    y = target(context, node, tuple(shape))
    pieces, first = [], 0
    for each in operands:
        place = tuple(first if at == axis else 0 for at in range(len(shape)))
        first += each.x.shape[axis]
        x, values = each.x, each.values
        if y.dtype == np.int8:
            SAME_SCALE.check(x=x, y=y)
        table = rescale(_codes(x), _codes(y))
        if values is not None:
            values = table[values.view(np.uint8)].view(y.dtype)
            constant = Operand(replace(x, scale=y.scale, zero_point=y.zero_point), values)
            pieces.append(constant_piece(context, constant, y, place))
            continue
        if not np.array_equal(table, np.arange(256)):
            made = replace(y, name=context.names.fresh(y.name, "codes"), shape=x.shape)
            x = context.settled(x)
            made = replace(made, layout=x.layout)
            context.emit(TableNode(node_name(node), node.op_type, x, made, table))
            x = made
        x = replace(context.settled(x), scale=y.scale, zero_point=y.zero_point)
        pieces.append(as_piece(context, node, x, y, place))
    context.emit(MoveNode(node_name(node), label(node), tuple(pieces), y))


def _codes(x: Tensor) -> Codes:
    return Codes(float(x.scale), x.zero_point, x.dtype)


def split(context: Context, node: onnx.NodeProto) -> None:
    """SPLIT: constant axis, x; SPLIT_V: x, constant sizes and axis."""
    equal = node.op_type == "SPLIT"
    x = operand(context, node, int(equal))
    axis = int(context.constant(node, 0 if equal else 2, "axis").reshape(-1)[0]) % len(x.shape)
    whole, start = Box.whole(x.shape), 0
    if equal:
        sizes = [x.shape[axis] // len(node.output)] * len(node.output)
    else:
        sizes = [int(size) for size in context.constant(node, 1, "sizes").reshape(-1)]
        rest = x.shape[axis] - sum(size for size in sizes if size >= 0)
        sizes = [rest if size < 0 else size for size in sizes]
    for name, size in zip(node.output, sizes, strict=True):
        box = whole.along(axis, range(start, start + size))
        start += size
        one = onnx.NodeProto()
        one.CopyFrom(node)
        one.ClearField("output")
        one.output.append(name)
        y = target(context, one, box.shape)
        SAME_SCALE.check(x=x, y=y)
        if context.uses[name]:
            emit_part(context, node, replace(x, scale=y.scale), y, box=box)


def sliced(context: Context, node: onnx.NodeProto) -> None:
    """SLICE: x, constant begin and size; STRIDED_SLICE: x, constant begin, end and strides."""
    x = operand(context, node)
    every = taken(context, node, x.shape)
    box = Box.whole(x.shape)
    for axis, indices in enumerate(each.indices for each in every if each.indices is not None):
        box = box.along(axis, indices)
    _EMPTY.check(shape=box.shape)
    y = target(context, node, tuple(each.length for each in every if each.stays))
    SAME_SCALE.check(x=x, y=y)
    x = replace(x, scale=y.scale)
    if y.shape == box.shape:
        emit_part(context, node, x, y, box=box)
        return
    name = context.names.fresh(y.name, "slice")
    made = emit_part(context, node, x, replace(y, name=name, shape=box.shape), box=box)
    emit_views(context, node, made, [("reshape", y.shape)], y.name)


def resize_nearest(context: Context, node: onnx.NodeProto) -> None:
    """RESIZE_NEAREST_NEIGHBOR: x, N H W C, constant height and width."""
    x, given = operand(context, node), attributes(node)
    sizes = [int(size) for size in context.constant(node, 1, "size").reshape(-1)]
    box = Box.whole(x.shape)
    for axis, size in enumerate(sizes, 1):
        box = box.along(axis, _nearest(
            x.shape[axis], size, bool(given.get("alignCorners", 0)),
            bool(given.get("halfPixelCenters", 0)),
        ))
    y = target(context, node, box.shape)
    SAME_SCALE.check(x=x, y=y)
    emit_part(context, node, replace(x, scale=y.scale), y, box=box)


def _nearest(length: int, size: int, corners: bool, centres: bool) -> tuple[int, ...]:
    """Return the places that LiteRT takes, in binary32."""
    aligned = corners and size > 1
    scale = np.float32(length - aligned) / np.float32(size - aligned)
    place = (np.arange(size, dtype=np.float32) + np.float32(0.5 if centres else 0)) * scale
    place = np.floor(place + np.float32(0.5)) if corners else np.floor(place)
    return tuple(int(at) for at in np.clip(place, 0, length - 1))


OPERATORS = (
    Operator(
        "CONCATENATION",
        (Form("TFLite", ("CONCATENATION",), "runtime", concatenation),),
        "concat.concat",
        (_FUSED, _VARIES, SAME_SCALE),
        "any axis, constants among the operands; int8 of one scale, uint8 of any",
        ("tests/compiler/test_tflite_moves.py",),
    ),
    Operator(
        "SPLIT, SPLIT_V, SLICE, STRIDED_SLICE, RESIZE_NEAREST_NEIGHBOR",
        (
            Form("TFLite", ("SPLIT",), "runtime", split, operands=2),
            Form("TFLite", ("SPLIT_V",), "runtime", split, operands=3),
            Form("TFLite", ("SLICE",), "runtime", sliced, operands=3),
            Form("TFLite", ("STRIDED_SLICE",), "runtime", sliced, operands=4),
            Form("TFLite", ("RESIZE_NEAREST_NEIGHBOR",), "runtime", resize_nearest, operands=2),
        ),
        "",
        (SAME_SCALE,),
        "any axes, negative steps, all masks; any factor of resizing, aligned corners, half-pixel "
        "centres",
        ("tests/compiler/test_tflite_moves.py",),
    ),
)
