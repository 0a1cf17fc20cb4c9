# SPDX-License-Identifier: Apache-2.0
"""A step of training as a graph: forward pass, loss, and what the backward rules of its layers add.

After NITI (arXiv 2009.13108), whose arithmetic is `golden.niti`'s. FP is the forward pass, EB the
errors of a layer's inputs, WG the gradients of its weights, as in Cambricon-Q. Weights lie in
memory as inputs x outputs, and all three are products of the same array: x W, e W^T and x^T e, of
which W^T is W read by columns.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from kiwicha.compiler.graph.graph import Box, Graph, MoveNode, Node, Piece, Value, ViewNode
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.graph.tensor import Shape, Tensor
from kiwicha.compiler.graph.training_nodes import LIMIT, CrossEntropyNode, ShiftedProductNode
from kiwicha.errors import KiwichaError

__all__ = ["IMAGES", "LABELS", "LOGITS", "Linear", "Network", "training_graph"]

IMAGES, LABELS, LOGITS = "images", "labels", "logits"
"""Names of a step's inputs, and of the output that they are compared with."""

_INPUT, _LOSS = 0, 3  # slots: of the images' exponent; of errors and gradients, which nobody reads


@dataclass(frozen=True)
class Linear:
    """A fully connected layer, without bias.

    Members
    -------
    inputs, outputs : of weights int8 [inputs, outputs], called ``name``.
    exponent : of the weights.
    relu : whether negative results become 0.
    """

    name: str
    inputs: int
    outputs: int
    exponent: int
    relu: bool = False


@dataclass(frozen=True)
class Network:
    """Layers one after the other; the last one's results are logits.

    Members
    -------
    exponent : of the images, int8.
    """

    name: str
    layers: tuple[Linear, ...]
    exponent: int = -7

    def __post_init__(self) -> None:
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.outputs != after.inputs:
                raise KiwichaError(
                    f"{after.name}: takes {after.inputs} inputs; {before.name} has {before.outputs}"
                )


def training_graph(network: Network, batch: int, bits: int) -> Graph:
    """Return a step: images and labels in, weights updated in their places.

    Parameters
    ----------
    batch : images of a step, at least 1.
    bits : that gradients keep, 1 to 7: the learning rate.

    Raises
    ------
    KiwichaError
        For a batch or bits out of range; for more classes than a label can name.
    """
    if batch < 1:
        raise KiwichaError(f"batch is {batch}; legal: at least 1")
    if not 1 <= bits <= 7:
        raise KiwichaError(f"bits is {bits}; legal: 1 to 7")
    if (classes := network.layers[-1].outputs) > 256:
        raise KiwichaError(f"{network.layers[-1].name}: {classes} classes; legal: 1 to 256")
    tape = _Tape(network, batch, bits)
    tape.forward()
    tape.backward()
    x, labels = tape.images, tape.labels
    given = [Value(x.name, x.shape, x.dtype, True), Value(labels.name, labels.shape, labels.dtype)]
    weights = [tape.weights(layer) for layer in network.layers]
    given += [Value(each.name, each.shape, each.dtype) for each in weights]
    made = [Value(LOGITS, tape.logits.shape, tape.logits.dtype)]
    return Graph(tuple(given), tuple(made), (), tuple(tape.nodes), ())


@dataclass
class _Tape:
    """Nodes as they come, and what each layer read."""

    network: Network
    batch: int
    bits: int
    nodes: list[Node] = field(default_factory=list)
    read: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.images = _tensor(IMAGES, (self.batch, self.network.layers[0].inputs))
        self.labels = replace(_tensor(LABELS, (self.batch,)), dtype=np.dtype(np.uint8))
        self.logits = self.images

    def weights(self, layer: Linear) -> Tensor:
        """The weights of a layer."""
        return _tensor(layer.name, (layer.inputs, layer.outputs))

    def forward(self) -> None:
        """Append FP and the loss."""
        x, slot = self.images, _INPUT
        for index, layer in enumerate(self.network.layers):
            last = layer is self.network.layers[-1]
            target = 1 + index % 2
            y = _tensor(LOGITS if last else f"{layer.name}:y", (self.batch, layer.outputs))
            self.nodes.append(ShiftedProductNode(
                f"{layer.name}:FP", "product", x, self.weights(layer), y, layer.exponent,
                None if index else self.network.exponent, slot, target,
                low=0 if layer.relu else -LIMIT,
            ))
            self.read[layer.name] = x
            x, slot = y, target
        self.logits = x
        self.nodes.append(CrossEntropyNode(
            "loss", "cross entropy", x, self.labels, _tensor("logits:e", x.shape), slot
        ))

    def backward(self) -> None:
        """Append EB and WG of each layer, the last one first: its weights are read before."""
        error = self.nodes[-1].y
        for layer, before in zip(
            self.network.layers[::-1], [*self.network.layers[-2::-1], None], strict=True
        ):
            x, after = self.read[layer.name], error
            if before is not None:
                error = self._error(layer, before, x, after)
            self._gradient(layer, x, after)

    def _error(self, layer: Linear, before: Linear, x: Tensor, e: Tensor) -> Tensor:
        y = _tensor(f"{before.name}:e", x.shape)
        self.nodes.append(ShiftedProductNode(
            f"{layer.name}:EB", "product", e, self._turned(self.weights(layer)), y, target=_LOSS,
            mask=x if before.relu else None,
        ))
        return y

    def _gradient(self, layer: Linear, x: Tensor, e: Tensor) -> None:
        turned, weights = self._turned(x), self.weights(layer)
        lanes = _tensor(f"{x.name}:T", turned.shape)
        box, unit = Box.whole(lanes.shape), np.float32(1)
        piece = Piece(turned, box, box, unit, np.float64(1), -128, LIMIT)
        self.nodes.append(MoveNode(f"{layer.name}:T", "transpose", (piece,), lanes))
        self.nodes.append(ShiftedProductNode(
            f"{layer.name}:WG", "product", lanes, e, replace(weights, name=f"{layer.name}:new"),
            target=_LOSS, bits=self.bits, gradient=True, updates=weights,
        ))

    def _turned(self, tensor: Tensor) -> Tensor:
        """Return a matrix as it is read by columns."""
        name = f"{tensor.name}^T"
        layout = tensor.layout.transposed((1, 0))
        turned = replace(tensor, name=name, shape=tensor.shape[::-1], layout=layout)
        if not any(node.y.name == name for node in self.nodes):
            self.nodes.append(ViewNode(name, "transpose", tensor, turned, (1, 0)))
        return turned


def _tensor(name: str, shape: Shape) -> Tensor:
    return Tensor(name, shape, np.dtype(np.int8), np.float32(1), 0, ROW_MAJOR)
