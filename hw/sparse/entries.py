# SPDX-License-Identifier: Apache-2.0
"""Streams of (index, value) entries become dense rows; what three decoders have in common."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component
from amaranth.utils import exact_log2

from kiwicha.hw.sparse.contract import StreamError, decoder_members
from kiwicha.hw.sparse.pick import CODEBOOK, EntryPicker
from kiwicha.hw.sparse.window import BitWindow
from kiwicha.machine.latency import POINTERS

__all__ = ["EntryDecoder"]

WORD_BITS = 16 * POINTERS
"""Codebook and pointers are taken this many bits at a time."""


class EntryDecoder(Component):
    """Decodes streams of golden.csc (``columns`` given) or of golden.run_length (``columns`` 0).

    A cycle takes up to ``entries`` entries, all of one row, and gives the row if no entry of it is
    to come: a cycle without a row takes at least one entry. There are pauses only for beats that
    are late, a consumer that is not ready, and at a job's start: one cycle for four columns, two
    for a codebook, four more.

    Parameters
    ----------
    beat_bytes, lanes : as ``hw.sparse.contract.decoder_members``.
    index_bits : width of an index.
    relative : the index counts the zeros before a value; else it is the place in the column.
    codebook : values are 4-bit places in a codebook.
    entries : entries taken in a cycle at most.
    columns : columns of a job at most, the depth of the pointer memory; 0 for no pointers.

    Members
    -------
    job, i, o, done, error : as ``hw.sparse.contract.decoder_members``.
    """

    def __init__(
        self,
        beat_bytes: int,
        lanes: int,
        *,
        index_bits: int,
        relative: bool = True,
        codebook: bool = False,
        entries: int = 4,
        columns: int = 0,
    ) -> None:
        for name, value, low, high in (
            ("index_bits", index_bits, 1, 16),
            ("entries", entries, 1, 16),
            ("columns", columns, 0, 32768),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; legal: {low} to {high}")
        super().__init__(decoder_members(beat_bytes, lanes))
        self.beat_bytes = beat_bytes
        self.lanes = lanes
        self.index_bits = index_bits
        self.relative = relative
        self.codebook = codebook
        self.entries = entries
        self.columns = columns

    def _picker(self) -> EntryPicker:
        return EntryPicker(
            self.lanes,
            index_bits=self.index_bits,
            relative=self.relative,
            codebook=self.codebook,
            entries=self.entries,
            counted=self.columns > 0,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, shift, pointers = self.lanes, exact_log2(self.lanes), self.columns > 0
        m.submodules.pick = pick = self._picker()
        sizes = [pick.bits * taken for taken in range(self.entries + 1)] + [WORD_BITS] * pointers
        m.submodules.window = window = BitWindow(self.beat_bytes, sizes, slack=8 * self.beat_bytes)
        word = self.entries + 1

        # Faults: reported once, and beats are swallowed from then on.
        fail, failed = Signal(), Signal()
        code, offset = Signal(StreamError), Signal(32)
        m.d.comb += [
            window.i.payload.eq(self.i.payload),
            window.i.valid.eq(self.i.valid),
            self.i.ready.eq(window.i.ready | failed),
            offset.eq(window.offset),
        ]
        m.d.sync += [self.error.valid.eq(fail), failed.eq(failed | fail)]
        with m.If(fail):
            m.d.sync += [self.error.payload.code.eq(code), self.error.payload.offset.eq(offset)]

        # The job, and what is left of it.
        columns, rows = Signal(16), Signal(16)
        columns_left, rows_left = Signal(16), Signal(16)
        length = Signal(16)
        start = Signal(pick.place)
        row_start, left = Signal(16), Signal(16)
        row = Signal(data.ArrayLayout(8, lanes))
        lanes_now = Signal(data.ArrayLayout(8, lanes))
        m.d.comb += [
            pick.view.eq(window.view),
            pick.has.eq(window.has[1:]),
            pick.left.eq(left),
            pick.start.eq(start),
            pick.row_start.eq(row_start),
            pick.last_row.eq(rows_left == 1),
            lanes_now.eq(row.as_value() | pick.lanes_set.as_value()),
        ]

        # The pointers: the one read is always that of column `place`.
        place, follow = Signal(16), Signal()
        store = Signal()
        if pointers:
            words = -(-self.columns // POINTERS)
            m.submodules.memory = memory = Memory(shape=WORD_BITS, depth=words, init=[])
            write, read = memory.write_port(), memory.read_port()
            place_next, bound, previous = Signal(16), Signal(16), Signal(16)
            m.d.comb += [
                place_next.eq(place + follow),
                read.en.eq(1),
                read.addr.eq(place_next[2:]),
                write.en.eq(store),
                write.addr.eq(place[2:]),
                write.data.eq(window.view[:WORD_BITS]),
                bound.eq(read.data.word_select(place[:2], 16)),
            ]

        def refuse(error: StreamError | Value) -> None:
            m.d.comb += [fail.eq(1), code.eq(error)]
            m.next = "FAILED"

        free = ~self.o.valid | self.o.ready
        m.d.sync += self.done.eq(0)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.job.ready.eq(1)
                m.d.sync += [
                    columns.eq(self.job.payload.columns),
                    rows.eq(self.job.payload.rows),
                    columns_left.eq(self.job.payload.columns),
                    rows_left.eq(self.job.payload.rows),
                ]
                m.d.sync += [place.eq(0), start.eq(0), row_start.eq(0), row.eq(0), left.eq(0)]
                if pointers:
                    m.d.sync += previous.eq(0)
                with m.If(self.job.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "CODEBOOK" if self.codebook else "POINTERS" if pointers else "ROWS"
                m.d.sync += length.eq(rows << shift)
                too_much = rows > 65535 >> shift
                if pointers:
                    too_much |= columns > self.columns
                with m.If((columns == 0) | (rows == 0) | too_much):
                    refuse(StreamError.JOB)
            if self.codebook:
                second = Signal()
                book = Signal(data.ArrayLayout(8, CODEBOOK))
                m.d.comb += pick.book.eq(book)
                with m.State("CODEBOOK"):
                    with m.If(window.has[word]):
                        m.d.comb += window.take.eq(word)
                        # The first half moves down when the second comes.
                        m.d.sync += [
                            book.eq(Cat(book.as_value()[WORD_BITS:], window.view[:WORD_BITS])),
                            second.eq(~second),
                        ]
                        with m.If(second):
                            m.next = "POINTERS" if pointers else "ROWS"
                        with m.Elif(window.view[:8] != 0):
                            refuse(StreamError.CODEBOOK)
                    with m.Elif(window.ended):
                        refuse(StreamError.TRUNCATED)
            if pointers:
                with m.State("POINTERS"):
                    due = columns - place
                    with m.If(window.has[word]):
                        m.d.comb += [window.take.eq(word), store.eq(1)]
                        m.d.sync += place.eq(place + POINTERS)
                        with m.If(due <= POINTERS):
                            m.d.sync += place.eq(0)
                            m.next = "PRIME"
                        fill = [
                            (due <= k) & window.view.word_select(k, 16).any() for k in (1, 2, 3)
                        ]
                        with m.If(Cat(fill).any()):
                            refuse(StreamError.PADDING)
                    with m.Elif(window.ended):
                        refuse(StreamError.TRUNCATED)
                with m.State("PRIME"):
                    m.next = "FIRST"
                with m.State("FIRST"):
                    m.d.comb += follow.eq(1)
                    m.next = "ROWS"
            with m.State("ROWS"):
                with m.If((left > length) if pointers else 0):
                    refuse(StreamError.POINTER)
                    m.d.comb += offset.eq(CODEBOOK * self.codebook + ((place - 1)[:16] << 1))
                with m.Elif(free):
                    with m.If(~pick.complete & (pick.taken == 0)):
                        # Neither here nor later: the entry in view is wrong, or there is none.
                        with m.If(pick.head_there):
                            refuse(pick.head_code)
                        with m.Elif(window.ended):
                            refuse(StreamError.TRUNCATED)
                    m.d.comb += window.take.eq(pick.taken)
                    moved = pick.start_after
                    if self.relative:
                        moved = pick.start_after - Mux(pick.complete, lanes, 0)
                    m.d.sync += [start.eq(moved), left.eq(pick.left_after), row.eq(lanes_now)]
                    with m.If(pick.complete):
                        m.d.sync += [
                            row.eq(0),
                            row_start.eq(row_start + lanes),
                            rows_left.eq(rows_left - 1),
                            self.o.valid.eq(1),
                            self.o.payload.lanes.eq(lanes_now),
                            self.o.payload.last.eq(pick.last_row & (columns_left == 1)),
                        ]
                        with m.If(pick.last_row):
                            m.d.sync += [
                                start.eq(0),
                                row_start.eq(0),
                                rows_left.eq(rows),
                                columns_left.eq(columns_left - 1),
                            ]
                            m.d.comb += follow.eq(1)
                            with m.If(columns_left == 1):
                                m.next = "END"
            with m.State("END"):
                with m.If(window.surplus):
                    refuse(StreamError.TRAILING)
                with m.Elif(window.ended & ~window.blank):
                    refuse(StreamError.PADDING)
                with m.Elif(window.ended & free):
                    m.d.comb += window.restart.eq(1)
                    m.d.sync += self.done.eq(1)
                    m.next = "IDLE"
            with m.State("FAILED"):
                pass
        if pointers:
            with m.If(follow):
                m.d.sync += [place.eq(place_next), previous.eq(bound), left.eq(bound - previous)]
        return m
