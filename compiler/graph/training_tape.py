# SPDX-License-Identifier: Apache-2.0
"""The nodes of a step of training as they are appended, and the slots that have exponents."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kiwicha.compiler.graph.graph import Box, MoveNode, Node, Piece, ViewNode
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.graph.tensor import Pair, Shape, Tensor
from kiwicha.compiler.graph.trainable import Convolution, Network
from kiwicha.compiler.graph.training_nodes import (
    LIMIT,
    Floor,
    Role,
    ShiftedConvNode,
    ShiftedPoolNode,
    ShiftedProductNode,
    ShiftedSumNode,
)
from kiwicha.errors import KiwichaError

__all__ = [
    "IMAGES", "LABELS", "LOGITS", "NOBODY", "Known", "Tape", "Wanted", "mask_of", "plain_tensor",
]

IMAGES, LABELS, LOGITS = "images", "labels", "logits"
"""Names of a step's inputs, and of the output that they are compared with."""

NOBODY = 3
"""The slot of exponents that nobody reads: those of gradients, and of what is added next."""
_SLOTS = (1, 2, 0)


@dataclass(frozen=True)
class Known:
    """A tensor whose exponent is in a slot of the machine."""

    tensor: Tensor
    slot: int

    @property
    def floor(self) -> Floor:
        """What another tensor's exponent is not to be below."""
        return Floor(self.tensor, self.slot)


@dataclass(frozen=True)
class Wanted:
    """An error that a layer is asked for: of what it has read.

    Members
    -------
    mask : where it is not positive the error is 0; None for no mask.
    floor : as of `Shifted`.
    """

    name: str
    mask: Tensor | None = None
    floor: Floor | None = None


@dataclass
class Tape:
    """Nodes as they come.

    Members
    -------
    batch : images of a step.
    """

    network: Network
    batch: int
    nodes: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.images = plain_tensor(IMAGES, (self.batch, *self.network.images))
        self.labels = replace(plain_tensor(LABELS, (self.batch,)), dtype=np.dtype(np.uint8))

    def free(self, name: str, *held: int) -> int:
        """Return a slot that is none of these.

        Raises
        ------
        KiwichaError
            Where there is none; names the layer.
        """
        for slot in _SLOTS:
            if slot not in held:
                return slot
        raise KiwichaError(
            f"{name}: sums inside sums have more exponents at once than the machine's {len(_SLOTS)}"
        )

    def known(self, x: Tensor) -> int | None:
        """Return the exponent of the images; None for what a node has made."""
        return self.network.exponent if x.name.split(":")[0] == IMAGES else None

    def sum(
        self, name: str, phase: str, first: Known, second: Known, **fields: Any
    ) -> None:
        """Append the sum of two tensors, of which the first has ``second`` for its floor."""
        aligned = plain_tensor(f"{name}:aligned:{phase}", second.tensor.shape)
        self.pool((1, 1), {
            "name": aligned.name, "op": "align", "x": second.tensor, "y": aligned,
            "slot": second.slot, "target": NOBODY, "known": self.known(second.tensor),
            "floor": first.floor,
        })
        self.nodes.append(ShiftedSumNode(
            name=f"{name}:{phase}", op="sum", x=first.tensor, z=aligned, slot=first.slot, **fields,
        ))

    def shifted_bias(self, name: str, bias: Known, exponent: int, fields: dict[str, Any]) -> None:
        """Append the sum of a tensor and a number for each channel; in ``bias.slot`` nothing is
        kept."""
        x, slot = fields["x"], fields["target"]
        moved, aligned = (plain_tensor(f"{name}:{what}:FP", tensor.shape) for what, tensor in (
            ("x", x), ("aligned", bias.tensor),
        ))
        floor = Floor(bias.tensor, bias.slot, exponent)
        kept = ("slot", "known", "x", "target")
        self.pool((1, 1), {
            **{each: fields[each] for each in kept}, "name": moved.name, "op": "align", "y": moved,
            "floor": floor,
        })
        self.pool((1, 1), {
            "name": aligned.name, "op": "align", "x": bias.tensor, "y": aligned, "known": exponent,
            "slot": bias.slot, "target": bias.slot, "floor": Floor(moved, slot),
        })
        whole = plain_tensor(f"{name}:everywhere:FP", x.shape)
        row = self.view(aligned, (*(1 for _ in x.shape[1:]), x.shape[-1]))
        places = [*([0] * length for length in x.shape[:-1]), range(x.shape[-1])]
        self.move(whole.name, row, Box(tuple(places)), whole)
        self.nodes.append(ShiftedSumNode(
            op="sum", z=whole, **{**fields, "x": moved, "slot": slot, "known": None},
        ))

    def product(self, fields: dict[str, Any], **more: Any) -> None:
        """Append a product; ``fields``, and ``more`` that go before them."""
        self.nodes.append(ShiftedProductNode(op="product", **{**fields, **more}))

    def conv(self, layer: Convolution, role: Role, fields: dict[str, Any], **more: Any) -> None:
        """Append one of the three convolutions of a layer."""
        self.nodes.append(ShiftedConvNode(
            op="convolution", role=role, kernel=layer.kernel, strides=layer.strides,
            pads=layer.pads, groups=layer.groups, **{**fields, **more},
        ))

    def pool(self, kernel: Pair, fields: dict[str, Any], **more: Any) -> None:
        """Append sums or maxima of windows."""
        named = {"op": "average", **fields, **more}
        self.nodes.append(ShiftedPoolNode(kernel=kernel, **named))

    def spread(self, kernel: Pair, x: Tensor, shape: Shape) -> Tensor:
        """Return what belongs to a window at each place of it."""
        spread = plain_tensor(f"{x.name}:spread", shape)
        axes: list[Sequence[int]] = [range(length) for length in x.shape]
        for axis, times in ((1, kernel[0]), (2, kernel[1])):
            axes[axis] = [place // times for place in range(shape[axis])]
        self.move(f"{x.name}:spread:EB", x, Box(tuple(axes)), spread)
        return spread

    def move(self, name: str, x: Tensor, source: Box, y: Tensor) -> None:
        """Append a copy."""
        unit = np.float32(1)
        piece = Piece(x, source, Box.whole(y.shape), unit, np.float64(1), -128, LIMIT)
        self.nodes.append(MoveNode(name, "copy", (piece,), y))

    def rows(self, x: Tensor) -> Tensor:
        """Return images as rows of their bytes."""
        size = x.size // self.batch
        return x if len(x.shape) == 2 else self.view(x, (self.batch, size))

    def turned(self, tensor: Tensor) -> Tensor:
        """Return a matrix as it is read by columns."""
        return self.view(tensor, tensor.shape[::-1], (1, 0))

    def view(self, x: Tensor, shape: Shape, axes: Shape | None = None) -> Tensor:
        """Return the same bytes in another shape, or with other axes; the node is there once."""
        layout = x.layout if axes is None else x.layout.transposed(axes)
        name = f"{x.name}:{'x'.join(map(str, shape))}" + ("" if axes is None else ":turned")
        y = replace(x, name=name, shape=shape, layout=layout)
        if all(node.y.name != name for node in self.nodes):
            self.nodes.append(ViewNode(name, "view", x, y, axes))
        return y


def mask_of(layer: str) -> str:
    """Return the name of the mask of a layer's weights."""
    return f"{layer}:mask"


def plain_tensor(name: str, shape: Shape) -> Tensor:
    """Return an int8 tensor that lies as it is named."""
    return Tensor(name, shape, np.dtype(np.int8), np.float32(1), 0, ROW_MAJOR)
