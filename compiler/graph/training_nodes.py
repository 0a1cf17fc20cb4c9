# SPDX-License-Identifier: Apache-2.0
"""The nodes of training steps: products whose results are shifted by their own range.

What all nodes have is in `compiler.graph.node`; the arithmetic is `golden.niti`'s. Tensors are int8
numbers, -127 to 127, with one exponent; those of weights are known, others follow from the values
and are in slots of the machine.
"""

from dataclasses import dataclass
from typing import ClassVar

from kiwicha.compiler.graph.node import BaseNode, Promise
from kiwicha.compiler.graph.tensor import Tensor
from kiwicha.machine.shifts import ACTIVATION_BITS

__all__ = ["LIMIT", "CrossEntropyNode", "ShiftedProductNode", "TrainingNode"]

LIMIT = 127
"""Greatest magnitude of a number."""


@dataclass(frozen=True, eq=False)
class ShiftedProductNode(BaseNode):
    """Matrix product, int8: y = clip(shifted(x z)), by as many bits as leave ``bits`` of the
    greatest magnitude of the sums; then masked, or subtracted from weights.

    Members
    -------
    x, z : M K and K N; either may lie in memory in any order that `ProductNode` takes.
    y : M N, row-major.
    exponent : of z; ``known`` : of x where no node has made it, else None: that of ``slot``.
    slot, target : of the machine; for x and for y.
    bits : of a magnitude that remain, 1 to 7.
    gradient : rounded pseudo-randomly; nothing remains where no magnitude is above 1.
    low, high : bounds, before a sum or mask.
    mask : y is 0 where this is not positive (errors behind an activation); None for no mask.
    updates : weights that become themselves less the result: y, in their place; None for none.
    """

    name: str
    op: str
    x: Tensor
    z: Tensor
    y: Tensor
    exponent: int = 0
    known: int | None = None
    slot: int = 0
    target: int = 0
    bits: int = ACTIVATION_BITS
    gradient: bool = False
    low: int = -LIMIT
    high: int = LIMIT
    mask: Tensor | None = None
    updates: Tensor | None = None
    promise: Promise = "golden"
    kind: ClassVar[str] = "shifted_product"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Both operands, and what masks or is updated."""
        return self.x, self.z, *(t for t in (self.mask, self.updates) if t is not None)

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.y.size * self.x.shape[-1]


@dataclass(frozen=True, eq=False)
class CrossEntropyNode(BaseNode):
    """Errors of logits: `golden.niti.cross_entropy_errors` of each row and its label.

    Members
    -------
    x : logits, int8, rows x classes, their exponent in ``slot``.
    labels : uint8, one a row.
    y : errors, int8, of the shape of ``x``.
    """

    name: str
    op: str
    x: Tensor
    labels: Tensor
    y: Tensor
    slot: int = 0
    promise: Promise = "golden"
    kind: ClassVar[str] = "cross_entropy"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Logits and labels."""
        return self.x, self.labels


TrainingNode = ShiftedProductNode | CrossEntropyNode
