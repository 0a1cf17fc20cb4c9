# SPDX-License-Identifier: Apache-2.0
"""What the machine can do with tensors, one class for each kind of layer.

Every node has ``name``, ``op`` (ONNX operator and what was fused into it, for the report), ``x``,
``y``, and

- ``kind`` : its class in short;
- ``inputs`` : the tensors that it reads and that another node or the host writes;
- ``results`` : the tensors that it writes, ``y`` the first of them;
- ``promise`` : "runtime" where its bytes are those of ONNX Runtime's own operator for these
  inputs, "near" where the runtime computes in float and no code is further than one from what it
  gets, "golden" where they are those of our golden model only;
- ``macs`` : useful multiply-accumulates.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.dynamic_node import DynamicLinearNode
from kiwicha.compiler.graph.tensor import Pair, Quad, Shape, Tensor
from kiwicha.machine.isa import Reduction

__all__ = [
    "PROMISES",
    "AddNode",
    "ConvNode",
    "DynamicLinearNode",
    "MatMulNode",
    "NormalizeNode",
    "OperatorNode",
    "PoolNode",
    "ProductNode",
    "Promise",
    "SoftmaxNode",
    "TableNode",
    "ViewNode",
]

Promise = Literal["runtime", "near", "golden"]
PROMISES: dict[Promise, str] = {
    "runtime": "runtime-exact", "near": "within one code", "golden": "golden-exact",
}
"""In words."""


class _Node:
    """What is the same for most nodes: one input, no products, exact to the runtime."""

    x: Tensor
    y: Tensor
    promise: Promise = "runtime"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors read that another node or the host writes."""
        return (self.x,)

    @property
    def results(self) -> tuple[Tensor, ...]:
        """Tensors written."""
        return (self.y,)

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return 0


@dataclass(frozen=True, eq=False)
class ConvNode(_Node):
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
class MatMulNode(_Node):
    """Matrix product with constant weights; arithmetic as in `ConvNode`, a channel is a column.

    Members
    -------
    x : ... M K; each of its rows is K consecutive bytes in memory, permuted by ``order``.
    y : ... M N, row-major.
    weights : int8, K x N, rows in ONNX order.
    weight_zero, bias, scale, scale64 : one per column.
    order : int64, K: byte p of a row of x in memory is element order[p], so ``weights[order]``
        is what memory order needs.
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
    kind: ClassVar[str] = "matmul"

    @property
    def rows(self) -> int:
        """M, all leading dimensions multiplied."""
        return self.x.size // self.weights.shape[0]

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.rows * self.weights.size


@dataclass(frozen=True, eq=False)
class PoolNode(_Node):
    """Maximum (or sum) over windows, then y = clamp(round(max(x - x.zero_point) * scale) +
    y.zero_point, low, high); padding never wins (or adds nothing).

    With ``scale`` 1 and equal zero points the maximum is passed on as it is. A 1 x 1 window is an
    elementwise change of scale or a Relu/Clip, on a tensor of any rank (`Tensor.image`).

    Members
    -------
    x, y : same layout; channels last where the window is larger than 1 x 1.
    pads : top, left, bottom, right; the last two reach as far as the last window does.
    scale, scale64 : one for the tensor; or one for each pixel of y, where windows that reach into
        the padding are averages of fewer values.
    reduction : MAX, or SUM: an average is a sum whose scale is divided by the window's size.
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
    kind: ClassVar[str] = "pool"


@dataclass(frozen=True, eq=False)
class ViewNode(_Node):
    """Same bytes in memory under another name and shape; the layout of ``y`` says how to read them.

    Members
    -------
    shape, axes : y = x.transpose(axes) where ``axes`` is given, else x.reshape(y.shape).
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    axes: Shape | None = None
    kind: ClassVar[str] = "view"


@dataclass(frozen=True, eq=False)
class ProductNode(_Node):
    """Matrix product of two activations: y = clamp(round(sum (x - x.zero_point)(z - z.zero_point)
    * scale) + y.zero_point, low, high). Leading axes broadcast as NumPy's do.

    Members
    -------
    x : ... M K; its last axis is contiguous in memory (`Tensor.strides`).
    z : ... K N; its last axis is contiguous in memory, or its last but one (z transposed).
    y : ... M N; its last axis is contiguous in memory.
    scale, scale64 : as in `ConvNode`, Sz for Sw.
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
    kind: ClassVar[str] = "product"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Both operands."""
        return self.x, self.z

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.y.size * self.x.shape[-1]


@dataclass(frozen=True, eq=False)
class TableNode(_Node):
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
class AddNode(_Node):
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
class SoftmaxNode(_Node):
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
class NormalizeNode(_Node):
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


OperatorNode = (
    ConvNode | MatMulNode | PoolNode | ViewNode | DynamicLinearNode
    | ProductNode | TableNode | AddNode | SoftmaxNode | NormalizeNode
)
