# SPDX-License-Identifier: Apache-2.0
"""The nodes of dynamically quantized graphs; what all nodes have is in `compiler.graph.node`."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.node import BaseNode, Promise
from kiwicha.compiler.graph.tensor import Bounds, Pair, Quad, Tensor
from kiwicha.machine.isa import RealFunction

__all__ = ["DynamicConvNode", "DynamicLinearNode", "DynamicScaleNode"]


@dataclass(frozen=True, eq=False)
class DynamicLinearNode:
    """A linear layer whose input's scale Sx, and its output's, follow from the values, as ONNX's
    DynamicQuantizeLinear has it: v = f(f(f(sum (x - Zx)(w - weight_zero)) * f(Sx * w_scale)) +
    bias), each f() a rounding to binary32, and y is v quantized by its own range.

    Members
    -------
    x : uint8, ... K; ``x_record`` : its scale and zero point, a record of all slots of which only
        that of number ``slot`` counts (`machine.isa.LoadTarget.DYNAMIC`). None: the zero point is
        that of x, which may be int8 then, and y the sums.
    y : uint8, ... N, row-major; or ... 4 N bytes, the int32 sums little endian, of which the host
        makes v.
    y_record, target : as ``x_record`` and ``slot``, of y; None where y is the sums.
    weights : int8, K x N; weight_zero, w_scale, bias : one per column.
    relu : whether negative v become 0.
    order : of the rows of x in memory, as in `MatMulNode`; row-major where None.
    promise : "golden" where the runtime quantizes nothing.
    fixed : whether y has scale and zero point of its own, by which v is quantized.
    slope : what negative v are multiplied by, one for each column; None where they stay.
    real : whether y is v itself, in binary32, ... 4 N bytes (`compiler.graph.dynamic_real`);
    addend : the same of a tensor of the shape of y, which is added to v before ``relu``.
    reload : whether slot ``slot`` held something else meanwhile.
    offset : what is added to v * slope, which all v become then; None where they do not.
    gated : whether v is multiplied by ``addend`` instead of a sum; it has no slope then.
    bounds : within which v is held in the end, before ``relu``; None where it is not.
    """

    name: str
    op: str
    x: Tensor
    x_record: Tensor | None
    y: Tensor
    y_record: Tensor | None
    weights: NDArray[np.int8]
    weight_zero: NDArray[np.int16]
    w_scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    relu: bool
    slot: int = 0
    target: int | None = None
    order: NDArray[np.int64] | None = None
    fixed: bool = False
    promise: Promise = "runtime"
    reload: bool = False
    slope: NDArray[np.float32] | None = None
    real: bool = False
    addend: Tensor | None = None
    offset: NDArray[np.float32] | None = None
    gated: bool = False
    bounds: Bounds | None = None
    kind: ClassVar[str] = "dynamic"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The operand and the record with its scale, and what is added."""
        return tuple(t for t in (self.x, self.x_record, self.addend) if t is not None)

    @property
    def results(self) -> tuple[Tensor, ...]:
        """The output and the record with its scale."""
        return (self.y,) if self.y_record is None else (self.y, self.y_record)

    @property
    def functions(self) -> int:
        """What is done to v, as bits of `machine.isa.RealFunction`."""
        bits = (
            (RealFunction.BOUNDED, self.bounds is not None),
            (RealFunction.SCALED, self.offset is not None),
            (RealFunction.GATED, self.gated),
        )
        return sum(int(bit) for bit, has in bits if has)

    @property
    def columns(self) -> int:
        """Results side by side."""
        return self.weights.shape[1]

    @property
    def rows(self) -> int:
        """All leading dimensions multiplied."""
        return self.x.size // self.weights.shape[0]

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.rows * self.weights.size


@dataclass(frozen=True, eq=False, kw_only=True)
class DynamicConvNode(DynamicLinearNode):
    """The same of a 2-D convolution, a channel for a column; padding contributes nothing.

    Members
    -------
    x : uint8, N C H W (or N C L), channels last in memory.
    y : uint8, N C H W (or N C L), channels last in memory, of which rows and columns at the far
        ends may be left out; or pixels x 4 C bytes.
    image : N C H W of the result.
    weights : int8, out channels x (in channels / groups) x kernel height x kernel width.
    strides, dilations : vertical, horizontal.
    pads : top, left; the far sides follow from ``image``.
    pool : kernel, strides and pads (top, left) of windows of whose maxima y is made; v never
        decreases with a sum then. None where y is made of v.
    pooled : rows and columns of windows.
    """

    image: Quad
    groups: int
    strides: Pair
    pads: Pair
    dilations: Pair
    pool: tuple[Pair, Pair, Pair] | None = None
    pooled: Pair = (0, 0)
    kind: ClassVar[str] = "dynamic_conv"

    @property
    def columns(self) -> int:
        """Channels."""
        return self.image[1]

    @property
    def rows(self) -> int:
        """Pixels of all images."""
        return prod(self.image) // self.columns

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates, those on padding included."""
        return self.rows * self.weights.size


@dataclass(frozen=True, eq=False)
class DynamicScaleNode(BaseNode):
    """A tensor with a scale of its own, quantized once more by its range, as DequantizeLinear and
    DynamicQuantizeLinear do.

    Members
    -------
    x, y : same shape and layout; y is uint8, its scale and zero point in ``y_record``.
    slot, target : of scale 1, and of y.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    y_record: Tensor
    slot: int = 0
    target: int = 0
    kind: ClassVar[str] = "dynamic_scale"

    @property
    def results(self) -> tuple[Tensor, ...]:
        """The output and the record with its scale."""
        return self.y, self.y_record
