# SPDX-License-Identifier: Apache-2.0
"""A step of training as a graph: forward pass, loss, and what the backward rules of its layers add.

After NITI (arXiv 2009.13108), whose arithmetic is `golden.niti`'s. FP is the forward pass, EB the
errors of a layer's inputs, WG the gradients of its weights, as in Cambricon-Q: the same products on
the same array, x W, e W^T and x^T e, of which W^T is W read by columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod
from typing import Any

import numpy as np

from kiwicha.compiler.graph.graph import (
    AddNode,
    Box,
    Graph,
    MoveNode,
    Node,
    Piece,
    Value,
    ViewNode,
)
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.graph.tensor import Shape, Tensor
from kiwicha.compiler.graph.trainable import (
    AveragePool,
    Convolution,
    Layer,
    Linear,
    MaxPool,
    Network,
)
from kiwicha.compiler.graph.training_nodes import (
    LIMIT,
    CrossEntropyNode,
    Role,
    ShiftedConvNode,
    ShiftedPoolNode,
    ShiftedProductNode,
)
from kiwicha.errors import KiwichaError
from kiwicha.machine.isa import Reduction

__all__ = ["IMAGES", "LABELS", "LOGITS", "training_graph"]

IMAGES, LABELS, LOGITS = "images", "labels", "logits"
"""Names of a step's inputs, and of the output that they are compared with."""

_INPUT, _LOSS = 0, 3  # slots: of the images' exponent; of errors and gradients, which nobody reads


def training_graph(network: Network, batch: int, bits: int) -> Graph:
    """Return a step: images and labels in, weights updated in their places.

    Parameters
    ----------
    batch : images of a step, at least 1.
    bits : that gradients keep, 1 to 7: the learning rate.

    Raises
    ------
    KiwichaError
        For a batch or bits out of range.
    """
    if batch < 1:
        raise KiwichaError(f"batch is {batch}; legal: at least 1")
    if not 1 <= bits <= 7:
        raise KiwichaError(f"bits is {bits}; legal: 1 to 7")
    tape = _Tape(network, batch, bits)
    tape.forward()
    tape.backward()
    weights = [_tensor(name, shape) for name, shape in network.weights.items()]
    given = [
        Value(each.name, each.shape, each.dtype, each is tape.images)
        for each in (tape.images, tape.labels, *weights)
    ]
    made = (Value(LOGITS, (batch, *network.shapes[-1]), np.dtype(np.int8)),)
    return Graph(tuple(given), made, (), tuple(tape.nodes), ())


@dataclass
class _Tape:
    """Nodes as they come, and what each layer read and made."""

    network: Network
    batch: int
    bits: int
    nodes: list[Node] = field(default_factory=list)
    read: dict[str, Tensor] = field(default_factory=dict)
    made: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.images = _tensor(IMAGES, (self.batch, *self.network.images))
        self.labels = replace(_tensor(LABELS, (self.batch,)), dtype=np.dtype(np.uint8))

    def forward(self) -> None:
        """Append FP and the loss."""
        x, slot = self.images, _INPUT
        for index, (layer, shape) in enumerate(
            zip(self.network.layers, self.network.shapes, strict=True)
        ):
            target, last = 1 + index % 2, layer is self.network.layers[-1]
            y = _tensor(LOGITS if last else f"{layer.name}:y", (self.batch, *shape))
            if isinstance(layer, Linear):
                x = self._rows(x)
            self.read[layer.name], self.made[layer.name] = x, y
            self._apply(layer, {
                "name": f"{layer.name}:FP", "x": x, "y": y, "slot": slot, "target": target,
                "known": None if index else self.network.exponent,
                "low": 0 if layer.relu else -LIMIT,
            })
            x, slot = y, target
        self.nodes.append(CrossEntropyNode(
            "loss", "cross entropy", x, self.labels, _tensor(f"{LOGITS}:e", x.shape), slot
        ))

    def backward(self) -> None:
        """Append EB and WG of each layer, the last one first: its weights are read before."""
        error = self.nodes[-1].y
        layers = self.network.layers
        for layer, before in zip(layers[::-1], [*layers[-2::-1], None], strict=True):
            x, after = self.read[layer.name], error
            if before is not None:
                made = _tensor(f"{before.name}:e", x.shape)
                self._back(layer, after, {
                    "name": f"{layer.name}:EB", "y": made, "target": _LOSS,
                    "mask": x if before.relu else None,
                })
                shape = (self.batch, *self._shape(before))
                error = made if made.shape == shape else self._view(made, shape)
            if isinstance(layer, Linear | Convolution):
                weights = self._weights(layer)
                self._gradient(layer, x, after, {
                    "name": f"{layer.name}:WG", "y": replace(weights, name=f"{layer.name}:new"),
                    "target": _LOSS, "bits": self.bits, "gradient": True, "updates": weights,
                })

    # The rules: what a layer makes of its input (FP), of the error of its result (EB), and of both
    # (WG).

    @singledispatchmethod
    def _apply(self, layer: Any, fields: dict[str, Any]) -> None:
        raise NotImplementedError(layer)

    @_apply.register
    def _(self, layer: Linear, fields: dict[str, Any]) -> None:
        self._product(fields, z=self._weights(layer), exponent=layer.exponent)

    @_apply.register
    def _(self, layer: Convolution, fields: dict[str, Any]) -> None:
        self._conv(layer, "FP", fields, z=self._weights(layer), exponent=layer.exponent)

    @_apply.register
    def _(self, layer: AveragePool, fields: dict[str, Any]) -> None:
        # A mean is a sum whose unit is 1 / (rows * columns); what is no power of two is left out.
        area = layer.kernel[0] * layer.kernel[1]
        self._pool(layer.kernel, fields, exponent=-(area.bit_length() - 1))

    @_apply.register
    def _(self, layer: MaxPool, fields: dict[str, Any]) -> None:
        self._pool(layer.kernel, {**fields, "op": "maximum"}, reduction=Reduction.MAX)

    @singledispatchmethod
    def _back(self, layer: Any, error: Tensor, fields: dict[str, Any]) -> None:
        raise NotImplementedError(layer)

    @_back.register
    def _(self, layer: Linear, error: Tensor, fields: dict[str, Any]) -> None:
        self._product(fields, x=error, z=self._turned(self._weights(layer)))

    @_back.register
    def _(self, layer: Convolution, error: Tensor, fields: dict[str, Any]) -> None:
        self._conv(layer, "EB", fields, x=error, z=self._weights(layer))

    @_back.register
    def _(self, layer: AveragePool, error: Tensor, fields: dict[str, Any]) -> None:
        self._pool((1, 1), fields, x=self._spread(layer, error, fields["y"].shape))

    @_back.register
    def _(self, layer: MaxPool, error: Tensor, fields: dict[str, Any]) -> None:
        x, greatest = self.read[layer.name], self.made[layer.name]
        if fields["mask"] is not None:  # nothing is positive where the maximum is not
            masked = replace(error, name=f"{layer.name}:masked")
            self._pool((1, 1), {
                **fields, "name": f"{layer.name}:masked:EB", "y": masked, "mask": greatest,
            }, x=error)
            error = masked
        around = self._spread(layer, greatest, x.shape)
        winners = replace(_tensor(f"{layer.name}:winners", x.shape), zero_point=1)
        self.nodes.append(AddNode(
            f"{layer.name}:winners:EB", "equal", x, replace(around, scale=np.float32(-1)), winners,
            0, 1, promise="golden",
        ))
        spread = self._spread(layer, error, x.shape)
        self._pool((1, 1), {**fields, "mask": winners}, x=spread)

    @singledispatchmethod
    def _gradient(self, layer: Any, x: Tensor, error: Tensor, fields: dict[str, Any]) -> None:
        raise NotImplementedError(layer)

    @_gradient.register
    def _(self, layer: Linear, x: Tensor, error: Tensor, fields: dict[str, Any]) -> None:
        turned = self._turned(x)
        lanes = _tensor(f"{layer.name}:T", turned.shape)
        self._move(f"{layer.name}:T", turned, Box.whole(turned.shape), lanes)
        self._product(fields, x=lanes, z=error)

    @_gradient.register
    def _(self, layer: Convolution, x: Tensor, error: Tensor, fields: dict[str, Any]) -> None:
        axes = (0, 3, 1, 2)
        turned = self._view(x, tuple(x.shape[axis] for axis in axes), axes)
        planes = _tensor(f"{layer.name}:T", turned.shape)
        self._move(f"{layer.name}:T", turned, Box.whole(turned.shape), planes)
        self._conv(layer, "WG", fields, x=planes, z=error)

    # Nodes.

    def _product(self, fields: dict[str, Any], **more: Any) -> None:
        self.nodes.append(ShiftedProductNode(op="product", **{**fields, **more}))

    def _conv(self, layer: Convolution, role: Role, fields: dict[str, Any], **more: Any) -> None:
        self.nodes.append(ShiftedConvNode(
            op="convolution", role=role, kernel=layer.kernel, strides=layer.strides,
            pads=layer.pads, **{**fields, **more},
        ))

    def _pool(self, kernel: tuple[int, int], fields: dict[str, Any], **more: Any) -> None:
        named = {"op": "average", **fields, **more}
        self.nodes.append(ShiftedPoolNode(kernel=kernel, **named))

    def _spread(self, layer: AveragePool | MaxPool, x: Tensor, shape: Shape) -> Tensor:
        """Return what belongs to a window at each place of it."""
        spread = _tensor(f"{x.name}:spread", shape)
        axes: list[Sequence[int]] = [range(length) for length in x.shape]
        for axis, times in ((1, layer.kernel[0]), (2, layer.kernel[1])):
            axes[axis] = [place // times for place in range(shape[axis])]
        self._move(f"{x.name}:spread:EB", x, Box(tuple(axes)), spread)
        return spread

    def _move(self, name: str, x: Tensor, source: Box, y: Tensor) -> None:
        unit = np.float32(1)
        piece = Piece(x, source, Box.whole(y.shape), unit, np.float64(1), -128, LIMIT)
        self.nodes.append(MoveNode(name, "copy", (piece,), y))

    def _weights(self, layer: Layer) -> Tensor:
        return _tensor(layer.name, self.network.weights[layer.name])

    def _shape(self, layer: Layer) -> Shape:
        return self.network.shapes[self.network.layers.index(layer)]

    def _rows(self, x: Tensor) -> Tensor:
        """Return images as rows of their bytes."""
        size = x.size // self.batch
        return x if len(x.shape) == 2 else self._view(x, (self.batch, size))

    def _turned(self, tensor: Tensor) -> Tensor:
        """Return a matrix as it is read by columns."""
        return self._view(tensor, tensor.shape[::-1], (1, 0))

    def _view(self, x: Tensor, shape: Shape, axes: Shape | None = None) -> Tensor:
        """Return the same bytes in another shape, or with other axes; the node is there once."""
        layout = x.layout if axes is None else x.layout.transposed(axes)
        name = f"{x.name}:{'x'.join(map(str, shape))}" + ("" if axes is None else ":turned")
        y = replace(x, name=name, shape=shape, layout=layout)
        if all(node.y.name != name for node in self.nodes):
            self.nodes.append(ViewNode(name, "view", x, y, axes))
        return y


def _tensor(name: str, shape: Shape) -> Tensor:
    return Tensor(name, shape, np.dtype(np.int8), np.float32(1), 0, ROW_MAJOR)
