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


class _Stream:
    """The job, what is left of it, and the row that is being made."""

    def __init__(self, lanes: int, pick: EntryPicker) -> None:
        self.fail, self.code, self.offset = Signal(), Signal(StreamError), Signal(32)
        self.columns, self.rows = Signal(16), Signal(16)
        self.columns_left, self.rows_left = Signal(16), Signal(16)
        self.length = Signal(16)  #: of a column, in elements
        self.start = Signal(pick.place)
        self.row_start, self.left = Signal(16), Signal(16)  #: left: entries of the column
        self.row = Signal(data.ArrayLayout(8, lanes))
        self.lanes_now = Signal(data.ArrayLayout(8, lanes))
        #: The column whose pointer is read, its end, and that of the column before.
        self.place, self.follow, self.store = Signal(16), Signal(), Signal()
        self.place_next, self.bound, self.previous = Signal(16), Signal(16), Signal(16)


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
        pointers = self.columns > 0
        m.submodules.pick = pick = self._picker()
        sizes = [pick.bits * taken for taken in range(self.entries + 1)] + [WORD_BITS] * pointers
        m.submodules.window = window = BitWindow(self.beat_bytes, sizes, slack=8 * self.beat_bytes)
        now = _Stream(self.lanes, pick)
        self._report(m, now, window)
        self._feed(m, now, pick, window)
        if pointers:
            self._keep_pointers(m, now, window)

        free = ~self.o.valid | self.o.ready
        m.d.sync += self.done.eq(0)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            self._take_job(m, now)
            if self.codebook:
                self._take_codebook(m, now, pick, window)
            if pointers:
                self._take_pointers(m, now, window)
            self._make_rows(m, now, pick, window, free)
            self._end(m, now, window, free)
            with m.State("FAILED"):
                pass
        if pointers:
            with m.If(now.follow):
                m.d.sync += [
                    now.place.eq(now.place_next),
                    now.previous.eq(now.bound),
                    now.left.eq(now.bound - now.previous),
                ]
        return m

    def _report(self, m: Module, now: _Stream, window: BitWindow) -> None:
        """Faults: reported once, and beats are swallowed from then on."""
        failed = Signal()
        m.d.comb += [
            window.i.payload.eq(self.i.payload),
            window.i.valid.eq(self.i.valid),
            self.i.ready.eq(window.i.ready | failed),
            now.offset.eq(window.offset),
        ]
        m.d.sync += [self.error.valid.eq(now.fail), failed.eq(failed | now.fail)]
        with m.If(now.fail):
            m.d.sync += [
                self.error.payload.code.eq(now.code), self.error.payload.offset.eq(now.offset)
            ]

    def _refuse(self, m: Module, now: _Stream, error: StreamError | Value) -> None:
        """Fail, in a state of the FSM."""
        m.d.comb += [now.fail.eq(1), now.code.eq(error)]
        m.next = "FAILED"

    def _feed(self, m: Module, now: _Stream, pick: EntryPicker, window: BitWindow) -> None:
        """Show the picker what is in the window and where its entries are."""
        m.d.comb += [
            pick.view.eq(window.view),
            pick.has.eq(window.has[1:]),
            pick.left.eq(now.left),
            pick.start.eq(now.start),
            pick.row_start.eq(now.row_start),
            pick.last_row.eq(now.rows_left == 1),
            now.lanes_now.eq(now.row.as_value() | pick.lanes_set.as_value()),
        ]

    def _keep_pointers(self, m: Module, now: _Stream, window: BitWindow) -> None:
        """The pointers: the one read is always that of column `place`."""
        words = -(-self.columns // POINTERS)
        m.submodules.memory = memory = Memory(shape=WORD_BITS, depth=words, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            now.place_next.eq(now.place + now.follow),
            read.en.eq(1),
            read.addr.eq(now.place_next[2:]),
            write.en.eq(now.store),
            write.addr.eq(now.place[2:]),
            write.data.eq(window.view[:WORD_BITS]),
            now.bound.eq(read.data.word_select(now.place[:2], 16)),
        ]

    def _take_job(self, m: Module, now: _Stream) -> None:
        """Add the states that wait for a job and look whether it fits."""
        pointers, shift = self.columns > 0, exact_log2(self.lanes)
        with m.State("IDLE"):
            m.d.comb += self.job.ready.eq(1)
            m.d.sync += [
                now.columns.eq(self.job.payload.columns),
                now.rows.eq(self.job.payload.rows),
                now.columns_left.eq(self.job.payload.columns),
                now.rows_left.eq(self.job.payload.rows),
            ]
            m.d.sync += [
                now.place.eq(0), now.start.eq(0), now.row_start.eq(0), now.row.eq(0), now.left.eq(0)
            ]
            if pointers:
                m.d.sync += now.previous.eq(0)
            with m.If(self.job.valid):
                m.next = "CHECK"
        with m.State("CHECK"):
            m.next = "CODEBOOK" if self.codebook else "POINTERS" if pointers else "ROWS"
            m.d.sync += now.length.eq(now.rows << shift)
            too_much = now.rows > 65535 >> shift
            if pointers:
                too_much |= now.columns > self.columns
            with m.If((now.columns == 0) | (now.rows == 0) | too_much):
                self._refuse(m, now, StreamError.JOB)

    def _take_codebook(
        self, m: Module, now: _Stream, pick: EntryPicker, window: BitWindow
    ) -> None:
        """Add the state that takes the codebook, in two halves."""
        word = self.entries + 1
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
                    m.next = "POINTERS" if self.columns > 0 else "ROWS"
                with m.Elif(window.view[:8] != 0):
                    self._refuse(m, now, StreamError.CODEBOOK)
            with m.Elif(window.ended):
                self._refuse(m, now, StreamError.TRUNCATED)

    def _take_pointers(self, m: Module, now: _Stream, window: BitWindow) -> None:
        """Add the states that store the pointers, four a cycle, and read the first one."""
        word = self.entries + 1
        with m.State("POINTERS"):
            due = now.columns - now.place
            with m.If(window.has[word]):
                m.d.comb += [window.take.eq(word), now.store.eq(1)]
                m.d.sync += now.place.eq(now.place + POINTERS)
                with m.If(due <= POINTERS):
                    m.d.sync += now.place.eq(0)
                    m.next = "PRIME"
                fill = [(due <= k) & window.view.word_select(k, 16).any() for k in (1, 2, 3)]
                with m.If(Cat(fill).any()):
                    self._refuse(m, now, StreamError.PADDING)
            with m.Elif(window.ended):
                self._refuse(m, now, StreamError.TRUNCATED)
        with m.State("PRIME"):
            m.next = "FIRST"
        with m.State("FIRST"):
            m.d.comb += now.follow.eq(1)
            m.next = "ROWS"

    def _make_rows(
        self, m: Module, now: _Stream, pick: EntryPicker, window: BitWindow, free: Value
    ) -> None:
        """Add the state that takes entries and gives a row when no entry of it is to come."""
        with m.State("ROWS"):
            with m.If((now.left > now.length) if self.columns > 0 else 0):
                self._refuse(m, now, StreamError.POINTER)
                m.d.comb += now.offset.eq(
                    CODEBOOK * self.codebook + ((now.place - 1)[:16] << 1)
                )
            with m.Elif(free):
                with m.If(~pick.complete & (pick.taken == 0)):
                    # Neither here nor later: the entry in view is wrong, or there is none.
                    with m.If(pick.head_there):
                        self._refuse(m, now, pick.head_code)
                    with m.Elif(window.ended):
                        self._refuse(m, now, StreamError.TRUNCATED)
                m.d.comb += window.take.eq(pick.taken)
                moved = pick.start_after
                if self.relative:
                    moved = pick.start_after - Mux(pick.complete, self.lanes, 0)
                m.d.sync += [
                    now.start.eq(moved), now.left.eq(pick.left_after), now.row.eq(now.lanes_now)
                ]
                with m.If(pick.complete):
                    self._give_row(m, now, pick)

    def _give_row(self, m: Module, now: _Stream, pick: EntryPicker) -> None:
        """Give a row; after the last one of a column go on with the next, or end."""
        m.d.sync += [
            now.row.eq(0),
            now.row_start.eq(now.row_start + self.lanes),
            now.rows_left.eq(now.rows_left - 1),
            self.o.valid.eq(1),
            self.o.payload.lanes.eq(now.lanes_now),
            self.o.payload.last.eq(pick.last_row & (now.columns_left == 1)),
        ]
        with m.If(pick.last_row):
            m.d.sync += [
                now.start.eq(0),
                now.row_start.eq(0),
                now.rows_left.eq(now.rows),
                now.columns_left.eq(now.columns_left - 1),
            ]
            m.d.comb += now.follow.eq(1)
            with m.If(now.columns_left == 1):
                m.next = "END"

    def _end(self, m: Module, now: _Stream, window: BitWindow, free: Value) -> None:
        """Add the state that sees that nothing but padding follows."""
        with m.State("END"):
            with m.If(window.surplus):
                self._refuse(m, now, StreamError.TRAILING)
            with m.Elif(window.ended & ~window.blank):
                self._refuse(m, now, StreamError.PADDING)
            with m.Elif(window.ended & free):
                m.d.comb += window.restart.eq(1)
                m.d.sync += self.done.eq(1)
                m.next = "IDLE"
