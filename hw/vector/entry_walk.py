# SPDX-License-Identifier: Apache-2.0
"""Which accumulator entry comes next: of which column tile, or of a window."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.vector.operand_walk import is_real
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VECTOR, VectorMode
from kiwicha.machine.window import WINDOW

__all__ = ["EntryWalk", "asked_window"]


def asked_window(cfg: AcceleratorConfig, instruction: data.View) -> tuple[data.View, Value]:
    """Return the WINDOW of an instruction, and whether it has one."""
    if not cfg.pooling:
        return data.View(WINDOW, Const(0, WINDOW.size)), Const(0)
    windowed: Value = instruction.mode == VectorMode.REQUANTIZE
    if cfg.real:
        windowed |= is_real(instruction.mode) & ~instruction.residual
    windowed &= instruction.scales.any()
    return data.View(WINDOW, instruction.scales), windowed


class EntryWalk(Component):
    """Walks the entries of pixels and lines: one each, that of each column tile, or a window.

    Each group of channels walks the window of its pixel, row by row. Entries of a window follow
    each other as steps do. An entry beyond the accumulators has its highest bit set, and no other
    may be asked for behind it. Latency: the first entry is there in the cycle after ``take``, each
    next one in the cycle after ``move``.

    Parameters
    ----------
    cfg : ``accumulator_depth``, ``pooling.window``; without windows, rows and columns are 1.

    Members
    -------
    take : In(1); instruction : In(VECTOR)
        An instruction is taken, whose fields are legal.
    move : In(1)
        A step is made.
    last_group, last_pixel : In(1)
        It is one of the last channels of its pixel, of the last pixel of its line.
    next_tile : In(1)
        The channels of the next step lie in the next column tile.
    entry : Out(range(2 * accumulator_depth))
    opens, closes : Out(1)
        It is the first, the last one of its window.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "take": In(1),
            "instruction": In(VECTOR),
            "move": In(1),
            "last_group": In(1),
            "last_pixel": In(1),
            "next_tile": In(1),
            "entry": Out(range(2 * cfg.accumulator_depth)),
            "opens": Out(1),
            "closes": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, asked = exact_log2(self.cfg.accumulator_depth), self.instruction
        window, windowed = asked_window(self.cfg, asked)
        row, pixel, line, below, following = (Signal.like(self.entry) for _ in range(5))
        row_step, pixel_step, line_step = (Signal(bits) for _ in range(3))
        size = range(max(self.cfg.pooling.window, 1))  # less one
        rows, columns, rows_left, columns_left = (Signal(size) for _ in range(4))
        in_windows, last_row, last_column = Signal(), Signal(), Signal()
        m.d.comb += [
            last_row.eq(rows_left == 0),
            last_column.eq(columns_left == 0),
            self.closes.eq(last_row & last_column),
            below.eq(row + row_step),
            # Without windows lines go on where the one before ends.
            following.eq(
                Mux(self.last_pixel & in_windows, line, pixel)
                + Mux(self.last_pixel & in_windows, line_step, pixel_step)
            ),
        ]
        with m.If(self.move):
            m.d.sync += [self.opens.eq(self.closes), columns_left.eq(columns)]
            with m.If(~last_column):
                m.d.sync += [self.entry.eq(self.entry + 1), columns_left.eq(columns_left - 1)]
            with m.Elif(~last_row | self.next_tile):
                m.d.sync += [self.entry.eq(below), row.eq(below)]
                m.d.sync += rows_left.eq(Mux(last_row, rows, rows_left - 1))
            with m.Else():
                again = Mux(in_windows, pixel, row)  # a tile's next channels have its entry
                begin = Mux(self.last_group, following, again)
                m.d.sync += [self.entry.eq(begin), row.eq(begin), rows_left.eq(rows)]
                with m.If(self.last_group):
                    m.d.sync += pixel.eq(following)
                with m.If(self.last_group & self.last_pixel):
                    m.d.sync += line.eq(following)
        with m.If(self.take):
            high, wide = (Mux(windowed, window[name] - 1, 0) for name in ("rows", "columns"))
            m.d.sync += [
                *(place.eq(asked.accumulator) for place in (self.entry, row, pixel, line)),
                row_step.eq(asked.tile_entries),
                pixel_step.eq(Mux(windowed, window.pixel_entries, 1)),
                line_step.eq(window.line_entries),
                in_windows.eq(windowed),
                rows.eq(high), rows_left.eq(high), columns.eq(wide), columns_left.eq(wide),
                self.opens.eq(1),
            ]
        return m
