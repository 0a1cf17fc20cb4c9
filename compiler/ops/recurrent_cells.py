# SPDX-License-Identifier: Apache-2.0
"""A step of each recurrent cell as nodes; the arithmetic is that of `golden.recurrent`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.ops.recurrent_inputs import Source
from kiwicha.compiler.ops.recurrent_scales import Cell
from kiwicha.compiler.ops.recurrent_steps import Steps

__all__ = ["State", "step"]


@dataclass(frozen=True, eq=False)
class State:
    """What a step leaves to the next one.

    Members
    -------
    h : int8, 1 x batch x hidden, or a constant before the first step: batch x hidden.
    slices : of what the cell accumulates, slices x batch x hidden; constant as ``h`` is.
    rows : summands of it, from which its value can be had again.
    """

    h: Tensor | NDArray[np.int8]
    slices: Tensor | NDArray[np.int8] | None = None
    rows: Tensor | None = None


def step(kind: str, steps: Steps, cell: Cell, x: Source, place: int, state: State) -> State:
    """Emit step ``place`` of a direction."""
    return {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[kind](steps, cell, x, place, state)


def _lstm(steps: Steps, cell: Cell, x: Source, place: int, state: State) -> State:
    assert cell.last is not None
    assert state.slices is not None
    codes = x.arguments(cell.gates, 0, place, state.h)
    i, o, f, g = steps.tables(codes, cell.tables)
    kept = steps.product(f, state.slices, cell.unit, cell.unit)
    new = steps.product(i, g, g.scale, cell.unit)
    rows = steps.rows([kept, new])
    ratio = np.float32(cell.unit / cell.argument), np.float64(cell.unit) / cell.argument
    shown = steps.table(steps.total(rows, ratio), cell.last, "shown")
    h = steps.product(o, steps.batch(shown), shown.scale, cell.h_scale)
    return State(h, steps.state(rows, cell.unit), rows)


def _rnn(steps: Steps, cell: Cell, x: Source, place: int, state: State) -> State:
    codes = x.arguments(cell.gates, 0, place, state.h)
    return State(steps.table(codes, cell.tables[0], "h"))


def _gru(steps: Steps, cell: Cell, x: Source, place: int, state: State) -> State:
    assert state.slices is not None
    codes = x.arguments(cell.gates, 0, place, state.h)
    update = steps.part(codes, 0)
    z, r = steps.tables(codes, cell.tables[:2])
    if cell.new is not None:
        reset = _times(steps, r, state.h, cell.h_scale)
        new = x.arguments(cell.new, 2, place, reset)
    else:
        new = x.late(cell, place, state.h, r)
    n = steps.table(new, cell.tables[2], "new")
    kept = steps.product(z, state.slices, cell.unit, cell.unit)
    opposite = [steps.table(update, table, "opposite") for table in cell.opposite]
    shares = steps.join(opposite, (len(opposite), *steps.shape[1:]), "opposite")
    added = steps.product(shares, n, n.scale, cell.unit)
    rows = steps.rows([kept, added])
    ratio = np.float32(cell.unit / cell.h_scale), np.float64(cell.unit) / cell.h_scale
    h = steps.batch(steps.total(rows, ratio, scale=cell.h_scale))
    return State(h, steps.state(rows, cell.unit), rows)


def _times(
    steps: Steps, r: Tensor, h: Tensor | NDArray[np.int8], scale: np.float32
) -> Tensor:
    return steps.product(r, h if isinstance(h, Tensor) else h[np.newaxis], scale, scale)
