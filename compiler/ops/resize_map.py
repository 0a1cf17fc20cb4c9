# SPDX-License-Identifier: Apache-2.0
"""Resize, linear or cubic, by any factors and with any coordinates: a product with its matrix,
small images in one, others along one axis after the other with 8 bits between them."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Shape, Tensor
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.linear_map import (
    SIZE,
    LinearMap,
    emit_maps,
    finish_map,
    mapped_shape,
    runtime_map,
)
from kiwicha.compiler.ops.own_scale import in_codes

__all__ = ["COORDINATE", "LIMITS", "float_map", "map_codes", "resize_factors"]

COORDINATE = "coordinate_transformation_mode"
_SMALL = 1 << 16
"""Weights of a product for all axes at once."""
_BATCH = Limit("resizes axis 0; transpose its input", lambda axes: 0 not in axes)
LIMITS = (SIZE, _BATCH)


def resize_factors(context: Context, node: onnx.NodeProto, shape: Shape) -> list[float]:
    """Return the factor of each axis as the node says it."""
    rank = len(shape)
    factors = [1.0] * rank
    axes = _told(node, rank)
    if len(node.input) > 3 and node.input[3]:
        for axis, size in zip(axes, context.constant(node, 3, "sizes"), strict=True):
            factors[axis] = int(size) / shape[axis]
    else:
        place = 1 if len(node.input) == 2 else 2  # opset 10 has no roi
        for axis, scale in zip(axes, context.constant(node, place, "scales"), strict=True):
            factors[axis] = float(scale)
    return factors


def _told(node: onnx.NodeProto, rank: int) -> list[int]:
    return [int(axis) % rank for axis in attributes(node).get("axes", range(rank))]


def float_map(context: Context, node: onnx.NodeProto) -> None:
    """Of a float value, the first operation on it; nothing is emitted before the QuantizeLinear."""
    value = in_codes(context, node, node.input[0])
    maps, shape = _maps(context, node, value.shape), value.shape

    def finish(
        context: Context, end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
        target: Tensor,
    ) -> None:
        finish_map(context, end, x, operations, target, maps)

    for made in maps:
        shape = mapped_shape(shape, made)
    done = FloatOp("average", node, shape, finish=finish)
    context.floats[node.output[0]] = FloatValue(value.origin, (done,))


def map_codes(context: Context, node: onnx.NodeProto, x: Tensor) -> None:
    """Of codes, which ONNX Runtime interpolates in float and cuts off towards 0: so are those of
    uint8 here, those of int8 are rounded."""
    raw = replace(x, scale=np.float32(1), zero_point=0)
    maps = _maps(context, node, x.shape)
    made = emit_maps(
        context, node, raw, replace(raw, name=node.output[0]), maps, lost=0.5,
        lower=0.5 if x.dtype == np.uint8 else 0,
    )
    context.tensors[made.name] = replace(made, scale=x.scale, zero_point=x.zero_point)


def _maps(context: Context, node: onnx.NodeProto, shape: Shape) -> list[LinearMap]:
    """Return the product for all axes that are resized, or one for each of them."""
    given = attributes(node)
    factors = resize_factors(context, node, shape)
    cropped = given.get(COORDINATE) == "tf_crop_and_resize"
    stretched = given.get("keep_aspect_ratio_policy", "stretch") == "stretch"
    axes = tuple(
        axis for axis, factor in enumerate(factors)
        if factor != 1 or (cropped and axis > 1 and axis in _told(node, len(shape)))
    )
    _BATCH.check(axes=axes)
    length = prod(shape[axis] for axis in axes)
    weights = length * prod(int(shape[axis] * factors[axis]) for axis in axes)
    if weights <= _SMALL or cropped or not stretched or len(axes) < 2:
        SIZE.check(entries=weights)
        return [_map(context, node, shape, axes)]
    made = []
    for axis in axes:
        made.append(_map(context, node, shape, (axis,)))
        shape = mapped_shape(shape, made[-1])
    return made


def _map(
    context: Context, node: onnx.NodeProto, shape: Shape, axes: tuple[int, ...]
) -> LinearMap:
    """Return the product for some axes; the others are as if they stayed."""
    told = _told(node, len(shape))
    values: dict[str, NDArray[Any]] = {}
    if len(node.input) > 3 and node.input[3]:
        sizes = context.constant(node, 3, "sizes").copy()
        for place, axis in enumerate(told):
            if axis not in axes:
                sizes[place] = prod(shape[a] for a in axes) + 1 if axis == 0 else 1
        values[node.input[3]] = sizes
    else:
        place = 1 if len(node.input) == 2 else 2
        scales = context.constant(node, place, "scales").copy()
        scales[[place for place, axis in enumerate(told) if axis not in axes]] = 1
        values[node.input[place]] = scales
    return runtime_map(context, node, shape, axes, values)
