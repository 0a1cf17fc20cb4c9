# SPDX-License-Identifier: Apache-2.0
"""The integers of a recurrent cell (`golden.recurrent`) from its weights in float.

The products of x and h with the weights of a column share one unit, so that they add up in int32.
An argument is cut off where its function has come close to its limit, which leaves more codes for
where it is steep.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.ops.recurrent_form import Activation, Direction, Recurrent

__all__ = ["HALF", "OFFSETS", "Cell", "First", "Gates", "Table", "XProduct", "apart",
    "cells_of", "state_slices"]

HALF = 127
"""Greatest code of a slice of a state."""
OFFSETS = (-2 * HALF, 0, 2 * HALF)
"""What is subtracted from a state for each slice."""

_STATE = 4.0  # greatest cell state: its tanh is 0.999
_REACH = {"Sigmoid": 6.0, "Tanh": 3.0}
_FAR = 8.0  # of other functions
_PARTS = 4.0  # of the two sums in the argument of a GRU that resets late
_BOUNDED = ("HardSigmoid", "ScaledTanh", "Sigmoid", "Softsign", "Tanh")
_CODES = np.arange(256).astype(np.uint8).view(np.int8).astype(np.float64)
_LEAST = 1e-7  # of a unit, so that biases in it fit
_SUM = 1 << 30

_Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gates:
    """As `golden.recurrent.Gates`."""

    x: NDArray[np.int8]
    h: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    scale64: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class XProduct:
    """Weights of all gates for an x whose scale is known when the program runs: int8, features x
    columns; their scale over that of the arguments, and the bias in units of these, binary32."""

    weights: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Table:
    """A function of an int8: the raw result byte for each raw byte, its type and scale."""

    values: NDArray[np.uint8]
    dtype: np.dtype[Any]
    scale: np.float32


@dataclass(frozen=True, eq=False)
class Cell:
    """Integers of one direction; see `golden.recurrent` for what each kind of cell has of these.

    Members
    -------
    gates : in the order of ``tables`` but for a GRU's last.
    unit : of the state in slices.
    argument : scale of the last table's.
    """

    gates: Gates
    tables: tuple[Table, ...]
    h_scale: np.float32
    unit: np.float32 = np.float32(1)
    argument: np.float32 = np.float32(1)
    last: Table | None = None
    opposite: tuple[Table, ...] = ()
    new: Gates | None = None
    new_x: Gates | None = None
    new_h: Gates | None = None
    parts: np.float32 = np.float32(1)


@dataclass(frozen=True)
class First:
    """How far the initial states of all directions reach."""

    h: float = 0.0
    state: float = 0.0


@dataclass(frozen=True)
class _Inputs:
    """Scales of x and h, and how far codes of x reach from its zero point."""

    x_scale: float
    extent: int
    h_scale: float

    def gates(self, x: _Array, h: _Array, bias: _Array, arguments: list[float]) -> Gates:
        """Return weights of some gates as integers, columns gate by gate."""
        columns = x.shape[0] * x.shape[1]
        x, h = x.reshape(columns, -1) * self.x_scale, h.reshape(columns, -1) * self.h_scale
        bias = bias.ravel()
        unit = np.maximum(np.abs(x).max(axis=1), np.abs(h).max(axis=1)) / HALF
        furthest = np.abs(x).sum(axis=1) * self.extent + np.abs(h).sum(axis=1) * 128
        unit = np.maximum(np.maximum(unit, (furthest + np.abs(bias)) / _SUM), _LEAST)
        ratio = unit / np.repeat(arguments, columns // len(arguments))
        x_codes, h_codes = (np.rint(part / unit[:, None]).astype(np.int8).T for part in (x, h))
        return Gates(
            x_codes, h_codes, np.rint(bias / unit).astype(np.int32), ratio.astype(np.float32),
            ratio,
        )


def cells_of(form: Recurrent, x_scale: float, x_extent: int, first: First) -> list[Cell]:
    """Return the integers of each direction.

    Parameters
    ----------
    x_extent : the furthest code of x from its zero point.
    first : how far initial states reach.
    """
    make = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[form.kind]
    h_scale = max(first.h, *(_reach_of(form, way) for way in form.directions)) / HALF
    return [
        make(form, way, _Inputs(float(x_scale), x_extent, float(np.float32(h_scale))), first)
        for way in form.directions
    ]


def apart(form: Recurrent) -> tuple[Recurrent, list[XProduct]]:
    """Return a layer without x, and for each direction what belongs to x: the biases too, but for
    that which a GRU resets with h."""
    ways, products = [], []
    for way in form.directions:
        gates = len(way.x)
        late = np.zeros((gates, 1))
        late[2:] = form.reset_after
        scale = np.repeat([_argument(_activation(form, way, gate)) for gate in range(gates)],
                          form.hidden)
        x = way.x.reshape(len(scale), -1)
        unit = np.maximum(np.abs(x).max(axis=1) / HALF, _LEAST * scale)
        bias = (way.x_bias + way.h_bias * (1 - late)).ravel() / scale
        products.append(XProduct(
            np.rint(x / unit[:, None]).astype(np.int8).T, (unit / scale).astype(np.float32),
            bias.astype(np.float32),
        ))
        nothing = np.zeros_like(way.x_bias)
        ways.append(replace(way, x=way.x * 0, x_bias=nothing, h_bias=way.h_bias * late))
    return replace(form, directions=tuple(ways)), products


def _activation(form: Recurrent, way: Direction, gate: int) -> Activation:
    """Return the function of a gate."""
    new = {"LSTM": 3, "GRU": 2, "RNN": 0}[form.kind]
    return way.activations[1 if gate == new and form.kind != "RNN" else 0]


def state_slices(total: NDArray[Any]) -> NDArray[np.int8]:
    """Return the slices of a constant state, along a new first axis."""
    return np.stack([np.clip(total - k, -HALF, HALF) for k in OFFSETS]).astype(np.int8)


def _reach_of(form: Recurrent, way: Direction) -> float:
    """Return the greatest magnitude of the hidden state, its first value apart."""
    if form.kind != "LSTM":
        return _most(_table(way.activations[-1], form.clip))
    gate, _, last = way.activations
    return _most(_table(gate, form.clip)) * _most(_table(last, np.inf))


def _lstm(form: Recurrent, way: Direction, inputs: _Inputs, first: First) -> Cell:
    gate, new, last = way.activations
    order = [0, 1, 0 if form.coupled else 2, 3]  # ONNX: input, output, forget, cell
    by_gate = _table(gate, form.clip)
    forget = _table(gate, form.clip, lambda y: 1 - y) if form.coupled else by_gate
    tables = (by_gate, by_gate, forget, _table(new, form.clip))
    added = _most(by_gate) * _most(tables[3])
    gates = inputs.gates(
        way.x[order], way.h[order], (way.x_bias + way.h_bias)[order],
        [_argument(gate)] * 3 + [_argument(new)],
    )
    return Cell(
        gates, tables, np.float32(inputs.h_scale),
        np.float32(max(_STATE / (3 * HALF), first.state / (3 * HALF), added / HALF)),
        np.float32(_argument(last)), _table(last, np.inf),
    )


def _rnn(form: Recurrent, way: Direction, inputs: _Inputs, _first: First) -> Cell:
    (activation,) = way.activations
    table = _table(activation, form.clip, scale=inputs.h_scale, signed=True)
    bias = way.x_bias + way.h_bias
    gates = inputs.gates(way.x, way.h, bias, [_argument(activation)])
    return Cell(gates, (table,), table.scale)


def _gru(form: Recurrent, way: Direction, inputs: _Inputs, _first: First) -> Cell:
    gate, new = way.activations
    by_gate, h_scale = _table(gate, form.clip), np.float32(inputs.h_scale)
    opposite = tuple(
        _table(gate, form.clip, partial(_share, k), scale=1 / 765) for k in range(3)
    )
    gates = inputs.gates(
        way.x[:2], way.h[:2], (way.x_bias + way.h_bias)[:2], [_argument(gate)] * 2
    )
    cell: dict[str, Any] = {}
    x, h, x_bias, h_bias = way.x[2:], way.h[2:], way.x_bias[2:], way.h_bias[2:]
    if form.reset_after:
        parts = _PARTS / (3 * HALF)
        cell["new_x"] = _sliced(inputs.gates(x, np.zeros_like(h), x_bias, [parts]))
        cell["new_h"] = _sliced(inputs.gates(np.zeros_like(x), h, h_bias, [parts]))
        cell["parts"] = np.float32(parts)
    else:
        cell["new"] = inputs.gates(x, h, x_bias + h_bias, [_argument(new)])
    return Cell(
        gates, (by_gate, by_gate, _table(new, form.clip)), h_scale, np.float32(h_scale / 3),
        np.float32(_argument(new)), opposite=opposite, **cell,
    )


def _sliced(gates: Gates) -> Gates:
    """Return the same whose results are the slices of what they would be, slice by slice."""
    bias = [gates.bias - np.rint(k / gates.scale64) for k in OFFSETS]
    times = len(OFFSETS)
    return Gates(
        np.tile(gates.x, times), np.tile(gates.h, times), np.concatenate(bias).astype(np.int32),
        np.tile(gates.scale, times), np.tile(gates.scale64, times),
    )


def _share(k: int, y: _Array) -> _Array:
    """Return a third of 1 - y, the first filled first."""
    return np.clip(1 - y - k / 3, 0, 1 / 3)


def _argument(activation: Activation) -> float:
    """Return the scale of what goes into a table."""
    return _REACH.get(activation.name, _FAR) / HALF


def _most(table: Table) -> float:
    """Return the greatest magnitude of a table's results."""
    return float(table.scale) * (255 if table.dtype == np.uint8 else HALF)


def _table(
    activation: Activation, clip: float, then: Callable[[_Array], _Array] = lambda y: y,
    scale: float = 0, *, signed: bool = False,
) -> Table:
    """Return the table of a function, and of what is made of it then: uint8 where that is never
    negative and need not be ``signed``.

    The two ends stand for all that is further out: they get what lies in the middle between the
    function there and at twice the distance, where it has a limit.

    Parameters
    ----------
    scale : of the results; 0: as fine as they allow.
    """
    x = _CODES * _argument(activation)

    def function(x: _Array) -> _Array:
        return then(_function(activation, np.clip(x, -clip, clip)))

    y = function(x)
    if activation.name in _BOUNDED:
        y = np.where(np.abs(_CODES) >= HALF, (function(x) + function(2 * x)) / 2, y)
    kind = np.int8 if y.min() < 0 or signed else np.uint8
    top = HALF if kind == np.int8 else 255
    most = 1.0 if activation.name in ("Sigmoid", "Tanh") else float(np.abs(y).max()) or 1.0
    scale = scale or most / top
    codes = np.clip(np.rint(y / scale), -HALF, top).astype(kind)
    return Table(codes.view(np.uint8), codes.dtype, np.float32(scale))


def _function(activation: Activation, x: _Array) -> _Array:
    alpha, beta = (*activation.parameters, 0.0, 0.0)[:2]
    with np.errstate(over="ignore"):
        return np.asarray({
            "Affine": lambda: alpha * x + beta,
            "Elu": lambda: np.where(x < 0, alpha * np.expm1(x), x),
            "HardSigmoid": lambda: np.clip(alpha * x + beta, 0, 1),
            "LeakyRelu": lambda: np.where(x < 0, alpha * x, x),
            "Relu": lambda: np.maximum(x, 0),
            "ScaledTanh": lambda: alpha * np.tanh(beta * x),
            "Sigmoid": lambda: 1 / (1 + np.exp(-x)),
            "Softplus": lambda: np.log1p(np.exp(x)),
            "Softsign": lambda: x / (1 + np.abs(x)),
            "Tanh": lambda: np.tanh(x),
            "ThresholdedRelu": lambda: np.where(x > alpha, x, 0),
        }[activation.name]())
