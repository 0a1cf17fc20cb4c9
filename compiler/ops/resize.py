# SPDX-License-Identifier: Apache-2.0
"""Resize: to the nearest element a copy (`compiler.ops.pick`), linear by whole factors a
convolution, else products (`compiler.ops.resize_map`).

A pixel becomes f x f places of the result, each a weighted sum of it and its neighbours, the edge
repeated: a convolution of each channel by itself, which writes its pixels where they belong.
Weights are whole numbers of a unit, so that sums are exact, and ONNX Runtime's float is at most one
code away.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import (
    Box,
    ConvNode,
    MoveNode,
    Picked,
    Piece,
    Promise,
    Shape,
    Tensor,
)
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.chain import emit_chain
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.own_scale import in_codes
from kiwicha.compiler.ops.part import emit_part, float_parts, parts
from kiwicha.compiler.ops.pick import elements
from kiwicha.compiler.ops.resize_map import COORDINATE, float_map, map_codes, resize_factors
from kiwicha.compiler.ops.resize_map import LIMITS as MAP_LIMITS

__all__ = ["OPERATORS"]

_WHERE = ("half_pixel", "pytorch_half_pixel", "asymmetric")
_MODE = Limit(
    "mode {mode} of codes; must be nearest or linear", lambda mode: mode in ("nearest", "linear")
)
_COORDINATES = Limit("coordinates of {where}", lambda where: where != "tf_crop_and_resize")
_LARGEST = 255  # weight of 8 bits less its zero point


@dataclass(frozen=True, eq=False)
class _Linear:
    """What the ``factor`` places of a pixel are along an axis.

    Members
    -------
    unit : the weights are multiples of 1 / ``unit``.
    first, last : neighbours that count, from that many pixels before the pixel (-1 or 0) to behind
        it (0 or 1).
    weights : int64, places x neighbours.
    """

    factor: int
    unit: int
    first: int
    last: int
    weights: NDArray[np.int64]


def _linear(factor: int, where: str) -> _Linear:
    if factor == 1:
        return _Linear(1, 1, 0, 0, np.ones((1, 1), np.int64))
    centred = where != "asymmetric"
    unit, first = (2 * factor, -1) if centred else (factor, 0)
    weights = np.zeros((factor, 2 - first), np.int64)
    for place in range(factor):
        at = 2 * place + 1 - factor if centred else place  # units from the pixel's own
        weights[place, -first] = unit - abs(at)
        weights[place, (1 if at > 0 else -1) - first] += abs(at)
    return _Linear(factor, unit, first, 1, weights)


def _axes(context: Context, node: onnx.NodeProto, shape: Shape) -> list[_Linear] | None:
    """Return the weights along the axes of space; None where the result is not that of whole
    factors up to 8 along these, or pixels are read elsewhere (`compiler.ops.resize_map`)."""
    given = attributes(node)
    where = given.get(COORDINATE, "half_pixel")
    if len(node.input) == 2:  # opset 10
        where = "asymmetric"
    factors = resize_factors(context, node, shape)
    whole = len(shape) in (3, 4) and all(
        f == 1 if axis < 2 else f in range(1, 9) for axis, f in enumerate(factors)
    )
    plain = given.get("mode") == "linear" and where in _WHERE and not given.get("antialias", 0)
    plain = plain and given.get("keep_aspect_ratio_policy", "stretch") == "stretch"
    return [_linear(int(factor), where) for factor in factors[2:]] if whole and plain else None


def linear(context: Context, node: onnx.NodeProto) -> None:
    """Of codes, which ONNX Runtime interpolates in float and cuts off towards 0: so are those of
    uint8 here, those of int8 are rounded."""
    x = context.tensor(node.input[0])
    axes = _axes(context, node, x.shape)
    if axes is None:
        _MODE.check(mode=attributes(node)["mode"])
        map_codes(context, node, x)
        return
    unit, largest = prod(axis.unit for axis in axes), prod(int(a.weights.max()) for a in axes)
    # rint((2 a + 1 - unit) / (2 unit)) is a / unit, cut off, where float32 holds that.
    cut = x.dtype == np.uint8
    doubled = cut and 2 * largest <= _LARGEST
    exact = doubled and unit & (unit - 1) == 0
    raw = replace(x, scale=np.float32(1), zero_point=0)
    times = 2 if doubled else 1
    made = _emit(
        context, node, raw, replace(raw, name=node.output[0]), axes, scale64=1 / (times * unit),
        times=times, bias=-(cut * (unit - 1) * times // 2), promise="runtime" if exact else "near",
    )
    context.tensors[made.name] = replace(made, scale=x.scale, zero_point=x.zero_point)
    if not exact:
        context.note(
            node, "linear Resize of codes, which ONNX Runtime computes in float and cuts off "
            "towards 0; at most one code apart",
        )


def float_linear(context: Context, node: onnx.NodeProto) -> None:
    """Of a float value; nothing is emitted before the QuantizeLinear."""
    value = in_codes(context, node, node.input[0])
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    FIRST.check(done=value.operations[-1].node.op_type if value.operations else "")
    axes = _axes(context, node, value.shape)
    if axes is None:
        float_map(context, node)
        return
    factors = (1, 1, *(axis.factor for axis in axes))
    shape = tuple(n * factor for n, factor in zip(value.shape, factors, strict=True))
    done = FloatOp("average", node, shape, finish=_finish)
    context.floats[node.output[0]] = FloatValue(value.origin, (done,))


def _finish(
    context: Context, end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit the sums, and the clips and views behind them."""
    node, rest = operations[0].node, operations[1:]
    LAST.check(done=node.op_type, rest=[op for op in rest if op.kind not in ("clip", "view")])
    axes = _axes(context, node, x.shape)
    assert axes is not None
    scale64 = float(x.scale) / float(target.scale) / prod(axis.unit for axis in axes)
    name = context.names.fresh(target.name, "linear") if rest else target.name
    made = _emit(context, node, x, replace(target, name=name), axes, scale64=scale64)
    context.note(
        node, "lowered by kiwicha: linear Resize, which ONNX Runtime leaves in float; at most one "
        "code apart",
    )
    if rest:
        context.uses[name] = 1
        emit_chain(context, end, made, rest, target)


def _emit(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    y: Tensor,
    axes: Sequence[_Linear],
    *,
    scale64: float,
    times: int = 1,
    bias: int = 0,
    promise: Promise = "near",
) -> Tensor:
    """Emit ``y``: the image with its edge, a convolution of a part of it for each place of a block,
    and their results side by side."""
    layout = channels_last(len(x.shape))
    lead, space = x.shape[:2], x.shape[2:]
    x = context.settle(_edged(context, node, x, axes, y.name), layout)
    factors = tuple(axis.factor for axis in axes)
    y = replace(y, layout=layout, shape=(
        *lead, *(n * factor for n, factor in zip(space, factors, strict=True))))
    whole, info = Box.whole((*lead, *space)), np.iinfo(y.dtype)
    parts: dict[Box, Tensor] = {Box.whole(x.shape): x}
    pieces = []
    for places in product(*map(range, factors)):
        box, target, weights = Box.whole(x.shape), Box.whole(y.shape), np.ones((1, 1), np.int64)
        for k, (axis, place) in enumerate(zip(axes, places, strict=True)):
            taps = np.flatnonzero(axis.weights[place])
            box = box.along(2 + k, range(taps[0], taps[-1] + space[k]))
            target = target.along(2 + k, range(place, y.shape[2 + k], axis.factor))
            line = axis.weights[place, taps]
            weights = weights * line if k == len(axes) - 1 else line[:, None]
        if box not in parts:
            name = context.names.fresh(y.name, "part")
            parts[box] = emit_part(context, node, x, replace(x, name=name), box=box)
        name = context.names.fresh(y.name, "place") if prod(factors) > 1 else y.name
        sums = replace(y, name=name, shape=whole.shape)
        _emit_sum(context, node, parts[box], sums, weights * times, scale64, bias, promise)
        pieces.append(Piece(
            sums, whole, target, np.float32(1), np.float64(1), int(info.min), int(info.max)
        ))
    if len(pieces) > 1:
        context.emit(MoveNode(node_name(node), node.op_type, tuple(pieces), y))
    return y


def _edged(
    context: Context, node: onnx.NodeProto, x: Tensor, axes: Sequence[_Linear], name: str
) -> Tensor:
    """Return the image with the pixels before and behind it that count: those of its edge."""
    box = Box.whole(x.shape)
    for place, axis in enumerate(axes, 2):
        around = np.arange(axis.first, x.shape[place] + axis.last)
        box = box.along(place, tuple(np.clip(around, 0, x.shape[place] - 1).tolist()))
    if all(axis.factor == 1 for axis in axes):
        return x
    edged = context.names.fresh(name, "edge")
    return emit_part(context, node, x, replace(x, name=edged), box=box)


def _emit_sum(
    context: Context, node: onnx.NodeProto, x: Tensor, y: Tensor, weights: NDArray[np.int64],
    scale64: float, bias: int, promise: Promise,
) -> None:
    """Emit sums of neighbours, of each channel by itself."""
    channels, info = x.shape[1], np.iinfo(y.dtype)
    zero = -128 if weights.max() > 127 else 0
    scale = np.full(channels, scale64)
    check_scale(scale.astype(np.float32), "input scale / (output scale * unit of the weights)")
    context.emit(ConvNode(
        name=node_name(node), op="Resize", x=x, y=y,
        weights=np.tile((weights + zero).astype(np.int8), (channels, 1, 1, 1)),
        weight_zero=np.full(channels, zero, np.int16), bias=np.full(channels, bias, np.int32),
        scale=scale.astype(np.float32), scale64=scale, groups=channels, strides=(1, 1),
        pads=(0, 0, 0, 0), dilations=(1, 1), low=int(info.min), high=int(info.max),
        promise=promise,
    ))


def _nearest(
    context: Context, node: onnx.NodeProto, shape: Shape
) -> Iterator[tuple[str, Box | Picked]]:
    given = attributes(node)
    _COORDINATES.check(where=given.get(COORDINATE, ""))
    yield from elements(context, node, shape)


def _is_linear(_context: Context, node: onnx.NodeProto) -> bool:
    return attributes(node).get("mode", "nearest") in ("linear", "cubic")


def _is_float_linear(context: Context, node: onnx.NodeProto) -> bool:
    return _is_linear(context, node) and first_is_float(context, node)


OPERATORS = (
    Operator(
        "Resize",
        (
            Form("float", ("Resize",), "golden", float_linear, _is_float_linear),
            Form("QOperator", ("Resize",), "golden", linear, _is_linear),
            Form("QDQ", ("Resize",), "runtime", float_parts(_nearest), first_is_float),
            Form("QOperator", ("Resize",), "runtime", parts(_nearest)),
        ),
        "",
        (_MODE, _COORDINATES, *MAP_LIMITS, QUANTIZED, FIRST, LAST),
        "nearest: by any factors along any axes, all ways to say which element that is; linear and "
        "cubic: by any factors, in all ways, runtime-exact where codes are uint8 and factors 1, 2 "
        "or 4; golden-exact, noted, where 8 bits between two axes are too few for one code",
        ("tests/compiler/test_resize.py", "tests/compiler/test_linear_map.py"),
    ),
)
