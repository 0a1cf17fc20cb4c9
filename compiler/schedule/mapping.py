# SPDX-License-Identifier: Apache-2.0
"""Graph nodes as contractions: which image, which window, which requantization."""

import numpy as np

from kiwicha.compiler.graph.graph import ConvNode, DynamicLinearNode, MatMulNode, PoolNode, Tensor
from kiwicha.compiler.schedule.contraction import Contraction, Dynamic, Place
from kiwicha.errors import KiwichaError
from kiwicha.machine.isa import Reduction
from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.scales import encode_scale

__all__ = ["TALLEST", "contraction", "dynamic_contraction"]

TALLEST = 32767  # rows that the address generator's signed row counter reaches


def _fold(images: int, height: int, width: int, name: str, op: str) -> tuple[int, int, int]:
    """Where a window sees one pixel only, images are just more rows; else check the limit."""
    if images * height <= TALLEST:
        return 1, images * height, width
    if height > TALLEST:
        raise KiwichaError(f"{name} ({op}): {height} rows; the machine counts to {TALLEST}")
    return images, height, width


def _places(
    node: ConvNode | PoolNode | MatMulNode, x_address: int, y_address: int
) -> tuple[Place, Place]:
    if isinstance(node, MatMulNode):
        depth, outputs = node.weights.shape
        shape = _fold(1, node.rows, 1, node.name, node.op)
        return Place(x_address, *shape, depth), Place(y_address, *shape, outputs)

    def image(tensor: Tensor, address: int, fold: bool) -> Place:
        count, channels, height, width = tensor.image
        if fold:
            count, height, width = _fold(count, height, width, node.name, node.op)
        elif height > TALLEST:
            raise KiwichaError(
                f"{node.name} ({node.op}): {height} rows; the machine counts to {TALLEST}"
            )
        return Place(address, count, height, width, channels)

    pointwise = node.kernel == (1, 1) and node.strides == (1, 1) and not any(node.pads)
    return image(node.x, x_address, pointwise), image(node.y, y_address, pointwise)


def contraction(
    node: ConvNode | PoolNode | MatMulNode, x_address: int, y_address: int, mode: RequantizeMode
) -> Contraction:
    """Return ``node`` as work for the array.

    Raises
    ------
    KiwichaError
        When a scale has no encoding in ``mode``, or the tensor is too tall.
    """
    x, y = _places(node, x_address, y_address)
    try:
        multiplier, shift = encode_scale(mode, node.scale, node.scale64)
    except ValueError as error:
        raise KiwichaError(f"{node.name} ({node.op}): {error}") from None
    outputs = y.channels
    weights: np.ndarray | None
    weight_zero: np.ndarray
    bias: np.ndarray
    if isinstance(node, PoolNode):
        weights, groups = None, 1
        weight_zero = bias = np.zeros(outputs, np.int32)
    elif isinstance(node, MatMulNode):
        weights, groups = node.weights[node.order].T[:, None, None, :], 1
        weight_zero, bias = node.weight_zero, node.bias
    else:
        weights, groups = node.weights.transpose(0, 2, 3, 1), node.groups
        weight_zero, bias = node.weight_zero, node.bias
    window = (
        ((1, 1), (1, 1), (0, 0), (1, 1))
        if isinstance(node, MatMulNode)
        else (node.kernel, node.strides, node.pads[:2], node.dilations)
    )
    kernel, strides, pads, dilations = window
    reduction, pad = Reduction.SUM, 0
    if isinstance(node, PoolNode) and node.reduction is Reduction.MAX:
        reduction, pad = Reduction.MAX, int(np.iinfo(node.x.dtype).min) - node.x.zero_point
    return Contraction(
        name=node.name,
        op=node.op,
        x=x,
        y=y,
        kernel=kernel,
        strides=strides,
        pads=(pads[0], pads[1]),
        dilations=dilations,
        groups=groups,
        weights=weights,
        weight_zero=np.broadcast_to(weight_zero, outputs),
        bias=np.broadcast_to(bias, outputs),
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


def dynamic_contraction(node: DynamicLinearNode, x_address: int, y_address: int) -> Contraction:
    """Return a linear layer with dynamic scales as work for the array.

    Raises
    ------
    KiwichaError
        When it has too many rows.
    """
    depth, outputs = node.weights.shape
    shape = _fold(1, node.rows, 1, node.name, node.op)
    raw = node.target is None
    none = np.zeros(outputs, np.float32)
    return Contraction(
        name=node.name,
        op=node.op,
        x=Place(x_address, *shape, depth),
        y=Place(y_address, *shape, outputs),
        kernel=(1, 1),
        strides=(1, 1),
        pads=(0, 0),
        dilations=(1, 1),
        groups=1,
        weights=node.weights.T[:, None, None, :],
        weight_zero=node.weight_zero,
        bias=(none if raw else node.bias).view(np.int32),
        multiplier=(none if raw else node.w_scale).view(np.uint32),
        shift=np.zeros(outputs, np.int64),
        x_signed=False,
        x_zero=0,
        pad=0,
        y_zero=0,
        low=0,
        high=255,
        dynamic=Dynamic(node.slot, node.target, node.relu),
    )
