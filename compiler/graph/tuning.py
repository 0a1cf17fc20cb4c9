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
    Graph,
    HostDequantize,
    MatMulNode,
    MoveNode,
    Node,
    Piece,
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

    path: tuple[MatMulNode, ...]
    names: tuple[str, ...]

    @property
    def weights(self) -> dict[str, NDArray[np.int8]]:
        """Of all on the path: by the names of their tensors."""
        return {weights_of(node): node.weights for node in self.path}


def weights_of(node: MatMulNode) -> str:
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
    linear = [node for node in graph.nodes if isinstance(node, MatMulNode)]
    made = {node.y.name: node for node in graph.nodes}
    if not linear:
        raise KiwichaError("--layers: the model has no fully connected layer")
    if list(layers) == ["last"]:
        wanted = {linear[-1].name}
    elif list(layers) == ["all"]:
        wanted = {node.name for node in graph.nodes if hasattr(node, "weights")}
    else:
        wanted = set(split_names(graph, layers))
    known = {node.name for node in graph.nodes}
    if unknown := sorted(wanted - known):
        raise KiwichaError(f"--layers: no layer is called '{unknown[0]}'")
    path, name = list[MatMulNode](), graph.dequantize[0].tensors[0].name
    while wanted:
        node = made.get(name)
        if node is None:
            raise KiwichaError(f"--layers: '{min(wanted)}' is not on the way to the output")
        if isinstance(node, MatMulNode):
            _require(node)
            path.append(node)
            wanted.discard(node.name)
        elif not isinstance(node, ViewNode):
            raise KiwichaError(f"{node.name} ({node.op}): has no backward rule")
        name = node.x.name
    names = layers if list(layers) not in (["last"], ["all"]) else [node.name for node in path]
    chosen = split_names(graph, names)
    return Tuning(tuple(path[::-1]), tuple(node.name for node in path[::-1] if node.name in chosen))


def _require(node: MatMulNode) -> None:
    """Refuse a layer that has no backward rule as it is."""
    if node.weight_zero.any():
        raise KiwichaError(f"{node.name} ({node.op}): its weights have zero points; must be 0")
    if len(np.unique(node.scale)) > 1:
        raise KiwichaError(f"{node.name} ({node.op}): has a scale for each channel; must have one")
    if not np.array_equal(node.order, np.arange(len(node.order))):
        raise KiwichaError(f"{node.name} ({node.op}): reads images; has no backward rule")
    if node.away:
        raise KiwichaError(f"{node.name} ({node.op}): rounds as TFLite does; has no backward rule")


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
        nodes.append(_tuned(node) if isinstance(node, MatMulNode) and node.name in path else node)
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
    for node, before in zip(tuning.path[::-1], [*tuning.path[-2::-1], None], strict=True):
        after = error
        if before is not None:
            error = _error(nodes, node, before, after)
        if node.name in tuning.names:
            _gradient(nodes, node, after, bits)
    given = [Value(images.name, images.shape, images.dtype, True)]
    given += [Value(labels.name, labels.shape, labels.dtype)]
    given += [Value(t.name, t.shape, t.dtype) for t in map(_weights, tuning.path)]
    made = (Value(LOGITS, logits.shape, logits.dtype),)
    return Graph(tuple(given), made, (), tuple(nodes), ())


def _weights(node: MatMulNode) -> Tensor:
    return Tensor(weights_of(node), node.weights.shape, np.dtype(np.int8), np.float32(1), 0)


def _tuned(node: MatMulNode) -> TunedProductNode:
    return TunedProductNode(
        node.name, node.op, node.x, _weights(node), node.y, node.bias, node.scale, node.scale64,
        node.low, node.high, node.promise,
    )


def _centred(codes: Tensor) -> NDArray[np.uint8]:
    """Return the table that takes the zero point off."""
    every = np.arange(256, dtype=np.uint8).view(codes.dtype).astype(np.int64)
    return np.clip(every - codes.zero_point, -LIMIT, LIMIT).astype(np.int8).view(np.uint8)


def _matrix(nodes: list[Node], name: str, x: Tensor, depth: int) -> Tensor:
    """Return the operand of a layer as rows of ``depth`` bytes."""
    y = replace(x, name=name, shape=(x.size // depth, depth), layout=ROW_MAJOR)
    nodes.append(ViewNode(name, "view", x, y, None, 0))
    return y


def _error(
    nodes: list[Node], node: MatMulNode, before: MatMulNode, after: Tensor
) -> Tensor:
    """Append EB: the error of what ``before`` makes, where that is above its lower bound."""
    weights, depth = _weights(node), node.weights.shape[0]
    turned = replace(
        weights, name=f"{weights.name}:turned", shape=weights.shape[::-1],
        layout=weights.layout.transposed((1, 0)),
    )
    nodes.append(ViewNode(turned.name, "view", weights, turned, (1, 0)))
    y = before.y
    low = max(before.low, np.iinfo(y.dtype).min)
    above = np.arange(256, dtype=np.uint8).view(y.dtype).astype(np.int64) > low
    passes = Tensor(f"{before.name}:passes", y.shape, np.dtype(np.int8), np.float32(1), 0, y.layout)
    nodes.append(TableNode(
        f"{before.name}:passes:EB", "table", y, passes, above.astype(np.uint8), promise="golden"
    ))
    mask = _matrix(nodes, f"{before.name}:mask", passes, depth)
    error = Tensor(f"{before.name}:e", mask.shape, np.dtype(np.int8), np.float32(1), 0)
    nodes.append(ShiftedProductNode(
        name=f"{node.name}:EB", op="product", x=after, z=turned, y=error, target=_LOSS, mask=mask,
    ))
    return error


def _gradient(nodes: list[Node], node: MatMulNode, error: Tensor, bits: int) -> None:
    """Append WG: the gradient of the weights, in their place."""
    x = _matrix(nodes, f"{node.name}:read", node.x, node.weights.shape[0])
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
