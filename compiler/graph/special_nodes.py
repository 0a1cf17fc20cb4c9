# SPDX-License-Identifier: Apache-2.0
"""Nodes of the engine SPECIAL: whole rows of bytes, an element or two at a time."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.node import BaseNode, Promise
from kiwicha.compiler.graph.tensor import Tensor

__all__ = ["AddNode", "NormalizeNode", "SoftmaxNode", "TableNode"]


@dataclass(frozen=True, eq=False)
class TableNode(BaseNode):
    """A function of each byte by itself: y = table[x].

    Members
    -------
    x, y : same shape and layout.
    table : uint8, 256: the raw byte of y for each raw byte of x.
    promise : "golden" where ONNX Runtime gives something else for a code at some places of x.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    table: NDArray[np.uint8]
    promise: Promise = "runtime"
    kind: ClassVar[str] = "table"


@dataclass(frozen=True, eq=False)
class AddNode(BaseNode):
    """QLinearAdd: both operands to real values over Sy, added, rounded and clamped to low, high.

    Members
    -------
    x, y : same shape and layout.
    z : broadcasts to the shape of x as in NumPy; where both have one shape they have one layout.
        Its last axis in memory is as long as that of x.
    constant : values of z in ONNX order where z is a constant, and then z is not among ``inputs``.
    z_first : the rounding of the sum depends on the order of the operands. z is the first, a of
        `machine.tables.add_tables`, and x is b; else the other way round.
    """

    name: str
    op: str
    x: Tensor
    z: Tensor
    y: Tensor
    low: int
    high: int
    constant: NDArray[Any] | None = None
    z_first: bool = False
    promise: Promise = "runtime"
    kind: ClassVar[str] = "add"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Both operands, or the first alone where the second is a constant."""
        return (self.x, self.z) if self.constant is None else (self.x,)

    @property
    def places(self) -> NDArray[np.int64]:
        """For each byte of x in memory, the place of its partner in z's memory."""
        own = np.argsort(self.z.layout.index(self.z.shape)).reshape(self.z.shape)
        return self.x.layout.apply(np.broadcast_to(own, self.x.shape))


@dataclass(frozen=True, eq=False)
class SoftmaxNode(BaseNode):
    """QLinearSoftmax over the last axis. Exact to the runtime on a machine whose softmax mode is
    "onnx"; the other modes have arithmetic of their own.

    Members
    -------
    x, y : same shape and layout; the last axis is contiguous in memory.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    kind: ClassVar[str] = "softmax"


@dataclass(frozen=True, eq=False)
class NormalizeNode(BaseNode):
    """Layer normalization over the last axis, in the integers of `golden.normalize`.

    Members
    -------
    x, y : same shape and layout; the last axis is contiguous in memory.
    gamma, beta : float32, one for each place along the last axis.
    epsilon : added to the variance.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]
    epsilon: float
    promise: Promise = "golden"
    kind: ClassVar[str] = "normalize"
