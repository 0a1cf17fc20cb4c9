# SPDX-License-Identifier: Apache-2.0
"""What gates make of x and h: of x in codes together with h, of x in float before all steps.

ONNX Runtime knows no scale of a float graph input. The host quantizes it by its range, and a linear
layer with dynamic scales multiplies all steps at once; its results have the scale of the gates'
arguments, to which the product of h is added then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.ops.recurrent_scales import HALF, Cell, Gates, XProduct
from kiwicha.compiler.ops.recurrent_steps import Steps

__all__ = ["Codes", "Multiplied", "Source", "State", "multiplied"]

State = Tensor | NDArray[np.int8]
"""A hidden state: 1 x batch x hidden, or a constant, batch x hidden, before the first step."""


class Source(Protocol):
    """The inputs of a direction."""

    def arguments(self, gates: Gates, first: int, place: int, h: State) -> Tensor:
        """Return the arguments of gates from number ``first`` on, of step ``place``."""

    def late(self, cell: Cell, place: int, h: State, r: Tensor) -> Tensor:
        """Return the argument of a GRU's new state where h is multiplied before it is reset."""


@dataclass(frozen=True, eq=False)
class Codes:
    """``x`` is steps x batch x features, quantized."""

    steps: Steps
    x: Tensor

    def arguments(self, gates: Gates, first: int, place: int, h: State) -> Tensor:
        """As `Source`."""
        known = h if isinstance(h, Tensor) else None
        constant = None if isinstance(h, Tensor) else h[0]
        operand = self.steps.operand(self.x, place, known)
        return self.steps.arguments(self.x, known, gates, operand, constant)

    def late(self, cell: Cell, place: int, h: State, r: Tensor) -> Tensor:
        """As `Source`."""
        assert cell.new_x is not None
        assert cell.new_h is not None
        steps = self.steps
        operand = steps.operand(self.x, place, None)
        first = steps.arguments(self.x, None, cell.new_x, operand)
        if isinstance(h, Tensor):
            second = steps.arguments(None, h, cell.new_h, h)
        else:  # whose weights for x are zeros
            second = steps.arguments(self.x, None, cell.new_h, operand, h[0])
        second = steps.product(r, second, cell.parts, cell.parts)
        return steps.batch(steps.total(steps.rows([first, second]), _ratio(cell)))


@dataclass(frozen=True, eq=False)
class Multiplied:
    """``products`` hold the arguments of x: one tensor of all gates, steps x 1 x columns, for a
    batch of one; else one for each gate, steps x batch x hidden."""

    steps: Steps
    products: Sequence[Tensor]

    def arguments(self, gates: Gates, first: int, place: int, h: State) -> Tensor:
        """As `Source`."""
        count = len(gates.bias) // self.steps.shape[-1]
        if isinstance(h, Tensor):
            return self._add(self.steps.arguments(None, h, gates, h), first, place)
        codes = _constant(gates, h).reshape(count, 1, -1)
        return self._add(codes, first, place)

    def late(self, cell: Cell, place: int, h: State, r: Tensor) -> Tensor:
        """As `Source`."""
        assert cell.new_h is not None
        steps, (_, batch, hidden) = self.steps, self.steps.shape
        second: State
        if isinstance(h, Tensor):
            second = steps.arguments(None, h, cell.new_h, h)
        else:
            codes = _constant(cell.new_h, h).reshape(-1, 1, hidden)
            second = np.repeat(codes, batch, axis=1)
        second = steps.product(r, second, cell.parts, cell.parts)
        total = steps.total(steps.rows([second]), _ratio(cell))
        return self._add(steps.batch(total), 2, place)

    def _add(self, own: State, first: int, place: int) -> Tensor:
        """Return the product of h and that of x as one argument."""
        steps, count, (_, batch, hidden) = self.steps, own.shape[0], self.steps.shape
        size = batch * hidden
        if batch == 1:
            (all_gates,) = self.products
            start = place * all_gates.shape[-1] + first * hidden
            return steps.sum(steps.inside(all_gates, start, count), own)
        made = []
        for gate in range(count):
            x = steps.inside(self.products[first + gate], place * size, 1)
            part = steps.part(own, gate) if isinstance(own, Tensor) else own[gate : gate + 1]
            made.append(steps.sum(x, part))
        return made[0] if count == 1 else steps.join(made, (count, batch, hidden), "arguments")


def multiplied(steps: Steps, x: Tensor, record: Tensor, product: XProduct) -> Multiplied:
    """Emit the products of all steps with x."""
    _, batch, hidden = steps.shape
    columns = len(product.bias)
    width = columns if batch == 1 else hidden
    return Multiplied(steps, [
        steps.linear(x, record, product, slice(first, first + width))
        for first in range(0, columns, width)
    ])


def _constant(gates: Gates, h: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the arguments of a constant h."""
    total = gates.bias + h[0].astype(np.int64) @ gates.h
    codes = np.rint(total.astype(np.float32) * gates.scale)
    return np.clip(codes, -HALF, HALF).astype(np.int8)


def _ratio(cell: Cell) -> tuple[np.float32, np.float64]:
    return np.float32(cell.parts / cell.argument), np.float64(cell.parts) / cell.argument
