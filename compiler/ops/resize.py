# SPDX-License-Identifier: Apache-2.0
"""Resize to the nearest element by integer factors: every element repeated, an axis at a time."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import Box, MoveNode, Piece, Shape, Tensor
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.part import axis_order
from kiwicha.compiler.ops.unsupported import in_float

__all__ = ["OPERATORS"]

_NEAREST = Limit("mode {mode}; must be nearest", lambda mode: mode == "nearest")
_COORDINATES = Limit("coordinates of {where}", lambda where: where != "tf_crop_and_resize")
_FACTOR = Limit(
    "makes {result} of {shape}; must be integer multiples",
    lambda result, shape: all(n % m == 0 for n, m in zip(result, shape, strict=True)),
)
_WHOLE = Limit(
    "scale {scale} of axis {axis}; must be a whole number",
    lambda scale, axis: scale >= 1 and scale == int(scale),
)
_REPEATS = Limit(
    "{where} and {rounding} do not repeat each element of axis {axis} equally often",
    lambda where, rounding, axis, taken, factor: np.array_equal(
        taken, np.arange(taken.size) // factor
    ),
)
_F32 = np.float32


def resize(context: Context, node: onnx.NodeProto) -> None:
    """Input x; scale and zero point pass through."""
    given = attributes(node)
    _NEAREST.check(mode=given.get("mode", "nearest"))
    x = context.settled(context.tensor(node.input[0]))
    result = _result(context, node, x.shape)
    _FACTOR.check(result=result, shape=x.shape)
    where, rounding = "asymmetric", "floor"  # as in opset 10
    if len(node.input) > 2:
        where = given.get("coordinate_transformation_mode", "half_pixel")
        rounding = given.get("nearest_mode", "round_prefer_floor")
    _COORDINATES.check(where=where)
    factors = [n // m for n, m in zip(result, x.shape, strict=True)]
    for axis, factor in enumerate(factors):
        if factor > 1:
            taken = _taken(x.shape[axis], factor, where, rounding)
            _REPEATS.check(
                where=where, rounding=rounding, axis=axis, taken=taken, factor=factor
            )
    # Bytes that lie closest to each other first: what follows moves longer runs.
    strides = replace(x, layout=axis_order(x)).strides or ()
    axes = sorted((a for a, f in enumerate(factors) if f > 1), key=lambda axis: strides[axis])
    if not axes:
        _repeat(context, node, x, 0, 1, node.output[0])
    for place, axis in enumerate(axes):
        name = node.output[0]
        if place < len(axes) - 1:
            name = context.names.fresh(name, "repeated")
        x = _repeat(context, node, x, axis, factors[axis], name)


def _repeat(
    context: Context, node: onnx.NodeProto, x: Tensor, axis: int, factor: int, name: str
) -> Tensor:
    """Emit ``x`` with each element ``factor`` times along an axis."""
    info = np.iinfo(x.dtype)
    rank = len(x.shape)
    shape = tuple(n * factor if place == axis else n for place, n in enumerate(x.shape))
    y = replace(x, name=name, shape=shape, layout=axis_order(x))
    step = tuple(factor if place == axis else 1 for place in range(rank))
    pieces = []
    for turn in range(factor):
        first = tuple(turn if place == axis else 0 for place in range(rank))
        pieces.append(Piece(
            x, Box.whole(x.shape), Box(first, step, x.shape), _F32(1), np.float64(1),
            int(info.min), int(info.max),
        ))
    context.emit(MoveNode(node_name(node), node.op_type, tuple(pieces), y))
    return y


def _result(context: Context, node: onnx.NodeProto, shape: Shape) -> Shape:
    """Return the shape that scales or sizes give, of all axes or those of the attribute."""
    rank = len(shape)
    axes = [int(axis) % rank for axis in attributes(node).get("axes", range(rank))]
    sizes = list(shape)
    if len(node.input) > 3 and node.input[3]:
        for axis, size in zip(axes, context.constant(node, 3, "sizes"), strict=True):
            sizes[axis] = int(size)
    else:
        place = 1 if len(node.input) == 2 else 2
        for axis, scale in zip(axes, context.constant(node, place, "scales"), strict=True):
            _WHOLE.check(scale=scale, axis=axis)
            sizes[axis] = int(scale) * shape[axis]
    return tuple(sizes)


def _taken(length: int, factor: int, where: str, rounding: str) -> NDArray[Any]:
    """Return which element each one of the result is, as ONNX defines it, in binary32."""
    place = np.arange(length * factor, dtype=_F32)
    if where == "asymmetric":
        at = place / _F32(factor)
    elif where == "align_corners":
        at = place * _F32(length - 1) / _F32(length * factor - 1)
    elif where == "tf_half_pixel_for_nn":
        at = (place + _F32(0.5)) / _F32(factor)
    else:  # half_pixel, and what equals it for whole factors
        at = (place + _F32(0.5)) / _F32(factor) - _F32(0.5)
    found = {
        "floor": np.floor(at), "ceil": np.ceil(at),
        "round_prefer_floor": np.ceil(at - _F32(0.5)),
        "round_prefer_ceil": np.floor(at + _F32(0.5)),
    }[rounding]
    return np.clip(found.astype(np.int64), 0, length - 1)


def _is_codes(context: Context, node: onnx.NodeProto) -> bool:
    return node.input[0] in context.tensors


OPERATORS = (
    Operator(
        "Resize",
        (
            Form("QOperator", ("Resize",), "runtime", resize, _is_codes),
            Form("QDQ", ("Resize",), "runtime"),
        ),
        "",
        (_NEAREST, _COORDINATES, _FACTOR, _WHOLE, _REPEATS),
        "nearest, any axes by integer factors",
        ("tests/compiler/test_resize.py",),
        otherwise=in_float,
    ),
)
