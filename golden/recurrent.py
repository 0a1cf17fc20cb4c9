# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells in integers: a step of LSTM, GRU or RNN as the machine computes it.

ONNX Runtime computes them in float; this is an arithmetic of ours. The hidden state is int8. The
argument of each gate is an int8, the only rounding of its product with x and h together, and its
function a table. What a cell accumulates over many steps, the cell state of an LSTM and the hidden
state of a GRU, reaches 381 codes to either side, kept as three int8 slices that tile the range:

    slice k of total = clamp(total - 254 (k - 1), -127, 127),   k = 0, 1, 2

so that their sum is the total. Its gate multiplies it slice by slice, and what is new is added in
the same unit: sums are exact, and a state that decays slowly does not stick to a code of 8 bits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.mul import mul
from kiwicha.golden.requantize import requantize
from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.scales import encode_scale

__all__ = ["SLICES", "Gates", "Table", "gru", "lstm", "rnn", "slices"]

SLICES = (-254, 0, 254)
"""What is subtracted from a total before it is clamped to each slice."""

_Codes = NDArray[Any]
_Scale = tuple[NDArray[np.float32] | np.float32, NDArray[np.float64] | np.float64]


@dataclass(frozen=True, eq=False)
class Gates:
    """Products with x and h, and what becomes of their sum.

    Members
    -------
    x, h : int8 weights, features x columns and hidden x columns; ``x`` is None where x is quantized
        by its own range and was multiplied before (`golden.dynamic`): "x" is codes of arguments
        then, -128 to 127, to which those of h are added.
    bias : int32, in the unit that both products of a column have.
    scale, scale64 : that unit over the argument's, one per column.
    """

    x: NDArray[np.int8] | None
    h: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    scale64: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """A function of an int8: the raw result byte for each raw byte, its type and scale."""

    values: NDArray[np.uint8]
    dtype: np.dtype[Any]
    scale: np.float32

    def __call__(self, codes: _Codes) -> _Codes:
        """Return the function of each code."""
        return np.asarray(self.values[codes.view(np.uint8)].view(self.dtype))


@dataclass(frozen=True)
class _Arithmetic:
    """The machine's rounding."""

    mode: RequantizeMode | str

    def requantize(self, acc: _Codes, scale: _Scale, low: int = -128) -> _Codes:
        multiplier, shift = encode_scale(self.mode, *scale)
        return requantize(acc, multiplier, shift, 0, low, 127, self.mode).astype(np.int8)

    def arguments(self, gates: Any, x: _Codes | None, h: _Codes | None) -> _Codes:
        """Return int8 arguments; x less its zero point, h, or one of them alone."""
        total = gates.bias.astype(np.int64)
        if x is not None and gates.x is not None:
            total = total + x.astype(np.int64) @ gates.x
        if h is not None:
            total = total + h.astype(np.int64) @ gates.h
        codes = self.requantize(total.astype(np.int32), (gates.scale, gates.scale64), -127)
        if x is not None and gates.x is None:
            codes = np.clip(codes.astype(np.int32) + x, -127, 127).astype(np.int8)
        return codes

    def slices(self, gates: Any, x: _Codes | None, h: _Codes | None) -> _Codes:
        """Return the same in slices."""
        return np.stack(np.split(self.arguments(gates, x, h), len(SLICES), axis=1))

    def total(self, *products: _Codes) -> NDArray[np.int32]:
        """Return the sum of products in the state's unit, slice by slice."""
        return np.asarray(sum(part.astype(np.int32).sum(axis=0) for part in products))


def slices(total: NDArray[np.int32]) -> NDArray[np.int8]:
    """Return the slices of a state, along a new first axis."""
    return np.stack([np.clip(total - k, -127, 127) for k in SLICES]).astype(np.int8)


def _product(
    a: _Codes, a_scale: np.float32, b: _Codes, b_scale: np.float32, y_scale: np.float32
) -> NDArray[np.int8]:
    return np.asarray(
        mul(a, b, float(a_scale), 0, float(b_scale), 0, float(y_scale), 0, np.int8)
    )


def lstm(
    x: _Codes, h: _Codes, state: NDArray[np.int8], cell: Any, mode: RequantizeMode | str
) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int32]]:
    """Return hidden state, slices of the cell state and the cell state after a step.

    Parameters
    ----------
    x : features of a batch, less their zero point; or, of `Gates` without ``x``, arguments.
    h, state : int8, batch x hidden, and its slices.
    cell : with ``gates`` (`Gates` of input, output, forget and cell), the `Table` of each
        (``tables``) and of the cell state (``last``), the ``unit`` of the cell state and
        ``argument``, that of the last table.
    """
    run = _Arithmetic(mode)
    codes = np.split(run.arguments(cell.gates, x, h), 4, axis=1)
    i, o, f, g = (table(part) for table, part in zip(cell.tables, codes, strict=True))
    of_i, of_o, of_f, of_g = (table.scale for table in cell.tables)
    kept = _product(f, of_f, state, cell.unit, cell.unit)
    new = _product(i, of_i, g, of_g, cell.unit)
    total = run.total(kept, new[np.newaxis])
    ratio = np.float32(cell.unit / cell.argument), np.float64(cell.unit) / cell.argument
    shown = cell.last(run.requantize(total, ratio))
    h = _product(o, of_o, shown, cell.last.scale, cell.h_scale)
    return h, slices(total), total


def rnn(x: _Codes, h: _Codes, cell: Any, mode: RequantizeMode | str) -> NDArray[np.int8]:
    """Return the hidden state after a step; ``cell`` has ``gates`` and one of ``tables``."""
    return np.asarray(cell.tables[0](_Arithmetic(mode).arguments(cell.gates, x, h)))


def gru(
    x: _Codes, h: _Codes, state: NDArray[np.int8], cell: Any, mode: RequantizeMode | str
) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int32]]:
    """Return hidden state, its slices and itself in their unit after a step.

    Parameters
    ----------
    h, state : the hidden state as int8 and in slices.
    cell : with ``gates`` (of update and reset), ``tables`` (of update, reset and new),
        ``opposite`` (three that add up to 1 - update), ``new`` (`Gates`, of x and reset h), or,
        where h is multiplied before it is reset, ``new_x`` and ``new_h``, whose results are in
        slices of the unit ``parts``; ``argument`` of the last table, ``unit`` and ``h_scale``.
    """
    run = _Arithmetic(mode)
    hidden = h.shape[1]
    first, last = (x, x) if cell.gates.x is not None else (x[:, : 2 * hidden], x[:, 2 * hidden :])
    update, reset = np.split(run.arguments(cell.gates, first, h), 2, axis=1)
    of_z, of_r, of_n = (table.scale for table in cell.tables)
    r = cell.tables[1](reset)
    if cell.new is not None:
        h_reset = _product(r, of_r, h, cell.h_scale, cell.h_scale)
        codes = run.arguments(cell.new, last, h_reset)
    else:
        second = _product(r, of_r, run.slices(cell.new_h, None, h), cell.parts, cell.parts)
        ratio = np.float32(cell.parts / cell.argument), np.float64(cell.parts) / cell.argument
        if cell.gates.x is not None:
            codes = run.requantize(run.total(run.slices(cell.new_x, last, None), second), ratio)
        else:
            codes = run.requantize(run.total(second), ratio).astype(np.int32) + last
            codes = np.clip(codes, -127, 127).astype(np.int8)
    n = cell.tables[2](codes)
    kept = _product(cell.tables[0](update), of_z, state, cell.unit, cell.unit)
    opposite = np.stack([table(update) for table in cell.opposite])
    new = _product(opposite, cell.opposite[0].scale, n, of_n, cell.unit)
    total = run.total(kept, new)
    ratio = np.float32(cell.unit / cell.h_scale), np.float64(cell.unit) / cell.h_scale
    return run.requantize(total, ratio), slices(total), total
