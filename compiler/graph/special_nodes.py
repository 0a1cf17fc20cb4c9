# SPDX-License-Identifier: Apache-2.0
"""Nodes of the engine SPECIAL: whole rows of bytes, an element or two at a time."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.node import BaseNode, Promise
from kiwicha.compiler.graph.tensor import Tensor
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.pair_tables import Tables

__all__ = [
    "AddNode", "FixedPairNode", "MulNode", "NormalizeNode", "PairNode", "SoftmaxNode", "TableNode",
    "TablesNode",
]


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
class PairNode(BaseNode):
    """Two operands, element by element: to real values over Sy, rounded, clamped to low and high.

    Members
    -------
    x, z : broadcast to the shape of y as in NumPy. Axes lie in memory in the same order in all
        three (`Tensor.strides`), or all three have one shape and layout.
    constant : values of z in ONNX order where z is a constant, and then z is not among ``inputs``.
    z_first : z is the operator's first operand, and x its second.
    zero_last : y's zero point is added after the rounding, as QuantizeLinear does it; else before.
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
    zero_last: bool = False
    promise: Promise = "runtime"
    kind: ClassVar[str]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Both operands, or the first alone where the second is a constant."""
        return (self.x, self.z) if self.constant is None else (self.x,)


@dataclass(frozen=True, eq=False)
class AddNode(PairNode):
    """QLinearAdd; the rounding of the sum depends on the order of the operands. A negative scale
    makes it a difference."""

    kind: ClassVar[str] = "add"


@dataclass(frozen=True, eq=False)
class MulNode(PairNode):
    """QLinearMul."""

    kind: ClassVar[str] = "mul"


@dataclass(frozen=True, eq=False)
class TablesNode(PairNode):
    """A sum or a product of functions of both operands, by tables of `machine.pair_tables`.

    Members
    -------
    tables : A and B, uint32[256], by the raw bytes of x and z, and the field shift.
    """

    operation: SpecialOperation = SpecialOperation.ADD
    tables: Tables | None = None
    kind: ClassVar[str] = "tables"


@dataclass(frozen=True, eq=False)
class FixedPairNode(PairNode):
    """A sum, a difference or a product as the reference kernels of LiteRT compute it, in fixed
    point (`golden.fixed_pair`); the result's zero point is added after the rounding.

    Members
    -------
    function : "add", "subtract" or "multiply".
    """

    function: str = "add"
    kind: ClassVar[str] = "fixed_pair"


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
    """Layer or root mean square normalization over the last axis, in the integers of
    `golden.normalize`.

    Members
    -------
    x, y : same shape and layout; the last axis is contiguous in memory.
    gamma, beta : float32, one for each place along the last axis.
    epsilon : added to the variance.
    uncentred : the mean is left in, and epsilon added to the mean square.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]
    epsilon: float
    uncentred: bool = False
    promise: Promise = "golden"
    kind: ClassVar[str] = "normalize"
