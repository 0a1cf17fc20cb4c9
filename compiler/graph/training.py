# SPDX-License-Identifier: Apache-2.0
"""A step of training as a graph: forward pass, loss, and what the backward rules of its layers add.

After NITI (arXiv 2009.13108), whose arithmetic is `golden.niti`'s. FP is the forward pass, EB the
errors of a layer's inputs, WG the gradients of its weights, as in Cambricon-Q: the same products on
the same array, x W, e W^T and x^T e, of which W^T is W read by columns.

Where branches meet, tensors are added that have exponents of their own: results of one branch in
FP, errors of what both have read in EB. The last layer of one is shifted by as much more as brings
its exponent to the other's at least, the other is shifted to that, and both are added up.
"""

from dataclasses import dataclass, field, replace
from functools import singledispatchmethod
from typing import Any

import numpy as np

from kiwicha.compiler.graph.graph import AddNode, Box, Graph, TableNode, Value
from kiwicha.compiler.graph.tensor import Shape, Tensor
from kiwicha.compiler.graph.trainable import (
    AveragePool,
    Bias,
    Clip,
    Convolution,
    Layer,
    Linear,
    MaxPool,
    Network,
    Residual,
)
from kiwicha.compiler.graph.training_nodes import LIMIT, CrossEntropyNode, Floor
from kiwicha.compiler.graph.training_tape import (
    IMAGES,
    LABELS,
    LOGITS,
    NOBODY,
    Known,
    Tape,
    Wanted,
    mask_of,
    plain_tensor,
)
from kiwicha.errors import KiwichaError
from kiwicha.machine.isa import Reduction

__all__ = ["IMAGES", "LABELS", "LOGITS", "training_graph"]

_INPUT = 0  # slot of the images' exponent
_LOSS = -7  # exponent of the errors of logits


def training_graph(network: Network, batch: int, bits: int, *, masked: bool = False) -> Graph:
    """Return a step: images and labels in, weights updated in their places.

    Parameters
    ----------
    batch : images of a step, at least 1.
    bits : that gradients keep, 1 to 7: the learning rate.
    masked : whether weights have masks, int8 inputs of the names `mask_of`: where they are 0
        gradients become 0, after they were shifted by the range of all.

    Raises
    ------
    KiwichaError
        For a batch or bits out of range, and for sums inside sums that have too many exponents.
    """
    if batch < 1:
        raise KiwichaError(f"batch is {batch}; legal: at least 1")
    if not 1 <= bits <= 7:
        raise KiwichaError(f"bits is {bits}; legal: 1 to 7")
    tape = _Step(network, batch, bits=bits, masked=masked)
    tape.forward()
    tape.backward()
    weights = [plain_tensor(name, shape) for name, shape in network.weights.items()]
    if masked:
        weights += [replace(each, name=mask_of(each.name)) for each in weights]
    given = [
        Value(each.name, each.shape, each.dtype, each is tape.images)
        for each in (tape.images, tape.labels, *weights)
    ]
    made = (Value(LOGITS, (batch, *network.shapes[-1]), np.dtype(np.int8)),)
    return Graph(tuple(given), made, (), tuple(tape.nodes), ())


@dataclass
class _Step(Tape):
    """A step, and what each layer was given, read (images as rows, perhaps) and made."""

    bits: int = 1
    masked: bool = False
    given: dict[str, Tensor] = field(default_factory=dict)
    read: dict[str, Tensor] = field(default_factory=dict)
    made: dict[str, Tensor] = field(default_factory=dict)

    def forward(self) -> None:
        """Append FP and the loss."""
        logits = self._forward(self.network.layers, Known(self.images, _INPUT), ())
        x = logits.tensor
        self.nodes.append(CrossEntropyNode(
            "loss", "cross entropy", x, self.labels, plain_tensor(f"{LOGITS}:e", x.shape),
            logits.slot,
        ))

    def _forward(
        self, layers: tuple[Layer, ...], x: Known, held: tuple[int, ...], floor: Floor | None = None
    ) -> Known:
        """Append FP of layers; the last one's results have a ``floor``, and slots are ``held``."""
        for layer in layers:
            last = layer is layers[-1]
            self.given[layer.name] = x.tensor
            least = floor if last else None
            if isinstance(layer, Residual):
                x = self._join(layer, x, held, least)
            else:
                x = self._plain(layer, x, held, least)
            self.made[layer.name] = x.tensor
        return x

    def _plain(
        self, layer: Layer, x: Known, held: tuple[int, ...], floor: Floor | None
    ) -> Known:
        """Append FP of a layer that is no sum."""
        target, last = self.free(layer.name, *held, x.slot), layer is self.network.layers[-1]
        read = self.rows(x.tensor) if isinstance(layer, Linear) else x.tensor
        shape = self.batch, *layer.shape(x.tensor.shape[1:])
        y = plain_tensor(LOGITS if last else f"{layer.name}:y", shape)
        self.read[layer.name] = read
        self._apply(layer, {
            "name": f"{layer.name}:FP", "x": read, "y": y, "slot": x.slot, "target": target,
            "known": self.known(read), "floor": floor, "low": 0 if layer.relu else -LIMIT,
        })
        return Known(y, target)

    def _join(
        self, layer: Residual, x: Known, held: tuple[int, ...], floor: Floor | None
    ) -> Known:
        """Append FP of both branches, and their sum."""
        self.read[layer.name] = x.tensor
        shortcut = x
        if layer.shortcut:
            shortcut = self._forward(layer.shortcut, x, (*held, x.slot))
        body = self._forward(layer.body, x, (*held, shortcut.slot), shortcut.floor)
        target = self.free(layer.name, *held, body.slot)
        y = plain_tensor(f"{layer.name}:y", body.tensor.shape)
        self.sum(
            layer.name, "FP", body, shortcut, y=y, target=target, floor=floor,
            low=0 if layer.relu else -LIMIT,
        )
        return Known(y, target)

    def backward(self) -> None:
        """Append EB and WG of each layer, the last one first: its weights are read before."""
        self._backward(self.network.layers, Known(self.nodes[-1].y, _INPUT), (), None)

    def _backward(
        self, layers: tuple[Layer, ...], error: Known, held: tuple[int, ...],
        wanted: Wanted | None,
    ) -> Known:
        """Append EB and WG of layers; return the error of what the first has read, if wanted."""
        for layer, before in zip(layers[::-1], [*layers[-2::-1], None], strict=True):
            asked = wanted
            if before is not None:
                mask = self.read[layer.name] if before.relu else None
                asked = Wanted(f"{before.name}:e", mask)
            if isinstance(layer, Residual):
                error = self._fork(layer, error, held, asked)
            else:
                error = self._passed(layer, error, held, asked)
        return error

    def _passed(
        self, layer: Layer, error: Known, held: tuple[int, ...], wanted: Wanted | None
    ) -> Known:
        """Append EB and WG of a layer that is no sum."""
        x, before = self.read[layer.name], error
        if wanted is not None:
            made = plain_tensor(wanted.name, x.shape)
            target = self.free(layer.name, *held, error.slot)
            self._back(layer, error.tensor, {
                "name": f"{layer.name}:EB", "y": made, "slot": error.slot, "target": target,
                "known": _LOSS if error.tensor.name == f"{LOGITS}:e" else None,
                "mask": wanted.mask, "floor": wanted.floor,
            })
            shape = self.given[layer.name].shape
            error = Known(made if made.shape == shape else self.view(made, shape), target)
        if isinstance(layer, Linear | Convolution | Bias):
            weights = self._weights(layer)
            kept = {"target": NOBODY, "bits": self.bits, "gradient": True}
            fields = {"name": f"{layer.name}:WG", **kept}
            update = {"y": replace(weights, name=f"{layer.name}:new"), "updates": weights}
            if self.masked:
                names = f"{layer.name}:g", mask_of(layer.name)
                alone, mask = (replace(weights, name=name) for name in names)
                self._gradient(layer, x, before.tensor, {**fields, "y": alone, "mask": mask})
                # A step by a gradient of 7 bits or fewer, which no range shifts any more.
                named = {"name": f"{layer.name}:update:WG", "op": "update", "target": NOBODY}
                self.pool((1, 1), {**update, **named, "x": alone})
            else:
                self._gradient(layer, x, before.tensor, {**fields, **update})
        return error

    def _fork(
        self, layer: Residual, error: Known, held: tuple[int, ...], wanted: Wanted | None
    ) -> Known:
        """Append EB and WG of both branches, and the sum of what they ask of their input."""
        held_too = (*held, error.slot)
        asked = None if wanted is None else Wanted(f"{layer.name}:shortcut:e")
        shortcut = error
        if layer.shortcut:
            shortcut = self._backward(layer.shortcut, error, held_too, asked)
        floor = None if wanted is None else shortcut.floor
        asked = None if wanted is None else Wanted(f"{layer.name}:body:e", None, floor)
        body = self._backward(layer.body, error, (*held, shortcut.slot), asked)
        if wanted is None:
            return error
        target = self.free(layer.name, *held, body.slot)
        made = plain_tensor(wanted.name, body.tensor.shape)
        self.sum(
            layer.name, "EB", body, shortcut, y=made, target=target, floor=wanted.floor,
            mask=wanted.mask,
        )
        return Known(made, target)

    def _weights(self, layer: Linear | Convolution | Bias) -> Tensor:
        return plain_tensor(layer.name, layer.weights)

    # The rules: what a layer makes of its input (FP), of the error of its result (EB), and of both
    # (WG).

    @singledispatchmethod
    def _apply(self, layer: Any, fields: dict[str, Any]) -> None:
        raise NotImplementedError(layer)

    @_apply.register
    def _(self, layer: Linear, fields: dict[str, Any]) -> None:
        self.product(fields, z=self._weights(layer), exponent=layer.exponent)

    @_apply.register
    def _(self, layer: Convolution, fields: dict[str, Any]) -> None:
        self.conv(layer, "FP", fields, z=self._weights(layer), exponent=layer.exponent)

    @_apply.register
    def _(self, layer: Bias, fields: dict[str, Any]) -> None:
        bias = Known(self._weights(layer), NOBODY)
        self.shifted_bias(layer.name, bias, layer.exponent, fields)

    @_apply.register
    def _(self, layer: Clip, fields: dict[str, Any]) -> None:
        self.pool((1, 1), {**fields, "op": "clip", "low": layer.low, "high": layer.high})

    @_apply.register
    def _(self, layer: AveragePool, fields: dict[str, Any]) -> None:
        # A mean is a sum whose unit is 1 / (rows * columns); what is no power of two is left out.
        self.pool(layer.kernel, fields, exponent=layer.unit)

    @_apply.register
    def _(self, layer: MaxPool, fields: dict[str, Any]) -> None:
        self.pool(layer.kernel, {**fields, "op": "maximum"}, reduction=Reduction.MAX)

    @singledispatchmethod
    def _back(self, layer: Any, error: Tensor, fields: dict[str, Any]) -> None:
        raise NotImplementedError(layer)

    @_back.register
    def _(self, layer: Linear, error: Tensor, fields: dict[str, Any]) -> None:
        z = self.turned(self._weights(layer))
        self.product(fields, x=error, z=z, exponent=layer.exponent)

    @_back.register
    def _(self, layer: Convolution, error: Tensor, fields: dict[str, Any]) -> None:
        weights = self._weights(layer)
        self.conv(layer, "EB", fields, x=error, z=weights, exponent=layer.exponent)

    @_back.register
    def _(self, layer: Bias, error: Tensor, fields: dict[str, Any]) -> None:
        self.pool((1, 1), {**fields, "op": "bias"}, x=error)

    @_back.register
    def _(self, layer: Clip, error: Tensor, fields: dict[str, Any]) -> None:
        y = self.made[layer.name]
        # What the layer before has cut off is not positive, and cut off here as well.
        low = layer.low if fields["mask"] is None else max(layer.low, 0)
        every = np.arange(256, dtype=np.uint8).view(np.int8)
        passes = ((every > low) & (every < layer.high)).astype(np.uint8)
        mask = plain_tensor(f"{layer.name}:passes", y.shape)
        self.nodes.append(
            TableNode(f"{layer.name}:passes:EB", "table", y, mask, passes, promise="golden")
        )
        self.pool((1, 1), {**fields, "op": "clip", "mask": mask}, x=error)

    @_back.register
    def _(self, layer: AveragePool, error: Tensor, fields: dict[str, Any]) -> None:
        spread = self.spread(layer.kernel, error, fields["y"].shape)
        self.pool((1, 1), fields, x=spread, exponent=layer.unit)

    @_back.register
    def _(self, layer: MaxPool, error: Tensor, fields: dict[str, Any]) -> None:
        x, greatest = self.read[layer.name], self.made[layer.name]
        if fields["mask"] is not None:  # nothing is positive where the maximum is not
            masked = replace(error, name=f"{layer.name}:masked")
            self.pool((1, 1), {
                **fields, "name": f"{layer.name}:masked:EB", "y": masked, "mask": greatest,
                "target": NOBODY, "floor": None,
            }, x=error)
            error = masked
        around = self.spread(layer.kernel, greatest, x.shape)
        winners = replace(plain_tensor(f"{layer.name}:winners", x.shape), zero_point=1)
        self.nodes.append(AddNode(
            f"{layer.name}:winners:EB", "equal", x, replace(around, scale=np.float32(-1)), winners,
            0, 1, promise="golden",
        ))
        spread = self.spread(layer.kernel, error, x.shape)
        self.pool((1, 1), {**fields, "mask": winners}, x=spread)

    @singledispatchmethod
    def _gradient(self, layer: Any, x: Tensor, error: Tensor, fields: dict[str, Any]) -> None:
        raise NotImplementedError(layer)

    @_gradient.register
    def _(self, layer: Linear, x: Tensor, error: Tensor, fields: dict[str, Any]) -> None:
        turned = self.turned(x)
        lanes = plain_tensor(f"{layer.name}:T", turned.shape)
        self.move(f"{layer.name}:T", turned, Box.whole(turned.shape), lanes)
        self.product(fields, x=lanes, z=error)

    @_gradient.register
    def _(self, layer: Convolution, x: Tensor, error: Tensor, fields: dict[str, Any]) -> None:
        axes: Shape = (0, 3, 1, 2)
        across = layer.strides[1]
        if layer.groups > 1 and layer.groups == layer.inputs:  # columns filter pixels as they lie
            turned = self.view(x, tuple(x.shape[axis] for axis in axes), axes)
            self.conv(layer, "WG", fields, x=turned, z=error)
            return
        if across > 1 and x.shape[2] % across == 0:  # so that an error's row meets a run of bytes
            images, height, width, channels = x.shape
            x = self.view(x, (images, height, width // across, across, channels))
            axes = (0, 3, 4, 1, 2)
        turned = self.view(x, tuple(x.shape[axis] for axis in axes), axes)
        planes = plain_tensor(f"{layer.name}:T", turned.shape)
        self.move(f"{layer.name}:T", turned, Box.whole(turned.shape), planes)
        self.conv(layer, "WG", fields, x=planes, z=error)

    @_gradient.register
    def _(self, layer: Bias, x: Tensor, error: Tensor, fields: dict[str, Any]) -> None:
        width = error.shape[2] if len(error.shape) == 4 else 1
        rows = error.size // layer.channels // width
        whole = self.view(error, (1, rows, width, layer.channels))
        self.pool((rows, width), {**fields, "op": "sum"}, x=whole)
