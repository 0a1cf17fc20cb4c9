# SPDX-License-Identifier: Apache-2.0
"""One column of the accumulators out of many, in as many cycles as that needs."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal, Value, signed

__all__ = ["pick_column", "pick_latency"]


def pick_latency(columns: int) -> int:
    """Return the cycles that ``pick_column`` takes for so many columns."""
    return 1 if columns == 1 else 2


def pick_column(
    m: Module, columns: list[Value], index: Value, latency: int, name: str
) -> Value:
    """Return the int32 that ``index`` tells, ``latency`` registers later; beyond them anything.

    Lanes may have a column more or less than others: ``latency`` is that of the longest list.

    Each column has a register that is cleared unless it is the one: a multiplexer of four takes
    four LUTs of four inputs, the register's clear none, and what is left to do is an OR.
    """
    stages = []
    for number, column in enumerate(columns):
        stage = Signal(signed(32), name=f"{name}_column_{number}", reset_less=True)
        only = len(columns) == 1
        m.d.sync += stage.eq(column if only else Mux(index == number, column, 0))
        stages.append(stage)
    if latency == 1:
        return stages[0]
    chosen = Signal(signed(32), name=f"{name}_column", reset_less=True)
    m.d.sync += chosen.eq(reduce(or_, stages))
    return chosen
