# SPDX-License-Identifier: Apache-2.0
"""The nodes of training steps: linear operations whose results are shifted by their own range.

What all nodes have is in `compiler.graph.node`; the arithmetic is `golden.niti`'s. Tensors are int8
numbers, -127 to 127, with one exponent; those of weights are known, others follow from the values
and are in slots of the machine. Images are N H W C, kernels C R S O: in memory as they are named.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.node import BaseNode, Promise
from kiwicha.compiler.graph.tensor import Pair, Quad, Tensor
from kiwicha.compiler.graph.update_nodes import KeepNode, UpdateNode
from kiwicha.machine.isa import Reduction
from kiwicha.machine.shifts import ACTIVATION_BITS

__all__ = [
    "LIMIT", "CrossEntropyNode", "Floor", "Role", "ShiftedConvNode", "ShiftedNode",
    "ShiftedPoolNode", "ShiftedProductNode", "ShiftedSumNode", "TrainingNode", "TunedConvNode",
    "TunedProductNode",
]

LIMIT = 127
"""Greatest magnitude of a number."""

Role = Literal["FP", "EB", "WG"]
"""Of a convolution: forward pass, errors of the input, gradient of the weights (Cambricon-Q)."""


@dataclass(frozen=True)
class Floor:
    """A tensor, and the slot with its exponent, which is the least that another's may be;
    ``known`` where no node has made it."""

    tensor: Tensor
    slot: int
    known: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Shifted(BaseNode):
    """What becomes of sums: y = clip(sums shifted by as many bits as leave ``bits`` of the greatest
    magnitude); then masked, or subtracted from weights.

    Members
    -------
    name, op, x, y : as of any node.
    exponent : of the operand that has no slot; ``known`` : of x where no node has made it, else
        None: that of ``slot``.
    slot, target : of the machine; for x and for y.
    record : where the exponent of x was kept, if it is no longer in the slot (`KeepNode`).
    bits : of a magnitude that remain, 1 to 7.
    floor : whose exponent y's is not below; None for no such.
    gradient : rounded pseudo-randomly; nothing remains where no magnitude is above 1.
    low, high : bounds, before a sum or mask.
    mask : y is 0 where this is not positive (errors behind an activation); None for no mask.
    updates : weights that become themselves less the result: y, in their place; None for none.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    exponent: int = 0
    known: int | None = None
    slot: int = 0
    target: int = 0
    record: Tensor | None = None
    bits: int = ACTIVATION_BITS
    floor: Floor | None = None
    gradient: bool = False
    low: int = -LIMIT
    high: int = LIMIT
    mask: Tensor | None = None
    updates: Tensor | None = None
    promise: Promise = "golden"

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """What is added up."""
        return (self.x,)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Operands, and what masks or is updated; last what was kept of an exponent."""
        others = (self.mask, self.updates, self.record)
        return *self.operands, *(t for t in others if t is not None)


@dataclass(frozen=True, eq=False, kw_only=True)
class ShiftedProductNode(Shifted):
    """Matrix product, M K by K N. ``x`` and ``z`` may lie in memory in any order that `ProductNode`
    takes; ``y`` is row-major."""

    z: Tensor
    kind: ClassVar[str] = "shifted_product"

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """Both factors."""
        return self.x, self.z

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.y.size * self.x.shape[-1]


@dataclass(frozen=True, eq=False, kw_only=True)
class ShiftedConvNode(Shifted):
    """One of the three convolutions of a layer.

    Members
    -------
    role : FP: x N H W C, z its kernels, y N H' W' O. EB: x the error of what FP makes, z the
        kernels, y the error of the image. WG: x the image as N C H W, or with strides, where they
        divide the width, as N S C H W/S, every S-th column of a plane; z the error, y C R S O.
    kernel, strides, pads : of the forward pass: top, left, bottom, right.
    groups : of its channels; all tensors have those of all groups but the kernels, whose C are
        those of one.
    """

    z: Tensor
    role: Role
    kernel: Pair
    strides: Pair
    pads: Quad
    groups: int = 1
    kind: ClassVar[str] = "shifted_conv"

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """Both factors."""
        return self.x, self.z

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates, those with padding included."""
        # All three have a product for each pixel of the error, tap, and pair of channels.
        taps = self.kernel[0] * self.kernel[1]
        if self.role == "FP":
            return self.y.size * taps * self.x.shape[3] // self.groups
        if self.role == "EB":
            return self.x.size * taps * self.y.shape[3] // self.groups
        return self.z.size * taps * self.y.shape[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class ShiftedPoolNode(Shifted):
    """Sums or maxima of windows side by side, N H W C; of one pixel, or of rows, it shifts, masks
    or updates alone.

    Members
    -------
    kernel : rows and columns of a window, and from one to the next.
    """

    kernel: Pair
    reduction: Reduction = Reduction.SUM
    kind: ClassVar[str] = "shifted_pool"


@dataclass(frozen=True, eq=False, kw_only=True)
class ShiftedSumNode(Shifted):
    """The sum of two tensors of one shape and one exponent: that of ``x``, and of ``slot``."""

    z: Tensor
    kind: ClassVar[str] = "shifted_sum"

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """Both summands."""
        return self.x, self.z


@dataclass(frozen=True, eq=False)
class CrossEntropyNode(BaseNode):
    """Errors of logits: `golden.niti.cross_entropy_errors` of each row and its label.

    Members
    -------
    x : logits, int8, rows x classes, their exponent in ``slot``.
    labels : uint8, one a row.
    y : errors, int8, of the shape of ``x``.
    known : the exponent where no node has made it, else None.
    """

    name: str
    op: str
    x: Tensor
    labels: Tensor
    y: Tensor
    slot: int = 0
    known: int | None = None
    promise: Promise = "golden"
    kind: ClassVar[str] = "cross_entropy"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Logits and labels."""
        return self.x, self.labels


@dataclass(frozen=True, eq=False)
class TunedProductNode(BaseNode):
    """A `MatMulNode` whose weights are a tensor, so that they can change.

    Members
    -------
    z : int8, K N, zero point 0, its rows in the order of the bytes of a row of ``x``.
    order : as there; of the elements of a row of ``x``, None where it is 0, 1, ...
    bias, scale, scale64 : one per column; low, high : as there.
    """

    name: str
    op: str
    x: Tensor
    z: Tensor
    y: Tensor
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    scale64: NDArray[np.float64]
    low: int
    high: int
    promise: Promise = "runtime"
    order: NDArray[np.int64] | None = None
    kind: ClassVar[str] = "tuned_product"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Both factors."""
        return self.x, self.z

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.y.size * self.z.shape[0]


@dataclass(frozen=True, eq=False)
class TunedConvNode(BaseNode):
    """A `ConvNode` of one group whose weights are a tensor, so that they can change.

    Members
    -------
    z : int8, C R S O, zero point 0.
    the others : as there.
    """

    name: str
    op: str
    x: Tensor
    z: Tensor
    y: Tensor
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    scale64: NDArray[np.float64]
    strides: Pair
    pads: Quad
    low: int
    high: int
    promise: Promise = "runtime"
    kind: ClassVar[str] = "tuned_conv"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Image and kernels."""
        return self.x, self.z

    @property
    def kernel(self) -> Pair:
        """Kernel height and width."""
        return self.z.shape[1], self.z.shape[2]

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates, those on padding included."""
        return self.y.size * self.z.size // self.z.shape[3]


ShiftedNode = ShiftedProductNode | ShiftedConvNode | ShiftedPoolNode | ShiftedSumNode
TunedNode = TunedConvNode | TunedProductNode
TrainingNode = ShiftedNode | CrossEntropyNode | TunedNode | KeepNode | UpdateNode
