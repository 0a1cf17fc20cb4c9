# SPDX-License-Identifier: Apache-2.0
"""Graphs in which some layers' results are quantized by blocks, because the user named them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf

import numpy as np

from kiwicha.compiler.frontend.names import Names
from kiwicha.compiler.graph.blocks import BlocksNode, HostBlockDequantize, Linear
from kiwicha.compiler.graph.chosen import chosen_layers
from kiwicha.compiler.graph.graph import (
    ConvNode,
    DynamicConvNode,
    DynamicLinearNode,
    Graph,
    HostDequantize,
    HostDynamicDequantize,
    HostOperators,
    HostReal,
    HostSums,
    MatMulNode,
    MoveNode,
    Node,
    PoolNode,
    ProductNode,
    Tensor,
    ViewNode,
)
from kiwicha.errors import KiwichaError
from kiwicha.machine.blocks import scale_bytes
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["with_blocks"]

_OPTION = "blocks"
_WIDEST = 65535  # channels that VECTOR can count on from pixel to pixel


def with_blocks(graph: Graph, asked: Sequence[str], config: AcceleratorConfig) -> Graph:
    """Return ``graph`` with the layers that are ``asked`` for quantized by blocks.

    Raises
    ------
    KiwichaError
        Where the machine has no blocks, or a layer cannot have them; names it and says why.
    """
    if not asked:
        return graph
    if not config.blocks.channels:
        raise KiwichaError(
            f"{_OPTION} of '{asked[0]}': the machine makes none, its blocks.channels is 0"
        )
    nodes, edges = list(graph.nodes), list(graph.dequantize)
    names = Names()
    names.take(graph.tensors)
    for node in chosen_layers(graph, asked, _OPTION):
        try:
            linear, wanted = _linear(node, config), _edges(graph, node)
        except _Obstacle as reason:
            raise KiwichaError(f"{_OPTION}: '{node.name}' ({node.op}) {reason}") from None
        made = _blocks(linear, config, names)
        dropped = {id(view) for _, views in wanted for view in views}
        nodes = [made if other is node else other for other in nodes if id(other) not in dropped]
        for edge, views in wanted:
            edges[edges.index(edge)] = _edge(made, edge, views)
    return replace(graph, nodes=tuple(nodes), dequantize=tuple(edges))


class _Obstacle(Exception):
    """Why a layer cannot have blocks."""


def _linear(node: Node, config: AcceleratorConfig) -> Linear:
    if isinstance(node, ViewNode):
        raise _Obstacle("moves no data: it has no sums")
    if isinstance(node, PoolNode | MoveNode):
        raise _Obstacle("takes codes to codes: it has no sums")
    if isinstance(node, ProductNode):
        raise _Obstacle("multiplies two activations; blocks are for constant weights")
    if not isinstance(node, ConvNode | MatMulNode | DynamicLinearNode):
        raise _Obstacle("is computed by SPECIAL; blocks are what VECTOR makes of sums")
    if isinstance(node, DynamicConvNode):
        raise _Obstacle("is a convolution quantized dynamically; blocks are for products then")
    if isinstance(node, DynamicLinearNode) and node.target is not None:
        raise _Obstacle("is quantized by its whole range, which another layer reads")
    if isinstance(node, DynamicLinearNode) and node.real:
        raise _Obstacle("has values in binary32 that another layer reads")
    if config.blocks.random and _channels(node) > _WIDEST:
        raise _Obstacle(f"has {_channels(node)} channels; with random rounding, {_WIDEST} at most")
    return node


def _edges(
    graph: Graph, node: Node
) -> list[tuple[HostDequantize | HostDynamicDequantize, tuple[ViewNode, ...]]]:
    """Return what the host makes of a node's result, and the views that are between.

    Raises
    ------
    _Obstacle
        Where somebody else reads it.
    """
    outputs = {value.name for value in graph.outputs}
    found: list[tuple[HostDequantize | HostDynamicDequantize, tuple[ViewNode, ...]]] = []
    for name, views in _names(graph, node):
        if name in outputs:
            raise _Obstacle(f"makes graph output '{name}', whose codes have one scale")
        for edge in graph.dequantize:
            if name not in {tensor.name for tensor in edge.tensors}:
                continue
            assert not isinstance(edge, HostBlockDequantize)
            if isinstance(edge, HostOperators):
                raise _Obstacle(f"is read by the host, which makes '{edge.target}' of its codes")
            if isinstance(edge, HostDynamicDequantize) and edge.then is not None:
                what = ", ".join(edge.then.operators)
                raise _Obstacle(f"is read by the host, which computes {what} of its values")
            if isinstance(edge, HostReal):
                raise _Obstacle(f"is read by the host in binary32, graph output '{edge.target}'")
            if isinstance(edge, HostSums):
                raise _Obstacle(f"makes integer sums, graph output '{edge.target}'")
            if isinstance(edge, HostDequantize):
                _check(edge, node.y)
            found.append((edge, views))
    return found


def _names(graph: Graph, node: Node) -> Iterator[tuple[str, tuple[ViewNode, ...]]]:
    """Yield the names under which a node's result is known, and the views that lead there."""
    reached: list[tuple[str, tuple[ViewNode, ...]]] = [(node.y.name, ())]
    for name, views in reached:
        yield name, views
        for reader in graph.nodes:
            if name not in {tensor.name for tensor in reader.inputs}:
                continue
            if not isinstance(reader, ViewNode):
                raise _Obstacle(f"is read by '{reader.name}', which takes codes of one scale")
            reached.append((reader.y.name, (*views, reader)))


def _check(edge: HostDequantize, y: Tensor) -> None:
    if edge.values is not None:
        raise _Obstacle(f"makes '{edge.target}' by a function that is tabulated code by code")
    if (edge.tensor.scale, edge.tensor.zero_point) != (y.scale, y.zero_point):
        raise _Obstacle(f"makes '{edge.target}' with another scale or zero point than its own")


def _channels(linear: Linear) -> int:
    if isinstance(linear, ConvNode):
        return linear.weights.shape[0]
    return linear.weights.shape[1]


def _blocks(linear: Linear, config: AcceleratorConfig, names: Names) -> BlocksNode:
    channels = _channels(linear)
    y = replace(linear.y, dtype=np.dtype(np.int8), scale=np.float32(1), zero_point=0)
    if isinstance(linear, DynamicLinearNode):
        y = replace(y, shape=(linear.rows, channels))
    shape = (y.size // channels, -(-channels // config.blocks.channels), scale_bytes(config))
    scales = Tensor(
        names.fresh(y.name, "scales"), shape, np.dtype(np.uint8), np.float32(1), 0
    )
    return BlocksNode(linear.name, f"{linear.op} by blocks", linear, y, scales, config)


def _edge(
    made: BlocksNode,
    edge: HostDequantize | HostDynamicDequantize,
    views: tuple[ViewNode, ...],
) -> HostBlockDequantize:
    linear, low, high = made.linear, -inf, inf
    factor = np.ones(1)
    if not isinstance(linear, DynamicLinearNode):
        step, zero = float(linear.y.scale), linear.y.zero_point
        factor = linear.scale64 * step
        # The ends of the codes may be all that is left of a Relu or Clip.
        low, high = (linear.low - zero) * step, (linear.high - zero) * step
    sums = edge if isinstance(edge, HostDynamicDequantize) else None
    return HostBlockDequantize(
        edge.name, made.y, made.scales, made.config, edge.target, factor, low, high, sums, views,
        edge.shape,
    )
