# SPDX-License-Identifier: Apache-2.0
"""Functions of two codes: what ONNX Runtime computes in float, and what SPECIAL makes of tables."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import Tensor
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.pair_tables import Tables, factor_tables, multiply, multiply_add, sum_tables

__all__ = ["EXTREMES", "SCALED", "Function", "approximation", "differences", "quantized"]

EXTREMES = ("Max", "Min")
"""Operators that are done on codes, of more than two operands, too."""
SCALED = {"Mul": (0, 1), "Div": (0,), "PRelu": (0,)}
"""Operators that the machine does as products, and which of their operands may be the integer."""

_FAR = 2.0**20
"""In codes: what is further away is as far."""
_BLOCK = 4096
"""Values of a constant that are compared together."""


def quantized(values: NDArray[np.float32], y: Tensor) -> NDArray[np.int64]:
    """Return QuantizeLinear's codes, in float32; far out of range for NaN."""
    info, zero = np.iinfo(y.dtype), y.zero_point
    with np.errstate(over="ignore", invalid="ignore"):
        bounded = np.clip(values / y.scale, info.min - zero, info.max - zero)
    codes: NDArray[np.int64] = np.rint(np.nan_to_num(bounded, nan=_FAR)).astype(np.int64) + zero
    return codes


@dataclass(frozen=True, eq=False)
class Function:
    """``op`` of two float32 values, quantized as ``y`` and clamped.

    Members
    -------
    first, second : the values of the operands, by the raw byte.
    bounds : least and greatest code.
    """

    op: str
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    bounds: tuple[int, int]
    y: Tensor

    @property
    def codes(self) -> NDArray[np.int64]:
        """What ONNX Runtime makes of every pair, first by second."""
        u, v = self.first[:, None], self.second[None, :]
        with np.errstate(all="ignore"):
            if self.op in ("Add", "Sum"):
                real = u + v
            elif self.op == "Sub":
                real = u - v
            elif self.op == "Mean":
                real = (u + v) / np.float32(2)
            elif self.op == "Mul":
                real = u * v
            elif self.op == "Div":
                real = u / v
            else:
                real = np.where(u < 0, u * v, u)  # PRelu
        return np.clip(quantized(real, self.y), *self.bounds)


def approximation(
    real: Function, a: int, steps: NDArray[np.int64] | None, scale: float
) -> tuple[SpecialOperation, Tables]:
    """Return the machine's operation and its tables.

    Parameters
    ----------
    a : which operand is the machine's first.
    steps, scale : of that operand, where the operation is a product: its values are steps times
        scale.
    """
    unit = float(real.y.scale)
    with np.errstate(over="ignore", divide="ignore"):
        reals = [_bounded(values.astype(np.float64) / unit) for values in (real.first, real.second)]
        if steps is None:
            if real.op == "Sub":
                reals[1] = -reals[1]
            if real.op == "Mean":
                reals = [values / 2 for values in reals]
            return SpecialOperation.ADD, sum_tables(reals[a], reals[1 - a])
        other = (real.second if a == 0 else real.first).astype(np.float64)
        factors = scale / unit * (1 / other if real.op == "Div" else other)
    offsets = np.zeros_like(steps)
    if real.op == "PRelu":
        # What is not negative is no product but its own code.
        offsets = np.where(steps < 0, 0, quantized(real.first, real.y) - real.y.zero_point)
        steps = np.minimum(steps, 0)
    return SpecialOperation.MUL, factor_tables(steps, offsets, _bounded(factors))


def _bounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.nan_to_num(values, nan=_FAR), -_FAR, _FAR)


def differences(
    real: Function,
    a: int,
    numbers: tuple[NDArray[np.int64], NDArray[np.int64]],
    operation: SpecialOperation,
    tables: Tables,
) -> int:
    """Return by how many codes the machine's result is off at most, over all pairs.

    Parameters
    ----------
    numbers : the entries of both tables that are taken for the values of the machine's first and
        second operand.
    """
    steps = range(0, max(len(real.first), len(real.second)), _BLOCK)
    if len(steps) > 1:
        longer = int(len(real.second) > len(real.first))
        names, parts = ("first", "second"), []
        for start in steps:
            part = slice(start, start + _BLOCK)
            some = replace(real, **{names[longer]: getattr(real, names[longer])[part]})
            taken = list(numbers)
            taken[longer ^ a] = taken[longer ^ a][part]
            parts.append(differences(some, a, (taken[0], taken[1]), operation, tables))
        return max(parts)
    first, second, shift = tables
    pairs = first[numbers[0]][:, None], second[numbers[1]][None, :]
    if operation is SpecialOperation.MUL:
        total = multiply(*pairs, shift)
    else:
        total = multiply_add(pairs[0], 2.0**shift, pairs[1].view(np.float32))
    made = np.clip(np.rint(total.astype(np.float64)) + real.y.zero_point, *real.bounds)
    return int(np.abs(made - (real.codes if a == 0 else real.codes.T)).max())
