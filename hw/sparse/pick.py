# SPDX-License-Identifier: Apache-2.0
"""Picks, among the entries in view, those of the row in hand, and puts them into their lanes."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.sparse.contract import StreamError

__all__ = ["CODEBOOK", "CODE_BITS", "EntryPicker"]

CODEBOOK = 16
CODE_BITS = 4


class EntryPicker(Component):
    """Combinational: what this cycle's entries do to the row and to the place in the column.

    Parameters
    ----------
    lanes, index_bits, relative, codebook, entries : as ``hw.sparse.entries.EntryDecoder``.
    counted : the column's entries are counted; else its last element's entry ends it.

    Members
    -------
    view, has : In
        Bits of the next entries; bit k says whether entry k is all there.
    book : In(ArrayLayout(8, 16))
    left : In(16)
        Entries that the column has left; ignored if not ``counted``.
    start : In
        The element after the last entry's: from the row's first lane if ``relative``, else from
        the column's first element.
    row_start : In(16)
        The row's first element, counted from the column's; ignored if ``relative``.
    last_row : In(1)
        The row in hand is the column's last one.
    taken, start_after, left_after : Out
        Entries of this row, and what ``start`` and ``left`` are after them.
    lanes_set : Out(ArrayLayout(8, lanes))
        Their values; other lanes are 0.
    complete : Out(1)
        No entry of the row is to come.
    head_there, head_code : Out(1), Out(StreamError)
        The first entry is in view; what is wrong with it if it is neither taken nor of a later row.
    """

    def __init__(
        self,
        lanes: int,
        *,
        index_bits: int,
        relative: bool,
        codebook: bool,
        entries: int,
        counted: bool,
    ) -> None:
        self.lanes = lanes
        self.index_bits = index_bits
        self.relative = relative
        self.codebook = codebook
        self.entries = entries
        self.counted = counted
        self.bits = index_bits + (CODE_BITS if codebook else 8)
        # A relative place falls by a row's lanes each row until the entry's own row is in hand.
        self.place = signed(index_bits + exact_log2(lanes) + 2) if relative else unsigned(17)
        super().__init__({
            "view": In(self.bits * entries),
            "has": In(entries),
            "book": In(data.ArrayLayout(8, CODEBOOK)),
            "left": In(16),
            "start": In(self.place),
            "row_start": In(16),
            "last_row": In(1),
            "taken": Out(range(entries + 1)),
            "start_after": Out(self.place),
            "left_after": Out(16),
            "lanes_set": Out(data.ArrayLayout(8, lanes)),
            "complete": Out(1),
            "head_there": Out(1),
            "head_code": Out(StreamError),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, shift = self.lanes, exact_log2(self.lanes)
        ends, beyond_row = Signal(), Signal()
        terms: list[list[Value]] = [[] for _ in range(lanes)]
        m.d.comb += [self.start_after.eq(self.start), self.left_after.eq(self.left)]
        following: Value = self.start
        before: Value = Const(1, 1)
        for number in range(self.entries):
            raw = self.view.word_select(number, self.bits)
            index, stored = raw[: self.index_bits], raw[self.index_bits :]
            spot = Signal(signed(self.index_bits + shift + 8), name=f"spot{number}")
            ordered, empty = Signal(name=f"ordered{number}"), Signal(name=f"empty{number}")
            inside, there = Signal(name=f"inside{number}"), Signal(name=f"there{number}")
            m.d.comb += there.eq(self.has[number])
            if self.counted:
                m.d.comb += there.eq(self.has[number] & (self.left > number))
            if self.relative:
                closing = Const(0, 1) if self.counted else self.last_row & (spot == lanes - 1)
                m.d.comb += [
                    spot.eq(following + index),
                    ordered.eq(1),
                    empty.eq((stored == 0) & ~index.all() & ~closing),
                ]
                following = (spot + 1)[: self.place.width].as_signed()
            else:
                m.d.comb += [
                    spot.eq(index - self.row_start),
                    ordered.eq(index >= following),
                    empty.eq(stored == 0),
                ]
                following = index + 1
            beyond = spot >= lanes
            m.d.comb += inside.eq(before & there & ordered & ~beyond & ~empty)
            with m.If(before & there & ordered & beyond):
                m.d.comb += beyond_row.eq(1)
            with m.If(inside):
                m.d.comb += [
                    self.taken.eq(number + 1),
                    self.start_after.eq(following),
                    self.left_after.eq(self.left - (number + 1)),
                    ends.eq(spot == lanes - 1),
                ]
            value = Signal(8, name=f"value{number}")
            m.d.comb += value.eq(Array(self.book)[stored] if self.codebook else stored)
            for lane in range(lanes):
                hit = inside & (spot[:shift] == lane) if shift else inside
                terms[lane].append(Mux(hit, value, 0))
            if number == 0:
                m.d.comb += [self.head_there.eq(there), self.head_code.eq(StreamError.PADDING)]
                with m.If(~ordered):
                    m.d.comb += self.head_code.eq(StreamError.ORDER)
                with m.Elif(self.last_row & beyond):
                    m.d.comb += self.head_code.eq(StreamError.INDEX)
            before = inside
        m.d.comb += [self.lanes_set[lane].eq(reduce(or_, terms[lane])) for lane in range(lanes)]
        # On the last row an entry beyond is wrong, and the count must agree.
        done = (self.left_after == 0) if self.counted else ends
        m.d.comb += self.complete.eq(done | (~self.last_row & (ends | beyond_row)))
        return m
