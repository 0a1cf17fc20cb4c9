# SPDX-License-Identifier: Apache-2.0
"""Transpositions of bytes by the array: the identity times what the loader put in as columns.

LOAD writes lines of memory as columns of weights, and a row of the identity picks a row of them: a
row of the result. As many pixels as the array has rows, the same for all, make as many rows: a byte
a cycle and column.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

from kiwicha.compiler.schedule.estimate import run_cycles
from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.compiler.schedule.nest import Axis, Nest
from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.compiler.schedule.pixels import TURN, store_cycles
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["Cut", "Transposed", "transposed"]

_LONGEST = 65535  # bytes of a line, and lines, that LOAD counts


@dataclass(frozen=True)
class Cut:
    """``columns`` and ``rows`` of the result that are made together."""

    columns: int
    rows: int


@dataclass(frozen=True, eq=False)
class Transposed:
    """Matrices whose lines in memory become columns.

    Members
    -------
    x, y : first byte of the first matrix in what is read and written.
    lines : the loop over lines, which are neighbours in the result.
    inside : the loop over the bytes of a line.
    turns : loops with a matrix in each turn.
    """

    x: int
    y: int
    lines: Axis
    inside: Axis
    turns: tuple[Axis, ...]
    cut: Cut

    def starts(self) -> Iterator[tuple[int, int]]:
        """Yield the first byte of each matrix in what is read and written."""
        for turn in product(*(range(axis.length) for axis in self.turns)):
            pairs = list(zip(self.turns, turn, strict=True))
            yield (
                self.x + sum(int(axis.x[place]) for axis, place in pairs),
                self.y + sum(int(axis.y[place]) for axis, place in pairs),
            )


def transposed(nest: Nest, config: AcceleratorConfig) -> tuple[float, Transposed] | None:
    """Return a nest as transpositions, and roughly how many cycles they take; None where it is not
    one, or the machine has no transposer."""
    if not config.transposer or not nest.axes or nest.axes[0].y_step != 1:
        return None
    lines, *others = nest.axes
    inside = next((axis for axis in others if axis.is_regular and axis.x_step == 1), None)
    if inside is None or not lines.is_regular or (lines.x_step or 0) < inside.length:
        return None
    if max(lines.length, inside.length) > _LONGEST:
        return None
    turns = tuple(axis for axis in others if axis is not inside)
    dense = inside.y_step == lines.length
    found = [
        (_cycles(lines.length, inside.length, cut, config, dense), cut)
        for cut in _cuts(lines.length, inside.length, config)
    ]
    if not found:
        return None
    cost, cut = min(found, key=lambda pair: pair[0])
    made = Transposed(nest.x, nest.y, lines, inside, turns, cut)
    return cost * prod(axis.length for axis in turns), made


def _cuts(columns: int, rows: int, config: AcceleratorConfig) -> Iterator[Cut]:
    """Yield pieces that fit half of every memory, each with as many rows as do."""
    beat, lanes = config.beat_bytes, config.rows
    entries = min(config.accumulator_depth, config.weight_bytes // config.weight_pitch) // 2
    for tiles in range(1, -(-columns // config.columns) + 1):
        some = min(columns, tiles * config.columns)
        room = (config.output_bytes // 2 - beat) // (some + 2 * beat)
        most = min(entries // tiles // lanes * lanes, room)
        if most < min(lanes, rows):
            return
        pieces = -(-rows // most)
        yield Cut(some, min(most, align_up(-(-rows // pieces), lanes)))


def _cycles(
    columns: int, rows: int, cut: Cut, config: AcceleratorConfig, dense: bool
) -> float:
    """Return roughly what a matrix costs."""
    tiles = -(-cut.columns // config.columns)
    load = cut.columns * (run_cycles(config, cut.rows) + 0.5)
    compute = tiles * -(-cut.rows // config.rows) * minimum_pass(config, config.rows)
    vector = cut.rows * -(-cut.columns // config.requantize_lanes)
    whole = dense and cut.columns == columns
    store = store_cycles(config, *((cut.rows * columns, 1) if whole else (cut.columns, cut.rows)))
    pieces = -(-columns // cut.columns) * -(-rows // cut.rows)
    return pieces * (max(load, compute, vector, store) + TURN)
