# SPDX-License-Identifier: Apache-2.0
"""A quantized model as a step of training: its own forward pass, and backward rules behind it.

The forward pass is the model's, in the runtime's arithmetic, but that the weights which change are
tensors. Errors and gradients are `golden.niti`'s; scales stay as they are, so that a step of a
weight is a step of its code. Errors pass where a result is above the bounds that it was clamped to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.chosen import split_names
from kiwicha.compiler.graph.graph import (
    Box,
    ConvNode,
    Graph,
    HostDequantize,
    MatMulNode,
    MoveNode,
    Node,
    Piece,
    PoolNode,
    TableNode,
    Value,
    ViewNode,
)
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.graph.tensor import Tensor
from kiwicha.compiler.graph.training import LABELS, LOGITS
from kiwicha.compiler.graph.training_nodes import (
    LIMIT,
    CrossEntropyNode,
    ShiftedProductNode,
    TunedProductNode,
)
from kiwicha.compiler.graph.tuning_images import (
    TunedLayer,
    conv_error,
    conv_gradient,
    kernels,
    natural_order,
    pixels,
    pool_error,
    refuse_image_layer,
    tuned_conv,
)
from kiwicha.errors import KiwichaError

__all__ = ["Tuning", "tunable", "tuning_graph"]

_SLOT, _LOSS = 0, 3


@dataclass(frozen=True, eq=False)
class Tuning:
    """Which layers of a model change, and which only pass errors on.

    Members
    -------
    path : layers from the first that changes to the last of the model, in order.
    names : of those that change.
    """

    path: tuple[TunedLayer, ...]
    names: tuple[str, ...]

    @property
    def weights(self) -> dict[str, NDArray[np.int8]]:
        """Of all on the path, in the order of memory: by the names of their tensors."""
        return {
            weights_of(node): kernels(node.weights) if isinstance(node, ConvNode)
            else node.weights[node.order]
            for node in self.path if not isinstance(node, PoolNode)
        }

    def in_model(self, name: str, weights: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return weights of a layer, by the name of their tensor, as the model has them."""
        node = next(node for node in self.path if weights_of(node) == name)
        if isinstance(node, ConvNode):
            return np.ascontiguousarray(weights.transpose(3, 0, 1, 2))
        assert isinstance(node, MatMulNode)
        made = np.empty_like(weights)
        made[node.order] = weights
        return made


def weights_of(node: TunedLayer) -> str:
    """Return the name of a layer's weights."""
    return f"{node.name}:weights"


def tunable(graph: Graph, layers: Sequence[str]) -> Tuning:
    """Return what of a model changes.

    Parameters
    ----------
    layers : ``last``, ``all`` (that have weights), or names.

    Raises
    ------
    KiwichaError
        Where a layer on the way from a named one to the output has no backward rule, or the model
        does not end in logits; names it.
    """
    _logits(graph)
    linear = [node for node in graph.nodes if isinstance(node, MatMulNode | ConvNode)]
    made = {node.y.name: node for node in graph.nodes}
    if not linear:
        raise KiwichaError("--layers: the model has no layer with weights")
    if list(layers) == ["last"]:
        wanted = {linear[-1].name}
    elif list(layers) == ["all"]:
        wanted = {node.name for node in graph.nodes if hasattr(node, "weights")}
    else:
        wanted = set(split_names(graph, layers))
    known = {node.name for node in graph.nodes}
    if unknown := sorted(wanted - known):
        raise KiwichaError(f"--layers: no layer is called '{unknown[0]}'")
    path, name = list[TunedLayer](), graph.dequantize[0].tensors[0].name
    while wanted:
        node = made.get(name)
        if node is None:
            raise KiwichaError(f"--layers: '{min(wanted)}' is not on the way to the output")
        if isinstance(node, MatMulNode):
            _require(graph, node)
        elif isinstance(node, ConvNode | PoolNode):
            refuse_image_layer(node)
        elif not isinstance(node, ViewNode):
            raise KiwichaError(f"{node.name} ({node.op}): has no backward rule")
        if isinstance(node, TunedLayer):
            path.append(node)
            wanted.discard(node.name)
        name = node.x.name
    own = [node.name for node in path if not isinstance(node, PoolNode)]
    names = layers if list(layers) not in (["last"], ["all"]) else own
    chosen = split_names(graph, names)
    return Tuning(tuple(path[::-1]), tuple(name for name in own[::-1] if name in chosen))


def _require(graph: Graph, node: MatMulNode) -> None:
    """Refuse a layer that has no backward rule as it is."""
    if node.weight_zero.any():
        raise KiwichaError(f"{node.name} ({node.op}): its weights have zero points; must be 0")
    if not natural_order(node, _source(graph, node.x)):
        raise KiwichaError(f"{node.name} ({node.op}): reads what lies in another order")
    if node.away:
        raise KiwichaError(f"{node.name} ({node.op}): rounds as TFLite does; has no backward rule")


def _source(graph: Graph, x: Tensor) -> Tensor:
    """Return what a tensor is a view of."""
    views = {node.y.name: node for node in graph.nodes if isinstance(node, ViewNode)}
    while x.name in views:
        x = views[x.name].x
    return x


def _logits(graph: Graph) -> HostDequantize:
    """Return the model's one output."""
    edges = graph.dequantize
    if len(edges) != 1 or not isinstance(edges[0], HostDequantize) or edges[0].values is not None:
        raise KiwichaError("the model's output is no one tensor of logits")
    return edges[0]


def tuning_graph(graph: Graph, tuning: Tuning, bits: int) -> Graph:
    """Return a step of a model that was lowered for the images of a step.

    Its inputs are the codes of the model's own input, labels, and weights.

    Raises
    ------
    KiwichaError
        For bits out of range; for a model of several inputs, or one that is not of codes.
    """
    if not 1 <= bits <= 7:
        raise KiwichaError(f"bits is {bits}; legal: 1 to 7")
    if len(graph.quantize) != 1 or len(graph.inputs) != 1:
        raise KiwichaError("the model must have one float input")
    images, edge = graph.quantize[0].tensor, _logits(graph)
    path = {node.name: node for node in tuning.path}
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(_tuned(path[node.name]) if node.name in path else node)
    codes = edge.tensor
    rows = codes.shape[-1]
    logits = Tensor(LOGITS, (codes.size // rows, rows), np.dtype(np.int8), np.float32(1), 0)
    labels = Tensor(LABELS, logits.shape[:1], np.dtype(np.uint8), np.float32(1), 0)
    nodes += [
        TableNode(f"{LOGITS}:centred", "table", codes, replace(logits, shape=codes.shape),
                  _centred(codes), promise="golden"),
        CrossEntropyNode(
            "loss", "cross entropy", logits, labels, replace(logits, name=f"{LOGITS}:e"), _SLOT,
            round(log2(float(codes.scale))),
        ),
    ]
    error = nodes[-1].y
    for place, node in reversed(list(enumerate(tuning.path))):
        after, source = error, _source(graph, node.x)
        if place:
            error = _error(nodes, tuning.path[:place], node, after)
        if node.name not in tuning.names:
            continue
        if isinstance(node, ConvNode):
            conv_gradient(nodes, node, _weights(node), after, _LOSS, bits)
        else:
            assert isinstance(node, MatMulNode)
            _gradient(nodes, node, source, after, bits)
    given = [Value(images.name, images.shape, images.dtype, True)]
    given += [Value(labels.name, labels.shape, labels.dtype)]
    given += [Value(t.name, t.shape, t.dtype) for t in _every(tuning)]
    made = (Value(LOGITS, logits.shape, logits.dtype),)
    return Graph(tuple(given), made, (), tuple(nodes), ())


def _every(tuning: Tuning) -> list[Tensor]:
    return [_weights(node) for node in tuning.path if not isinstance(node, PoolNode)]


def _weights(node: MatMulNode | ConvNode) -> Tensor:
    """Return the tensor of a layer's weights."""
    shape = node.weights.shape
    if isinstance(node, ConvNode):
        shape = (*shape[1:], shape[0])
    return Tensor(weights_of(node), shape, np.dtype(np.int8), np.float32(1), 0)


def _tuned(node: TunedLayer) -> Node:
    """Return a layer of the forward pass with weights that are a tensor."""
    if isinstance(node, PoolNode):
        return node
    if isinstance(node, ConvNode):
        return tuned_conv(node, _weights(node))
    order = None if np.array_equal(node.order, np.arange(len(node.order))) else node.order
    return TunedProductNode(
        node.name, node.op, node.x, _weights(node), node.y, node.bias, node.scale, node.scale64,
        node.low, node.high, node.promise, order,
    )


def _centred(codes: Tensor) -> NDArray[np.uint8]:
    """Return the table that takes the zero point off."""
    every = np.arange(256, dtype=np.uint8).view(codes.dtype).astype(np.int64)
    return np.clip(every - codes.zero_point, -LIMIT, LIMIT).astype(np.int8).view(np.uint8)


def _matrix(nodes: list[Node], name: str, x: Tensor, depth: int) -> Tensor:
    """Return the operand of a layer as rows of ``depth`` bytes, as they lie in memory."""
    if len(x.shape) == 4:
        x = pixels(nodes, x)
    y = replace(x, name=name, shape=(x.size // depth, depth), layout=ROW_MAJOR)
    nodes.append(ViewNode(name, "view", x, y, None, 0))
    return y


def _error(
    nodes: list[Node], path: tuple[TunedLayer, ...], node: TunedLayer, after: Tensor
) -> Tensor:
    """Append EB: the error of what the last of ``path`` makes, where that is above its bound; of
    an image as N H W C."""
    before = path[-1]
    if isinstance(node, PoolNode):
        # Where a maximum is not above the bound, its error is 0 already.
        return pool_error(nodes, node, after, _LOSS)
    passes = _passes(nodes, path)
    if isinstance(node, ConvNode):
        return conv_error(nodes, node, _weights(node), after, pixels(nodes, passes), _LOSS)
    weights, depth = _weights(node), node.weights.shape[0]
    turned = replace(
        weights, name=f"{weights.name}:turned", shape=weights.shape[::-1],
        layout=weights.layout.transposed((1, 0)),
    )
    nodes.append(ViewNode(turned.name, "view", weights, turned, (1, 0)))
    mask = _matrix(nodes, f"{before.name}:mask", passes, depth)
    error = Tensor(f"{before.name}:e", mask.shape, np.dtype(np.int8), np.float32(1), 0)
    nodes.append(ShiftedProductNode(
        name=f"{node.name}:EB", op="product", x=after, z=turned, y=error, target=_LOSS, mask=mask,
    ))
    if len(before.y.shape) != 4:
        return error
    n, c, h, w = before.y.shape
    image = replace(error, name=f"{before.name}:image:e", shape=(n, h, w, c))
    nodes.append(ViewNode(image.name, "view", error, image, None, 0))
    return image


def _passes(nodes: list[Node], path: tuple[TunedLayer, ...]) -> Tensor:
    """Append where the last result of ``path`` is above the bound that it was clamped to: 1."""
    y, low = path[-1].y, path[-1].low
    if isinstance(path[-1], PoolNode) and len(path) > 1:
        low = max(low, path[-2].low)
    low = max(low, np.iinfo(y.dtype).min)
    above = np.arange(256, dtype=np.uint8).view(y.dtype).astype(np.int64) > low
    name = f"{path[-1].name}:passes"
    passes = Tensor(name, y.shape, np.dtype(np.int8), np.float32(1), 0, y.layout)
    nodes.append(TableNode(
        f"{name}:EB", "table", y, passes, above.astype(np.uint8), promise="golden"
    ))
    return passes


def _gradient(
    nodes: list[Node], node: MatMulNode, source: Tensor, error: Tensor, bits: int
) -> None:
    """Append WG: the gradient of the weights, in their place."""
    x = node.x if len(source.shape) != 4 else source
    x = _matrix(nodes, f"{node.name}:read", x, node.weights.shape[0])
    turned = replace(
        x, name=f"{x.name}:turned", shape=x.shape[::-1], layout=x.layout.transposed((1, 0))
    )
    lanes = replace(turned, name=f"{node.name}:T", layout=ROW_MAJOR)
    info, box, unit = np.iinfo(x.dtype), Box.whole(turned.shape), np.float32(1)
    piece = Piece(turned, box, box, unit, np.float64(1), int(info.min), int(info.max))
    weights = _weights(node)
    nodes += [
        ViewNode(turned.name, "view", x, turned, (1, 0)),
        MoveNode(f"{node.name}:T", "copy", (piece,), lanes),
        ShiftedProductNode(
            name=f"{node.name}:WG", op="product", x=lanes, z=error,
            y=replace(weights, name=f"{node.name}:new"), target=_LOSS, bits=bits, gradient=True,
            updates=weights,
        ),
    ]
