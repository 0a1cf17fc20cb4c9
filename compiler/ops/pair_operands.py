# SPDX-License-Identifier: Apache-2.0
"""Operands in float as codes: a tensor's own, or numbers of a constant's values."""

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.ops.chain import dequantized
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.function import code_function
from kiwicha.compiler.ops.limits import QUANTIZED
from kiwicha.compiler.ops.pair_functions import EXTREMES, quantized
from kiwicha.compiler.ops.view import emit_view

__all__ = ["Operand", "operand_of", "plain_operand"]


@dataclass(frozen=True, eq=False)
class Operand:
    """An operand as codes: a tensor, or a constant's values by number.

    Members
    -------
    values : float32, those of a tensor by the raw byte, those of a constant as many as it has.
    numbers : the byte for each of them; a constant of more than 256 has one for several that are
        close together.
    steps : distance of each code from zero where the values are steps times the scale.
    """

    tensor: Tensor
    values: NDArray[np.float32]
    numbers: NDArray[np.int64]
    steps: NDArray[np.int64] | None = None
    codes: NDArray[np.uint8] | None = None
    exact: bool = True

    @property
    def by_number(self) -> NDArray[np.float32]:
        """What stands for the values of each number: the middle of them."""
        numbers = np.arange(self.numbers[-1] + 1)
        least = np.searchsorted(self.numbers, numbers, "left")
        greatest = np.searchsorted(self.numbers, numbers, "right") - 1
        middle: NDArray[np.float32] = self.values[least]
        several = least < greatest
        middle[several] = (self.values[least] / 2 + self.values[greatest] / 2)[several]
        return middle


def operand_of(context: Context, node: onnx.NodeProto, name: str, y: Tensor) -> Operand:
    """Return an operand; a constant's order in memory is still open."""
    if name in context.floats:
        value = context.floats[name]
        QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
        assert isinstance(value.origin, Tensor)
        x = value.origin
        seen = x
        for place, move in enumerate(op for op in value.operations if op.kind == "view"):
            fresh = context.names.fresh(name, f"codes {place}")
            seen = emit_view(
                context, move.node, seen, move.view, replace(seen, name=fresh, shape=move.shape)
            )
        if all(op.kind == "view" for op in value.operations):
            return plain_operand(seen)
        function = code_function(context, context.settled(x), name)
        values = function.values[0].astype(np.float32)
        return Operand(seen, values, np.arange(256), exact=function.exact)
    constant = context.constants[name].astype(np.float32)
    if node.op_type in EXTREMES:  # no more than its codes matters
        constant = dequantized(y, quantized(constant, y).astype(np.int32))
    values, places = np.unique(constant, return_inverse=True)
    numbers = _grouped(values)
    fresh = context.names.fresh(node_name(node), "constant")
    tensor = Tensor(fresh, constant.shape, np.dtype(np.uint8), np.float32(1), 0)
    codes = numbers[np.reshape(places, constant.shape)].astype(np.uint8)
    return Operand(tensor, values, numbers, codes=codes)


def _grouped(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return a number below 256 for each of these ascending values: one for several where there
    are more, of which the farthest are as close together as can be."""
    if values.size <= 256:
        return np.arange(values.size)
    narrow, wide = 0.0, float(values[-1]) - float(values[0])
    for _ in range(60):
        width = (narrow + wide) / 2
        narrow, wide = (narrow, width) if _groups(values, width)[-1] < 256 else (width, wide)
    return _groups(values, wide)


def _groups(values: NDArray[np.float32], width: float) -> NDArray[np.int64]:
    """Return the number of the first of the fewest groups, none wider, that each value is in."""
    real, starts = values.astype(np.float64), [0]
    while (end := int(np.searchsorted(real, real[starts[-1]] + width, "right"))) < real.size:
        starts.append(end)
        if len(starts) > 256:
            return np.full(values.size, 256)
    return np.searchsorted(starts, np.arange(real.size), "right") - 1


def plain_operand(x: Tensor, exact: bool = True) -> Operand:
    """Return a tensor that is only dequantized."""
    every = np.arange(256, dtype=np.uint8).view(x.dtype).astype(np.int32)
    steps = every.astype(np.int64) - x.zero_point
    return Operand(x, dequantized(x, every), np.arange(256), steps, exact=exact)
