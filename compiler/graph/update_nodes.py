# SPDX-License-Identifier: Apache-2.0
"""Nodes of a training step whose weights an optimizer moves: what UPDATE does, and exponents kept.

A gradient is int8 numbers whose exponent is that of two factors and of a shift, all known when the
step runs. VECTOR's slots have them; UPDATE takes their sum off the shift of the gradient. What a
slot loses before that is kept in memory (`KeepNode`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kiwicha.compiler.graph.node import BaseNode, Promise
from kiwicha.compiler.graph.tensor import Tensor
from kiwicha.machine.isa import SLOT_BYTES, SLOTS

__all__ = ["KeepNode", "UpdateNode", "record_of"]


def record_of(name: str) -> Tensor:
    """Return where a tensor's exponent is kept: a record of all slots, one of them written."""
    shape = (SLOTS * SLOT_BYTES,)
    return Tensor(f"{name}:exponent", shape, np.dtype(np.uint8), np.float32(1), 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class KeepNode(BaseNode):
    """Stores the exponent of ``x``, which is in ``slot``, for when it is needed again."""

    name: str
    x: Tensor
    y: Tensor
    slot: int
    op: str = "exponent"
    promise: Promise = "golden"
    kind: ClassVar[str] = "keep"


@dataclass(frozen=True, eq=False, kw_only=True)
class UpdateNode(BaseNode):
    """A step of an optimizer, or a sum of gradients: `golden.update.update`.

    Members
    -------
    x : gradients, int8; or their sums, int32 as bytes, where ``fields`` say ``wide``.
    y : the int8 weights behind the step, in the place of ``updates``; of a sum, the sums.
    state, after : 32-bit weights and moments as `machine.optimizer.join_state` has them, and what
        becomes of them in their place; None of a sum.
    fields : of UPDATE but for places and count; ``slots`` of those that the program uses.
    exponents : tensors whose exponents are that of ``x`` together, but for constants.
    count : weights; beat : bytes of the port, which the state's layout follows.
    idle : this time nothing happens, and results are what was in their place.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    updates: Tensor
    fields: Mapping[str, int]
    count: int
    beat: int
    exponents: tuple[Tensor, ...] = ()
    state: Tensor | None = None
    after: Tensor | None = None
    idle: bool = False
    promise: Promise = "golden"
    kind: ClassVar[str] = "update"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Gradients, weights or sums, and the state."""
        return self.x, self.updates, *(() if self.state is None else (self.state,))

    @property
    def results(self) -> tuple[Tensor, ...]:
        """What is written."""
        return (self.y,) if self.after is None else (self.y, self.after)

    @property
    def places(self) -> dict[str, Tensor]:
        """By the name of a result, what it takes the place of."""
        found = {self.y.name: self.updates}
        if self.after is not None and self.state is not None:
            found[self.after.name] = self.state
        return found
