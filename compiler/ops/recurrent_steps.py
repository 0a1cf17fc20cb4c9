# SPDX-License-Identifier: Apache-2.0
"""The nodes that a recurrent layer is made of, each a part of the same whole.

Tensors between them are batches as 1 x batch x hidden, or several of these along the first axis.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import (
    AddNode,
    Box,
    DynamicLinearNode,
    JoinNode,
    MatMulNode,
    MoveNode,
    MulNode,
    OperatorNode,
    Piece,
    PoolNode,
    Shape,
    TableNode,
    Tensor,
    ViewNode,
    Whole,
)
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout, channels_last
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.recurrent_scales import HALF, OFFSETS, Gates, Table, XProduct
from kiwicha.machine.isa import Reduction

__all__ = ["Steps"]

_INT8 = np.dtype(np.int8)
_ONE = np.float32(1)
_IMAGES = channels_last(4)


class Steps:
    """Emits the nodes of one layer.

    Parameters
    ----------
    node : the layer in the model.
    batch, hidden : rows and columns of a state.
    """

    def __init__(self, context: Context, node: onnx.NodeProto, batch: int, hidden: int) -> None:
        self.context, self.title, self.op = context, node_name(node), node.op_type
        self.shape = 1, batch, hidden
        self.whole = Whole(self.title, self.op)
        self.place = ""

    def emit(self, node: OperatorNode) -> Tensor:
        """Append a node as a part of the layer; return its result."""
        self.context.emit(node)
        self.context.wholes[node.y.name] = self.whole
        return node.y

    def tensor(
        self, what: str, shape: Shape, scale: Any = _ONE, zero: int = 0,
        dtype: np.dtype[Any] = _INT8,
    ) -> Tensor:
        """Return a new tensor; its name says where in the layer it is."""
        name = self.context.names.fresh(self.title, f"{self.place}{what}")
        return Tensor(name, shape, dtype, np.float32(scale), zero)

    def operand(self, x: Tensor, step: int, h: Tensor | None) -> Tensor:
        """Return x of a step and h side by side, 1 x batch x (features + hidden), in the type of
        x; int8 h becomes uint8 with zero point 128 then. Without h: x alone."""
        _, batch, features = x.shape
        hidden = self.shape[-1] if h is not None else 0
        zero = 0 if x.dtype == np.int8 else 128
        y = self.tensor("input", (1, batch, features + hidden), zero=zero, dtype=x.dtype)
        info = np.iinfo(x.dtype)
        rest = _ONE, np.float64(1), int(info.min), int(info.max)
        part = Box.at((step, 0, 0), (1, batch, features))
        pieces = [Piece(
            replace(x, zero_point=zero), part, Box.at((0, 0, 0), part.shape), *rest
        )]
        if h is not None:
            part = Box.whole(h.shape)
            pieces.append(Piece(h, part, Box.at((0, 0, features), part.shape), *rest))
        return self.emit(MoveNode(y.name, self.op, tuple(pieces), y))

    def arguments(
        self, x: Tensor | None, h: Tensor | None, gates: Gates, operand: Tensor,
        constant: NDArray[np.int8] | None = None,
    ) -> Tensor:
        """Return the arguments of gates, gates x batch x hidden.

        Parameters
        ----------
        x, h : what ``operand`` is made of; ``x`` has the zero point of its codes.
        constant : int8, the first h, one for all of the batch, where no ``h`` is in ``operand``.
        """
        weights, bias = [], gates.bias.astype(np.int64)
        if x is not None:
            weights.append(gates.x)
            shift = operand.zero_point - x.zero_point
            bias = bias + shift * gates.x.astype(np.int64).sum(axis=0)
        if h is not None:
            weights.append(gates.h)
        elif constant is not None:
            bias = bias + constant.astype(np.int64) @ gates.h
        matrix, (_, batch, hidden) = np.concatenate(weights), self.shape
        columns = len(gates.bias)
        width = columns if batch == 1 else hidden
        made = [
            self._product(operand, matrix[:, part], bias[part].astype(np.int32),
                          gates.scale[part], gates.scale64[part])
            for part in (slice(first, first + width) for first in range(0, columns, width))
        ]
        if len(made) > 1:
            return self.join(made, (columns // hidden, batch, hidden), "arguments")
        return made[0] if columns == hidden else self.inside(made[0], 0, columns // hidden)

    def _product(
        self, x: Tensor, weights: NDArray[np.int8], bias: NDArray[np.int32],
        scale: NDArray[np.float32], scale64: NDArray[np.float64],
    ) -> Tensor:
        depth, columns = weights.shape
        y = self.tensor("product", (*x.shape[:-1], columns))
        return self.emit(MatMulNode(
            y.name, self.op, x, y, np.ascontiguousarray(weights), np.zeros(columns, np.int16),
            bias, scale, scale64, np.arange(depth), -HALF, HALF, "golden",
        ))

    def linear(self, x: Tensor, record: Tensor, product: XProduct, part: slice) -> Tensor:
        """Return products of x, whose scale is in ``record``, with some columns: uint8, zero point
        128, steps x batch x columns."""
        weights = np.ascontiguousarray(product.weights[:, part])
        columns = weights.shape[1]
        y = self.tensor("of x", (*x.shape[:-1], columns), zero=128, dtype=np.dtype(np.uint8))
        return self.emit(DynamicLinearNode(
            y.name, self.op, x, record, y, None, weights, np.zeros(columns, np.int16),
            product.scale[part], product.bias[part], False, fixed=True,
        ))

    def sum(self, x: Tensor, own: Tensor | NDArray[np.int8]) -> Tensor:
        """Return x and another tensor or constant, of the same scale, as one int8."""
        constant, shape = None, np.broadcast_shapes(x.shape, own.shape)
        if not isinstance(own, Tensor):
            constant, own = own, self.tensor("constant", own.shape)
        y = self.tensor("arguments", shape)
        return self.emit(AddNode(
            y.name, self.op, x, own, y, -HALF, HALF, constant, promise="golden"
        ))

    def inside(self, x: Tensor, start: int, count: int) -> Tensor:
        """Return ``count`` batches of a row-major tensor from byte ``start`` on."""
        y = replace(x, name=self.tensor("part", ()).name, shape=(count, *self.shape[1:]))
        return self.emit(ViewNode(y.name, self.op, x, y, start=start))

    def join(
        self, parts: Sequence[Tensor], shape: Shape, what: str, layout: Layout = ROW_MAJOR
    ) -> Tensor:
        """Return tensors that lie one after the other in memory as one."""
        first = parts[0]
        y = replace(
            self.tensor(what, shape, first.scale, first.zero_point, first.dtype), layout=layout
        )
        return self.emit(JoinNode(y.name, self.op, first, y, parts=tuple(parts)))

    def copied(self, parts: Sequence[Tensor], shape: Shape, what: str) -> Tensor:
        """Return batches that are parts of another tensor already as one."""
        first = parts[0]
        y = self.tensor(what, shape, first.scale, first.zero_point, first.dtype)
        pieces = [
            Piece(x, Box.whole(x.shape), Box.at((place, 0, 0), x.shape), _ONE, np.float64(1),
                  -128, 127)
            for place, x in enumerate(parts)
        ]
        return self.emit(MoveNode(y.name, self.op, tuple(pieces), y))

    def padded(self, x: Tensor, length: int) -> Tensor:
        """Return ``x`` with zeros behind it along its first axis."""
        shape, rest = (length, *x.shape[1:]), (length - x.shape[0], *x.shape[1:])
        y = self.tensor("padded", shape, x.scale, x.zero_point, x.dtype)
        zeros = self.tensor("zeros", rest, x.scale, x.zero_point, x.dtype)
        behind = Box.at((x.shape[0], *(0 for _ in rest[1:])), rest)
        limits = _ONE, np.float64(1), -128, 127
        pieces = (
            Piece(x, Box.whole(x.shape), Box.at((0,) * len(shape), x.shape), *limits),
            Piece(zeros, Box.whole(rest), behind, *limits, np.full(rest, x.zero_point, x.dtype)),
        )
        return self.emit(MoveNode(y.name, self.op, pieces, y))

    def part(self, x: Tensor, first: int, count: int = 1) -> Tensor:
        """Return ``count`` batches from number ``first`` on of a row-major tensor of several."""
        if count == prod(x.shape) // prod(self.shape):
            return x
        return self.inside(x, first * prod(self.shape), count)

    def table(self, x: Tensor, table: Table, what: str) -> Tensor:
        """Return a function of each byte."""
        y = replace(x, name=self.tensor(what, ()).name, dtype=table.dtype, scale=table.scale)
        return self.emit(TableNode(y.name, self.op, x, y, table.values, "golden"))

    def tables(self, x: Tensor, tables: Sequence[Table]) -> list[Tensor]:
        """Return a function of each batch; equal neighbours share a pass."""
        made: list[Tensor] = []
        while len(made) < len(tables):
            first = len(made)
            count = 1
            while first + count < len(tables) and tables[first + count] is tables[first]:
                count += 1
            y = self.table(self.part(x, first, count), tables[first], "gates")
            made += [self.part(y, place) for place in range(count)]
        return made

    def product(
        self, x: Tensor, z: Tensor | NDArray[Any], z_scale: np.float32, scale: np.float32
    ) -> Tensor:
        """Return x times z, which may be a constant, in int8; they broadcast."""
        constant = None if isinstance(z, Tensor) else z
        z = z if isinstance(z, Tensor) else self.tensor("constant", z.shape)
        z = replace(z, scale=z_scale)
        shape = np.broadcast_shapes(x.shape, z.shape)
        y = self.tensor("product", shape, scale)
        if constant is None and prod(z.shape) > prod(x.shape):
            x, z = z, x
        return self.emit(MulNode(
            y.name, self.op, x, z, y, -128, 127, constant, promise="golden"
        ))

    def rows(self, parts: Sequence[Tensor]) -> Tensor:
        """Return batches below each other as an image whose columns can be summed up."""
        _, batch, hidden = self.shape
        count = sum(prod(part.shape) for part in parts) // (batch * hidden)
        return self.join(parts, (1, hidden, count, batch), "summands", _IMAGES)

    def total(
        self, rows: Tensor, ratio: tuple[np.float32, np.float64] = (_ONE, np.float64(1)),
        offset: int = 0, low: int = -128, scale: Any = _ONE, what: str = "sum",
    ) -> Tensor:
        """Return the sum of each column times ``ratio``, less ``offset``, clamped to int8; an image
        of one row."""
        _, hidden, count, batch = rows.shape
        y = replace(
            self.tensor(what, (1, hidden, 1, batch), scale), layout=_IMAGES
        )
        self.emit(PoolNode(
            y.name, self.op, rows, replace(y, zero_point=-offset), (count, 1), (1, 1),
            (0, 0, 0, 0), (1, 1), *ratio, low, HALF, Reduction.SUM, "golden",
        ))
        return y

    def state(self, rows: Tensor, unit: np.float32) -> Tensor:
        """Return the slices of the sums, slices x batch x hidden."""
        made = [
            self.total(rows, offset=k, low=-HALF, scale=unit, what="slice") for k in OFFSETS
        ]
        return self.join(made, (len(OFFSETS), *self.shape[1:]), "state")

    def batch(self, image: Tensor) -> Tensor:
        """Return an image of one row as a batch."""
        return self.join([image], self.shape, "batch")
