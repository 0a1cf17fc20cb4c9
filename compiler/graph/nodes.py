# SPDX-License-Identifier: Apache-2.0
"""Nodes of the array: reductions, products of two activations, and views, which do nothing.

What all nodes have is in `compiler.graph.node`.
"""

from dataclasses import dataclass
from math import prod
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.dynamic_node import (
    DynamicConvNode,
    DynamicLinearNode,
    DynamicScaleNode,
)
from kiwicha.compiler.graph.dynamic_product import DynamicProductNode
from kiwicha.compiler.graph.dynamic_real import DynamicRealNode
from kiwicha.compiler.graph.move_node import MoveNode
from kiwicha.compiler.graph.node import BaseNode, Promise
from kiwicha.compiler.graph.special_nodes import NormalizeNode, PairNode, SoftmaxNode, TableNode
from kiwicha.compiler.graph.stack_node import MatMulStackNode
from kiwicha.compiler.graph.tensor import Pair, Quad, Shape, Tensor
from kiwicha.compiler.graph.transposed_node import ConvTransposeNode
from kiwicha.machine.isa import Reduction

__all__ = [
    "ConvNode", "ConvTransposeNode", "DynamicConvNode", "DynamicLinearNode", "DynamicProductNode",
    "DynamicScaleNode", "JoinNode", "MatMulNode", "MatMulStackNode", "MoveNode", "OperatorNode",
    "PoolNode", "ProductNode", "ViewNode",
]

@dataclass(frozen=True, eq=False)
class ConvNode(BaseNode):
    """2-D convolution: y = clamp(round((sum (x - x.zero_point)(w - weight_zero) + bias) * scale)
    + y.zero_point, low, high); padding contributes nothing.

    Members
    -------
    op : ONNX operator and what was fused into it, for the report.
    x, y : N C H W (or N C L), channels last in memory.
    weights : int8, out channels x (in channels / groups) x kernel height x kernel width.
    weight_zero : int16, one per out channel, -128 to 127.
    bias : int32, one per out channel.
    scale : float32, one per out channel: f(f(Sx * Sw) / Sy), positive and normal.
    scale64 : float64, one per out channel: Sx * Sw / Sy, for the fixed-point modes.
    strides, dilations : vertical, horizontal.
    pads : top, left, bottom, right.
    low, high : inclusive bounds of y: its type's range, narrower where a Relu or Clip is fused.
    promise : "near" where ONNX Runtime computes in float what became a convolution.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    weights: NDArray[np.int8]
    weight_zero: NDArray[np.int16]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    scale64: NDArray[np.float64]
    groups: int
    strides: Pair
    pads: Quad
    dilations: Pair
    low: int
    high: int
    promise: Promise = "runtime"
    kind: ClassVar[str] = "conv"

    @property
    def kernel(self) -> Pair:
        """Kernel height and width."""
        return cast(Pair, self.weights.shape[2:])

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates, those on padding included."""
        return self.y.size * prod(self.weights.shape[1:])


@dataclass(frozen=True, eq=False)
class MatMulNode(BaseNode):
    """Matrix product with constant weights; arithmetic as in `ConvNode`, a channel is a column.

    Members
    -------
    x : ... M K; each of its rows is K consecutive bytes in memory, permuted by ``order``.
    y : ... M N, row-major.
    weights : int8, K x N, rows in ONNX order.
    weight_zero, bias, scale, scale64 : one per column.
    order : int64, K: byte p of a row of x in memory is element order[p], so ``weights[order]``
        is what memory order needs.
    away : rounded once, halves away from zero, whatever the machine's mode: sums times ``scale64``
        in binary64, as in TFLite's FULLY_CONNECTED. Only machines of TFLite's modes can.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    weights: NDArray[np.int8]
    weight_zero: NDArray[np.int16]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    scale64: NDArray[np.float64]
    order: NDArray[np.int64]
    low: int
    high: int
    promise: Promise = "runtime"
    away: bool = False
    kind: ClassVar[str] = "matmul"

    @property
    def furthest(self) -> int:
        """Greatest magnitude that a sum can have."""
        info = np.iinfo(self.x.dtype)
        reach = max(info.max - self.x.zero_point, self.x.zero_point - info.min)
        weights = np.abs(self.weights.astype(np.int64) - self.weight_zero).sum(axis=0)
        return int((weights * reach + np.abs(self.bias.astype(np.int64))).max(initial=1))

    @property
    def rows(self) -> int:
        """M, all leading dimensions multiplied."""
        return self.x.size // self.weights.shape[0]

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.rows * self.weights.size


@dataclass(frozen=True, eq=False)
class PoolNode(BaseNode):
    """Maximum (or sum) over windows, then y = clamp(round(max(x - x.zero_point) * scale) +
    y.zero_point, low, high); padding never wins (or adds nothing).

    With ``scale`` 1 and equal zero points the maximum is passed on as it is. A 1 x 1 window is an
    elementwise change of scale or a Relu/Clip, on a tensor of any rank (`Tensor.image`).

    Members
    -------
    x, y : same layout; channels last where the window is larger than 1 x 1.
    pads : top, left, bottom, right; the last two reach as far as the last window does, the first
        two are negative where windows leave out the first pixels.
    scale, scale64 : one for the tensor; or one for each pixel of y, where windows that reach into
        the padding are averages of fewer values.
    reduction : MAX, or SUM: an average is a sum whose scale is divided by the window's size.
    away : of a SUM, divided by the whole number that 1 / ``scale64`` is nearest to and rounded
        once, halves away from zero, as in TFLite's averages. Only machines of its modes can.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    kernel: Pair
    strides: Pair
    pads: Quad
    dilations: Pair
    scale: np.float32 | NDArray[np.float32]
    scale64: np.float64 | NDArray[np.float64]
    low: int
    high: int
    reduction: Reduction = Reduction.MAX
    promise: Promise = "runtime"
    away: bool = False
    kind: ClassVar[str] = "pool"


@dataclass(frozen=True, eq=False)
class ViewNode(BaseNode):
    """Same bytes in memory under another name and shape; the layout of ``y`` says how to read them.

    Members
    -------
    shape, axes : y = x.transpose(axes) where ``axes`` is given, else x.reshape(y.shape).
    start : where ``y`` begins in the memory of an ``x`` that may be larger.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    axes: Shape | None = None
    start: int = 0
    kind: ClassVar[str] = "view"

    @property
    def is_whole(self) -> bool:
        """Whether ``y`` is all of ``x`` and nothing else."""
        return self.x.size == self.y.size


@dataclass(frozen=True, eq=False)
class JoinNode(ViewNode):
    """The bytes of several tensors, one after the other in memory, under one name: they are written
    there, so that nothing is left to do.

    Members
    -------
    x : the first of ``parts``.
    parts : results of other nodes, each a part of no other join.
    """

    parts: tuple[Tensor, ...] = ()
    kind: ClassVar[str] = "join"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All parts."""
        return self.parts

    @property
    def is_whole(self) -> bool:
        """It is none: its parts are written where they lie in it."""
        return False


@dataclass(frozen=True, eq=False)
class ProductNode(BaseNode):
    """Matrix product of two activations: y = clamp(round(sum (x - x.zero_point)(z - z.zero_point)
    * scale) + y.zero_point, low, high). Leading axes broadcast as NumPy's do.

    Members
    -------
    x : ... M K; its last axis is contiguous in memory (`Tensor.strides`).
    z : ... K N; its last axis is contiguous in memory, or its last but one (z transposed).
    y : ... M N; its last axis is contiguous in memory.
    scale, scale64 : as in `ConvNode`, Sz for Sw.
    promise : "near" where ONNX Runtime computes in float what became a product.
    """

    name: str
    op: str
    x: Tensor
    z: Tensor
    y: Tensor
    scale: np.float32
    scale64: np.float64
    low: int
    high: int
    promise: Promise = "runtime"
    kind: ClassVar[str] = "product"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Both operands."""
        return self.x, self.z

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.y.size * self.x.shape[-1]


OperatorNode = (
    ConvNode | ConvTransposeNode | MatMulNode | MatMulStackNode | PoolNode | MoveNode | ViewNode
    | DynamicConvNode | DynamicLinearNode | DynamicProductNode | DynamicRealNode
    | DynamicScaleNode | ProductNode
    | TableNode | PairNode | SoftmaxNode | NormalizeNode
)
