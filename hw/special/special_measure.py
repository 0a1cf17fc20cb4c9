# SPDX-License-Identifier: Apache-2.0
"""SPECIAL's first look at rows: their maximum and sum, before any of their results."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.special.softmax_common import SLOTS
from kiwicha.hw.special.special_check import count_bits, special_job
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.latency import SOFTMAX_GROUP

__all__ = ["MeasureWalker", "closing_layout", "group_rows", "look_layout"]


def look_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return one look at the operands, the same in all lanes of ``live``.

    ``beat``: bytes ``low`` to ``high`` of the beat around ``place`` belong to row ``slot``;
    otherwise the byte at ``place`` does. ``first`` and ``last`` bound the row either way.
    """
    in_beat = range(cfg.beat_bytes)
    return data.StructLayout({
        "beat": 1,
        "place": range(cfg.special.bytes),
        "low": in_beat,
        "high": in_beat,
        "slot": range(SLOTS),
        "first": 1,
        "last": 1,
        "live": cfg.special.lanes,
    })


def group_rows(left: Value, softmax: Value) -> Value:
    """Return the rows of the next group when there are ``left``: the last two are about equal."""
    half = Cat(left + 1)[1:]
    fair = Mux(left > 2 * SOFTMAX_GROUP, SOFTMAX_GROUP, Mux(left > SOFTMAX_GROUP, half, left))
    return Mux(softmax, fair, 1)[: SOFTMAX_GROUP.bit_length()]


def closing_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a row, the same in all lanes of ``live``, of which all bytes were shown."""
    return data.StructLayout({"slot": range(SLOTS), "live": cfg.special.lanes})


class _Group:
    """The group of rows that is shown, and the rows that are left."""

    def __init__(self, cfg: AcceleratorConfig, spacing: int, maximum_latency: int) -> None:
        place_bits, counts = exact_log2(cfg.special.bytes), count_bits(cfg)
        self.base = Signal(place_bits)  #: of the next row that no byte was shown of
        self.rows_left, self.edge_left = Signal(counts), Signal(counts)
        self.rows = Signal(range(SOFTMAX_GROUP + 1))  #: of the group
        self.half = Signal()  #: of the slots
        self.row = Signal(range(max(SOFTMAX_GROUP, spacing)))
        self.begun = Signal(range(3))  #: groups measured, being measured or in use
        self.closing, self.through = Signal(), Signal()
        #: Of the byte that is shown, the last one of its row, the next column's first one.
        self.place, self.end, self.top = Signal(place_bits), Signal(place_bits), Signal(place_bits)
        self.column_left = Signal(counts)
        self.first, self.last_row, self.last_beat = Signal(), Signal(), Signal()
        self.rest = Signal(range(max(maximum_latency, 2)))
        #: A row of few is shown again only after `spacing` cycles.
        self.turn = Signal(range(max(SOFTMAX_GROUP, spacing) + 1))


class MeasureWalker(Component):
    """Shows the lanes every row of a job, group by group, as its operation wants it.

    SOFTMAX: groups of up to ``SOFTMAX_GROUP`` rows, each row's beats, then the group's bytes column
    by column, a row every ``spacing`` cycles at most. NORMALIZE: each row's bytes, when the row
    before is ready to be used. A group or row is measured while the one before it is in use.

    Parameters
    ----------
    cfg : size of the operand memories, of a beat, number of lanes.
    spacing : least number of cycles from a byte of a row to its next one (SOFTMAX).
    maximum_latency : cycles from a row's last beat to the first byte that may be compared with it.
    fetch : cycles from a look to what the cores take of it.

    Members
    -------
    job : In(special_job(cfg))
        Constant from ``start`` until ``busy`` falls; SOFTMAX or NORMALIZE.
    start : In(1)
        Begin; only while not ``busy``.
    busy : Out(1)
        Some group is not yet ``measured``.
    o : Out(stream.Signature(look_layout(cfg), always_ready=True))
        The looks, from registers.
    settled : In(1)
        The rows closed are ready to be used (SOFTMAX), or the row shown last is (NORMALIZE).
    close : Out(stream.Signature(closing_layout(cfg)))
        Rows that are complete (SOFTMAX).
    measured : Out(1)
        One more group is ready to be used.
    used : In(1)
        One more group was used up.
    """

    def __init__(
        self, cfg: AcceleratorConfig, *, spacing: int, maximum_latency: int, fetch: int
    ) -> None:
        self.cfg = cfg
        self.spacing = spacing
        self.maximum_latency = maximum_latency
        self.fetch = fetch
        super().__init__({
            "job": In(special_job(cfg)),
            "start": In(1),
            "o": Out(stream.Signature(look_layout(cfg), always_ready=True)),
            "settled": In(1),
            "close": Out(stream.Signature(closing_layout(cfg))),
            "busy": Out(1),
            "measured": Out(1),
            "used": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = self.job
        softmax = job.operation == SpecialOperation.SOFTMAX
        now = _Group(self.cfg, self.spacing, self.maximum_latency)
        begin, take = Signal(), Signal()
        m.d.comb += begin.eq((now.rows_left != 0) & (now.begun != 2) & (softmax | ~now.closing))
        m.d.sync += now.begun.eq(now.begun + take - self.used)
        self._look(m, now)
        with m.FSM():
            with m.State("BEGIN"):
                m.d.comb += take.eq(begin)
                m.d.sync += [
                    now.rows.eq(group_rows(now.rows_left, softmax)),
                    now.row.eq(0),
                    now.first.eq(1),
                    now.place.eq(now.base),
                    now.end.eq(now.base + job.length - 1),
                    now.rest.eq(Mux(softmax, self.maximum_latency - 2, 0)),
                ]
                with m.If(begin):
                    m.next = "BEATS"
                    with m.If(~softmax):
                        m.next = "READY"
            self._show_beats(m, now, softmax)
            self._show_bytes(m, now)
            with m.State("THROUGH"):
                # The group before may still be closing.
                m.d.comb += now.through.eq(~now.closing)
                with m.If(now.through):
                    m.d.sync += [
                        now.rows_left.eq(now.rows_left - now.rows),
                        now.edge_left.eq(
                            Mux(now.edge_left > now.rows, now.edge_left - now.rows, 0)
                        ),
                        now.half.eq(~now.half),
                    ]
                    m.next = "BEGIN"
        with m.If(self.start):
            m.d.sync += [
                now.base.eq(job.x),
                now.rows_left.eq(job.rows),
                now.edge_left.eq(job.edge_rows),
            ]
        self._close(m, now, softmax)
        return m

    def _look(self, m: Module, now: _Group) -> None:
        """What is shown, a cycle after the state that says so."""
        look, job = self.o.payload, self.job
        beat_bits = exact_log2(self.cfg.beat_bytes)
        place, end, row = now.place, now.end, now.row
        m.d.comb += [
            now.last_row.eq(row == now.rows - 1),
            now.last_beat.eq(place[beat_bits:] == end[beat_bits:]),
        ]
        m.d.sync += [
            self.o.valid.eq(0),
            look.place.eq(place),
            look.low.eq(place[:beat_bits]),
            look.high.eq(Mux(now.last_beat, end[:beat_bits], self.cfg.beat_bytes - 1)),
            look.slot.eq(Cat(row[:3], now.half)),
            look.first.eq(now.first),
            look.live.eq(job.full | Mux(row < now.edge_left, job.edge, 0)),
        ]

    def _show_beats(self, m: Module, now: _Group, softmax: Value) -> None:
        """Add the states that show each row's beats, and wait for the last maximum."""
        look, job = self.o.payload, self.job
        beat_bits = exact_log2(self.cfg.beat_bytes)
        with m.State("BEATS"):
            m.d.sync += [
                self.o.valid.eq(1),
                look.beat.eq(1),
                look.last.eq(now.last_beat),
                now.first.eq(now.last_beat),
                now.place.eq(Cat(Const(0, beat_bits), now.place[beat_bits:] + 1)),
            ]
            with m.If(now.last_beat):
                m.d.sync += [
                    now.row.eq(now.row + 1),
                    now.place.eq(now.end + 1),
                    now.end.eq(now.end + job.length),
                ]
                with m.If(now.last_row):
                    m.next = "READY"
        with m.State("READY"):
            # The last maximum is on its way.
            with m.If(now.rest != 0):
                m.d.sync += now.rest.eq(now.rest - 1)
            m.d.sync += [
                now.row.eq(0),
                now.first.eq(1),
                now.place.eq(now.base),
                now.top.eq(now.base + 1),
                now.column_left.eq(job.length),
                now.turn.eq(
                    Mux(softmax & (now.rows < self.spacing), self.spacing, now.rows) - 1
                ),
            ]
            with m.If(now.rest == 0):
                m.next = "BYTES"

    def _show_bytes(self, m: Module, now: _Group) -> None:
        """Add the state that shows the rows' bytes, column by column."""
        look = self.o.payload
        with m.State("BYTES"):
            m.d.sync += [
                look.beat.eq(0),
                look.last.eq(now.column_left == 1),
                now.row.eq(now.row + 1),
                now.place.eq(now.place + self.job.length),
            ]
            with m.If(now.row < now.rows):
                m.d.sync += [self.o.valid.eq(1), now.base.eq(now.place + 1)]
            with m.If(now.row == now.turn):
                m.d.sync += [
                    now.row.eq(0),
                    now.first.eq(0),
                    now.place.eq(now.top),
                    now.top.eq(now.top + 1),
                    now.column_left.eq(now.column_left - 1),
                ]
            with m.If((now.column_left == 1) & now.last_row):
                m.next = "THROUGH"

    def _close(self, m: Module, now: _Group, softmax: Value) -> None:
        """What happens to a group after its last byte, beside the next group's beats."""
        closed, job = self.close.payload, self.job
        group, group_edge = Signal.like(now.rows), Signal.like(now.edge_left)
        wait = Signal(range(self.fetch + 3))
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        m.d.comb += closed.live.eq(job.full | Mux(closed.slot[:3] < group_edge, job.edge, 0))
        with m.FSM() as closer:
            with m.State("OPEN"):
                m.d.sync += [
                    group.eq(now.rows),
                    group_edge.eq(now.edge_left),
                    closed.slot.eq(Cat(Const(0, 3), now.half)),
                    wait.eq(self.fetch + 2),
                ]
                with m.If(now.through):
                    m.next = "SUMMED"
            with m.State("SUMMED"):
                with m.If((wait == 0) & self.settled):
                    m.next = "CLOSE"
                    with m.If(~softmax):
                        m.next = "CLOSED"
            with m.State("CLOSE"):
                m.d.comb += self.close.valid.eq(1)
                m.d.sync += wait.eq(2)
                with m.If(self.close.ready):
                    m.d.sync += closed.slot[:3].eq(closed.slot[:3] + 1)
                    with m.If(closed.slot[:3] == group - 1):
                        m.next = "CLOSED"
            with m.State("CLOSED"):
                m.d.comb += self.measured.eq((wait == 0) & self.settled)
                with m.If(self.measured):
                    m.next = "OPEN"
        m.d.comb += [
            now.closing.eq(~closer.ongoing("OPEN")),
            self.busy.eq((now.rows_left != 0) | now.closing),
        ]
