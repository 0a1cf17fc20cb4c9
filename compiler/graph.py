# SPDX-License-Identifier: Apache-2.0
"""The compiler's own graph: what is left of a quantized ONNX model once it is ready to schedule.

The machine executes `ConvNode`, `MatMulNode` and `PoolNode`; a `ViewNode` gives bytes a new name
and shape; `HostQuantize` and `HostDequantize` are the float edges, computed by the host.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from compiler.layout import ROW_MAJOR, Layout

__all__ = [
    "ConvNode", "Graph", "HostDequantize", "HostQuantize", "MatMulNode", "Node", "Note", "Pair",
    "PoolNode", "Quad", "Shape", "Tensor", "Value", "ViewNode",
]  # fmt: skip

Shape = tuple[int, ...]
Pair = tuple[int, int]
Quad = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tensor:
    """An int8 or uint8 tensor. Real value = scale * (stored value - zero_point).

    ``x`` of a node holds that node's own reading of the bytes: two nodes may read a tensor of one
    name with different scales or zero points.

    Members
    -------
    shape : in ONNX order (N C H W, N C L, or any matrix stack).
    dtype : np.dtype("int8") or np.dtype("uint8").
    layout : order of the bytes in memory.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    scale: np.float32
    zero_point: int
    layout: Layout = ROW_MAJOR

    @property
    def size(self) -> int:
        """Elements, which are bytes."""
        return prod(self.shape)

    @property
    def image(self) -> Quad:
        """Shape as N, C, H, W: H is 1 for N C L; a matrix stack is one pixel a row."""
        if len(self.shape) == 4:
            return self.shape
        if len(self.shape) == 3 and self.layout != ROW_MAJOR:
            return self.shape[0], self.shape[1], 1, self.shape[2]
        return prod(self.shape[:-1]), self.shape[-1] if self.shape else 1, 1, 1

    def to_memory(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the flat bytes of ``array`` (ONNX order, this dtype) as memory holds them."""
        return np.ascontiguousarray(self.layout.apply(array.reshape(self.shape)))

    def from_memory(self, flat: NDArray[Any]) -> NDArray[Any]:
        """Return the array in ONNX order and this dtype; ``flat`` is bytes of any 8-bit type."""
        return self.layout.invert(np.ascontiguousarray(flat).view(self.dtype), self.shape)


@dataclass(frozen=True, eq=False)
class ConvNode:
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
    strides, dilations : vertical, horizontal.
    pads : top, left, bottom, right.
    low, high : inclusive bounds of y: its type's range, narrower where a Relu or Clip is fused.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    weights: NDArray[np.int8]
    weight_zero: NDArray[np.int16]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    groups: int
    strides: Pair
    pads: Quad
    dilations: Pair
    low: int
    high: int
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
class MatMulNode:
    """Matrix product with constant weights; arithmetic as in `ConvNode`, a channel is a column.

    Members
    -------
    x : ... M K; each of its rows is K consecutive bytes in memory, permuted by ``order``.
    y : ... M N, row-major.
    weights : int8, K x N, rows in ONNX order.
    weight_zero, bias, scale : one per column.
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
    order: NDArray[np.int64]
    low: int
    high: int
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
class PoolNode:
    """Maximum over windows, then y = clamp(round(max(x - x.zero_point) * scale) + y.zero_point,
    low, high); padding never wins.

    With ``scale`` 1 and equal zero points the maximum is passed on as it is. A 1 x 1 window is an
    elementwise change of scale or a Relu/Clip, on a tensor of any rank (`Tensor.image`).

    Members
    -------
    x, y : same layout; channels last where the window is larger than 1 x 1.
    pads : top, left, bottom, right; the last two reach as far as the last window does.
    scale : float32, one for the tensor.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    kernel: Pair
    strides: Pair
    pads: Quad
    dilations: Pair
    scale: np.float32
    low: int
    high: int
    kind: ClassVar[str] = "max"

    @property
    def macs(self) -> int:
        """A maximum multiplies nothing."""
        return 0


@dataclass(frozen=True, eq=False)
class ViewNode:
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

    @property
    def macs(self) -> int:
        """A view computes nothing."""
        return 0


Node = ConvNode | MatMulNode | PoolNode | ViewNode


@dataclass(frozen=True)
class Value:
    """A graph input or output as the user sees it: name, shape, dtype (float32, int8 or uint8)."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class HostQuantize:
    """QuantizeLinear of a graph input: float32 division, half to even, then the zero point.

    Members
    -------
    source : graph input.
    view : reshapes and transposes of the input before it is quantized.
    tensor : what the machine reads.
    """

    name: str
    source: str
    view: Layout
    tensor: Tensor

    def __call__(self, array: NDArray[np.float32]) -> NDArray[Any]:
        """Return the tensor's values in ONNX order."""
        info = np.iinfo(self.tensor.dtype)
        zero = np.float32(self.tensor.zero_point)
        with np.errstate(over="ignore"):
            real = self.view.apply(array).astype(np.float32) / self.tensor.scale
        codes = np.rint(np.clip(real, info.min - zero, info.max - zero)) + zero
        return codes.astype(self.tensor.dtype).reshape(self.tensor.shape)


@dataclass(frozen=True)
class HostDequantize:
    """DequantizeLinear into a graph output: scale * (value - zero_point) in float32.

    Members
    -------
    bounds : of a Clip behind it whose limits no code stands for; noted where it is not infinite.
    """

    name: str
    tensor: Tensor
    target: str
    bounds: tuple[np.float32, np.float32] = (np.float32(-np.inf), np.float32(np.inf))

    def __call__(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Return the graph output; ``array`` holds the tensor's values in ONNX order."""
        centred = array.astype(np.int32) - self.tensor.zero_point
        real = centred.astype(np.float32) * self.tensor.scale
        return np.clip(real, *self.bounds)


@dataclass(frozen=True)
class Note:
    """Something the report has to say about a node, such as a rule of our own that was applied."""

    node: str
    text: str


@dataclass(frozen=True)
class Graph:
    """A model ready to schedule.

    Members
    -------
    inputs, outputs : what the user gives and gets.
    quantize : float inputs on their way in; an integer input is itself the tensor of its name.
    nodes : in topological order.
    dequantize : float outputs on their way out; an integer output is the tensor of its name.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    quantize: tuple[HostQuantize, ...]
    nodes: tuple[Node, ...]
    dequantize: tuple[HostDequantize, ...]
    notes: tuple[Note, ...] = ()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, as its producer writes it."""
        written = [q.tensor for q in self.quantize] + [node.y for node in self.nodes]
        produced = {tensor.name: tensor for tensor in written}
        read = {node.x.name: node.x for node in self.nodes}
        return {**read, **produced}

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """Tensors that the host puts into memory before the machine starts."""
        names = {value.name for value in self.inputs}
        integer = {n.x.name: n.x for n in self.nodes if n.x.name in names}
        return (*(q.tensor for q in self.quantize), *integer.values())

    @property
    def output_tensors(self) -> tuple[Tensor, ...]:
        """Tensors that the host reads when the machine is done."""
        names = {value.name for value in self.outputs}
        tensors = {d.tensor.name: d.tensor for d in self.dequantize}
        tensors |= {n: t for n, t in self.tensors.items() if n in names}
        return tuple(tensors.values())
