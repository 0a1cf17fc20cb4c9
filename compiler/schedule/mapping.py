# SPDX-License-Identifier: Apache-2.0
"""Graph nodes as contractions: which image, which window, which requantization."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import (
    ConvNode,
    ConvTransposeNode,
    DynamicConvNode,
    DynamicScaleNode,
    MatMulNode,
    PoolNode,
    Tensor,
)
from kiwicha.compiler.graph.training_nodes import TunedConvNode, TunedProductNode
from kiwicha.compiler.schedule.contraction import Contraction, Place
from kiwicha.compiler.schedule.windows import Windows
from kiwicha.errors import KiwichaError
from kiwicha.machine.away import encode_division, encode_product
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Reduction
from kiwicha.machine.scales import encode_scale

__all__ = [
    "TALLEST", "contraction", "conv_contractions", "conv_work", "fold", "image_place",
    "matmul_contractions", "pool_contractions", "pooled_contraction",
]

_Scaled = (
    ConvNode | ConvTransposeNode | MatMulNode | PoolNode | TunedConvNode | TunedProductNode
)

TALLEST = 32767  # rows that the address generator's signed row counter reaches


def conv_contractions(
    node: ConvNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return a convolution as work for the array.

    Raises
    ------
    KiwichaError
        When a scale has no encoding in the machine's mode, or the tensor is too tall.
    """
    return [conv_work(node, *_images(node, addresses), config)]


def conv_work(node: ConvNode, x: Place, y: Place, config: AcceleratorConfig) -> Contraction:
    """Return a convolution between two places; raises as `conv_contractions`."""
    return contraction(
        node, x, y, config, node.scale, node.scale64, kernel=node.kernel, strides=node.strides,
        pads=node.pads[:2], dilations=node.dilations, groups=node.groups,
        weights=node.weights.transpose(0, 2, 3, 1), weight_zero=node.weight_zero, bias=node.bias,
    )


def pooled_contraction(
    node: ConvNode, pool: PoolNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> Contraction:
    """Return a convolution and the maximum of its results as one work; raises as
    `conv_contractions`."""
    x, y = image_place(node, node.x, addresses), image_place(pool, pool.y, addresses)
    low, high = (min(max(bound, pool.low), pool.high) for bound in (node.low, node.high))
    height, width = node.y.image[2:]
    windows = Windows(pool.kernel, pool.strides, pool.pads[:2], (height, width))
    return replace(conv_work(node, x, y, config), low=low, high=high, windows=windows)


def matmul_contractions(
    node: MatMulNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return a product with constant weights; raises as `conv_contractions`."""
    depth, outputs = node.weights.shape
    shape = fold(1, node.rows, 1, node.name, node.op)
    x = Place(addresses[node.x.name], *shape, depth)
    y = Place(addresses[node.y.name], *shape, outputs)
    return [contraction(
        node, x, y, config, node.scale, node.scale64,
        weights=node.weights[node.order].T[:, None, None, :], weight_zero=node.weight_zero,
        bias=node.bias,
    )]


def pool_contractions(
    node: PoolNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return a pooling, one for each rectangle of each image where scales differ; raises as
    `conv_contractions`."""
    x, y = _images(node, addresses)
    pad = 0
    if node.reduction is Reduction.MAX:
        pad = int(np.iinfo(node.x.dtype).min) - node.x.zero_point
    window: dict[str, Any] = {
        "kernel": node.kernel, "strides": node.strides, "dilations": node.dilations,
        "weights": None, "weight_zero": 0, "bias": 0, "pad": pad, "reduction": node.reduction,
    }
    top, left = node.pads[:2]
    scale, scale64 = np.asarray(node.scale), np.asarray(node.scale64)
    if scale.ndim == 0:
        parts = [(x, y)]
        if node.kernel == (x.height, x.width) and not any(node.pads):
            parts = _channel_parts(x, y, config)
            window |= {"kernel": (parts[0][0].height, parts[0][0].width)}
        return [
            contraction(node, part, result, config, scale, scale64, pads=(top, left), **window)
            for part, result in parts
        ]
    made = []
    for rows, columns in _rectangles(scale):
        corner = rows.start, columns.start
        # The input's origin is where the whole image's is, so that pads may be negative.
        pads = (top - rows.start * node.strides[0], left - columns.start * node.strides[1])
        first = rows.start * y.row_bytes + columns.start * y.channels
        for image in range(x.images):
            made.append(contraction(
                node,
                replace(x, address=x.address + image * x.image_bytes, images=1),
                replace(
                    y, address=y.address + image * y.image_bytes + first, images=1,
                    height=len(rows), width=len(columns), pitch=y.row_bytes,
                ),
                config, scale[corner], scale64[corner], pads=pads, **window,
            ))
    return made


def _channel_parts(
    x: Place, y: Place, config: AcceleratorConfig
) -> list[tuple[Place, Place]]:
    """Return a pooling of whole images as poolings of some of their channels each, where half of
    the activation memory does not hold all: pixels are rows then, with the others in between."""
    pixels, beat, lanes = x.height * x.width, config.beat_bytes, min(config.rows, config.columns)
    room = config.activation_bytes // 2 - 2 * beat
    most = (room // pixels - 3 * beat) // lanes * lanes
    if pixels * x.channels <= room or not 0 < most < x.channels or pixels > TALLEST:
        return [(x, y)]
    made = []
    for image, first in product(range(x.images), range(0, x.channels, most)):
        size = min(most, x.channels - first)
        start, end = image * x.image_bytes + first, image * y.image_bytes + first
        made.append((
            Place(x.address + start, 1, pixels, 1, size, x.channels),
            Place(y.address + end, 1, 1, 1, size, y.channels),
        ))
    return made


def _rectangles(scale: NDArray[np.float32]) -> Iterator[tuple[range, range]]:
    """Yield rows and columns of the rectangles between the lines where any scale changes."""
    row, column = (
        [0, *(np.flatnonzero(np.any(np.diff(scale, axis=axis), axis=1 - axis)) + 1),
         scale.shape[axis]]
        for axis in (0, 1)
    )
    for y0, y1 in zip(row, row[1:], strict=False):
        for x0, x1 in zip(column, column[1:], strict=False):
            yield range(int(y0), int(y1)), range(int(x0), int(x1))


def _images(node: ConvNode | PoolNode, addresses: Mapping[str, int]) -> tuple[Place, Place]:
    """Return where input and output lie."""
    pointwise = node.kernel == (1, 1) and node.strides == (1, 1) and not any(node.pads)
    x, y = (image_place(node, tensor, addresses, pointwise) for tensor in (node.x, node.y))
    return x, y


def image_place(
    node: ConvNode | ConvTransposeNode | DynamicConvNode | DynamicScaleNode | PoolNode
    | TunedConvNode,
    tensor: Tensor, addresses: Mapping[str, int], pointwise: bool = False,
) -> Place:
    """Return where an image lies; raises as `conv_contractions`.

    Parameters
    ----------
    pointwise : a window sees one pixel only, so that images are just more rows.
    """
    count, channels, height, width = tensor.image
    if pointwise:
        count, height, width = fold(count, height, width, node.name, node.op)
    elif height > TALLEST:
        raise KiwichaError(
            f"{node.name} ({node.op}): {height} rows; the machine counts to {TALLEST}"
        )
    return Place(addresses[tensor.name], count, height, width, channels)


def fold(images: int, height: int, width: int, name: str, op: str) -> tuple[int, int, int]:
    """Where a window sees one pixel only, images are just more rows; else check the limit."""
    if images * height <= TALLEST:
        return 1, images * height, width
    pieces = -(-height // TALLEST)
    while height % pieces:
        pieces += 1
    if height > TALLEST and pieces == height:
        raise KiwichaError(f"{name} ({op}): {height} rows; the machine counts to {TALLEST}")
    return images * pieces, height // pieces, width


def contraction(
    node: _Scaled,
    x: Place,
    y: Place,
    config: AcceleratorConfig,
    scale: Any,
    scale64: Any,
    *,
    weights: NDArray[Any] | None,
    weight_zero: Any,
    bias: Any,
    kernel: tuple[int, int] = (1, 1),
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int] = (0, 0),
    dilations: tuple[int, int] = (1, 1),
    groups: int = 1,
    pad: int = 0,
    reduction: Reduction = Reduction.SUM,
) -> Contraction:
    """Return a layer between two places, requantized as ``node`` says; raises as
    `conv_contractions`."""
    try:
        multiplier, shift = _encoded(node, config, scale, scale64)
    except ValueError as error:
        raise KiwichaError(f"{node.name} ({node.op}): {error}") from None
    outputs = y.channels
    return Contraction(
        name=node.name,
        op=node.op,
        x=x,
        y=y,
        kernel=kernel,
        strides=strides,
        pads=pads,
        dilations=dilations,
        groups=groups,
        weights=weights,
        weight_zero=np.broadcast_to(np.asarray(weight_zero, np.int32), outputs),
        bias=np.broadcast_to(np.asarray(bias, np.int32), outputs),
        multiplier=np.broadcast_to(np.asarray(multiplier, np.uint32), outputs),
        shift=np.broadcast_to(np.asarray(shift, np.int64), outputs),
        x_signed=node.x.dtype == np.int8,
        x_zero=node.x.zero_point,
        pad=pad,
        y_zero=node.y.zero_point,
        low=node.low,
        high=node.high,
        reduction=reduction,
    )


def _encoded(
    node: _Scaled, config: AcceleratorConfig,
    scale: Any, scale64: Any,
) -> tuple[Any, Any]:
    """Return multiplier and shift; raises ValueError where there are none."""
    if not isinstance(node, MatMulNode | PoolNode) or not node.away:
        return encode_scale(config.requantize_mode, scale, scale64)
    low, high = node.low - node.y.zero_point, node.high - node.y.zero_point
    if isinstance(node, PoolNode):
        return encode_division(config.requantize_mode, scale64, low, high)
    return encode_product(config.requantize_mode, scale64, low, high, node.furthest)
