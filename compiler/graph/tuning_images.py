# SPDX-License-Identifier: Apache-2.0
"""Layers of images in a quantized model that is tuned: forward pass and backward rules.

Images are N C H W with channels last in memory; nodes of training have them as N H W C, and kernels
C R S O. Padding counts for the zero point, which is taken off.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import (
    AddNode,
    Box,
    ConvNode,
    MatMulNode,
    MoveNode,
    Node,
    Piece,
    PoolNode,
    ViewNode,
)
from kiwicha.compiler.graph.layout import ROW_MAJOR, channels_last
from kiwicha.compiler.graph.tensor import Tensor
from kiwicha.compiler.graph.training_nodes import ShiftedConvNode, ShiftedPoolNode, TunedConvNode
from kiwicha.errors import KiwichaError
from kiwicha.machine.isa import Reduction

__all__ = [
    "TunedLayer", "conv_error", "conv_gradient", "kernels", "natural_order", "pixels",
    "pool_error", "refuse_image_layer", "tuned_conv",
]

TunedLayer = MatMulNode | ConvNode | PoolNode

_HWC, _CRSO = (0, 2, 3, 1), (1, 2, 3, 0)


def refuse_image_layer(node: ConvNode | PoolNode) -> None:
    """Raise KiwichaError for a layer that has no backward rule as it is."""
    what = f"{node.name} ({node.op}):"
    if len(node.x.shape) != 4 or node.dilations != (1, 1):
        raise KiwichaError(f"{what} is no plain convolution or pooling of images")
    if isinstance(node, ConvNode):
        if node.groups != 1:
            raise KiwichaError(f"{what} has {node.groups} groups; must have one")
        if node.weight_zero.any():
            raise KiwichaError(f"{what} its weights have zero points; must be 0")
        return
    size = node.x.shape[2:]
    beside = node.kernel == node.strides and not any(node.pads)
    whole = all(size[k] % node.kernel[k] == 0 for k in (0, 1))
    if node.reduction != Reduction.MAX or not (beside and whole) or node.scale != 1 or node.away:
        raise KiwichaError(f"{what} is no maximum of windows side by side; has no backward rule")


def natural_order(node: MatMulNode, source: Tensor) -> bool:
    """Whether a layer takes the bytes of ``source`` as they lie in memory, its weights being
    ordered like that."""
    shape = source.shape
    if len(shape) != 4:
        return np.array_equal(node.order, np.arange(len(node.order)))
    if not source.layout.same(channels_last(4), shape) or shape[0] * len(node.order) != source.size:
        return False
    order = np.arange(len(node.order)).reshape(shape[1:]).transpose(1, 2, 0)
    return np.array_equal(node.order, order.reshape(-1))


def pixels(nodes: list[Node], x: Tensor) -> Tensor:
    """Return an image as N H W C, as its bytes lie in memory; the node is there once."""
    shape = tuple(x.shape[axis] for axis in _HWC)
    y = replace(x, name=f"{x.name}:pixels", shape=shape, layout=ROW_MAJOR)
    if all(node.y.name != y.name for node in nodes):
        nodes.append(ViewNode(y.name, "view", x, y, _HWC))
    return y


def tuned_conv(node: ConvNode, weights: Tensor) -> TunedConvNode:
    """Return the forward pass with weights that are a tensor."""
    return TunedConvNode(
        node.name, node.op, node.x, weights, node.y, node.bias, node.scale, node.scale64,
        node.strides, node.pads, node.low, node.high, node.promise,
    )


def conv_error(
    nodes: list[Node], node: ConvNode, weights: Tensor, after: Tensor, mask: Tensor, target: int
) -> Tensor:
    """Append EB: the error of what a convolution reads, N H W C, where ``mask`` is positive."""
    error = Tensor(f"{node.name}:back:e", mask.shape, np.dtype(np.int8), np.float32(1), 0)
    nodes.append(ShiftedConvNode(
        name=f"{node.name}:EB", op="convolution", x=after, z=weights, y=error, role="EB",
        kernel=node.kernel, strides=node.strides, pads=node.pads, target=target, mask=mask,
    ))
    return error


def conv_gradient(
    nodes: list[Node], node: ConvNode, weights: Tensor, error: Tensor, target: int, bits: int
) -> None:
    """Append WG: the gradient of a convolution's weights, in their place."""
    x, info = node.x, np.iinfo(node.x.dtype)
    planes = replace(x, name=f"{node.name}:T", layout=ROW_MAJOR)
    box, unit = Box.whole(x.shape), np.float32(1)
    piece = Piece(x, box, box, unit, np.float64(1), int(info.min), int(info.max))
    nodes += [
        MoveNode(planes.name, "copy", (piece,), planes),
        ShiftedConvNode(
            name=f"{node.name}:WG", op="convolution", x=planes, z=error, role="WG",
            kernel=node.kernel, strides=node.strides, pads=node.pads, target=target, bits=bits,
            gradient=True, y=replace(weights, name=f"{node.name}:new"), updates=weights,
        ),
    ]


def pool_error(nodes: list[Node], node: PoolNode, after: Tensor, target: int) -> Tensor:
    """Append EB of a maximum: each element that is its window's maximum has its error."""
    x = pixels(nodes, node.x)
    around = _spread(nodes, node, pixels(nodes, node.y), x)
    winners = replace(x, name=f"{node.name}:winners", scale=np.float32(1), zero_point=1)
    nodes.append(AddNode(
        f"{winners.name}:EB", "equal", replace(x, scale=np.float32(1)),
        replace(around, scale=np.float32(-1)), winners, 0, 1, promise="golden",
    ))
    spread = _spread(nodes, node, after, x)
    error = replace(spread, name=f"{node.name}:back:e")
    nodes.append(ShiftedPoolNode(
        name=f"{node.name}:EB", op="maximum", x=spread, y=error, kernel=(1, 1), target=target,
        mask=winners,
    ))
    return error


def _spread(nodes: list[Node], node: PoolNode, small: Tensor, large: Tensor) -> Tensor:
    """Append the copy of what belongs to a window to each place of it."""
    y = replace(small, name=f"{small.name}:spread", shape=large.shape)
    axes: list[range | list[int]] = [range(length) for length in small.shape]
    for axis, times in zip((1, 2), node.kernel, strict=True):
        axes[axis] = [place // times for place in range(large.shape[axis])]
    info = np.iinfo(small.dtype)
    piece = Piece(
        small, Box(tuple(axes)), Box.whole(y.shape), np.float32(1), np.float64(1), int(info.min),
        int(info.max),
    )
    nodes.append(MoveNode(f"{y.name}:EB", "copy", (piece,), y))
    return y


def kernels(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return kernels as nodes of training have them."""
    return np.ascontiguousarray(weights.transpose(_CRSO))
