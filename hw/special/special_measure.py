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
        cfg, job, look = self.cfg, self.job, self.o.payload
        beat_bits = exact_log2(cfg.beat_bytes)
        place_bits = exact_log2(cfg.special.bytes)
        counts = count_bits(cfg)
        softmax = job.operation == SpecialOperation.SOFTMAX

        base = Signal(place_bits)  #: of the next row that no byte was shown of
        rows_left, edge_left = Signal(counts), Signal(counts)
        rows = Signal(range(SOFTMAX_GROUP + 1))  #: of the group
        half = Signal()  #: of the slots
        row = Signal(range(max(SOFTMAX_GROUP, self.spacing)))
        begun = Signal(range(3))  #: groups measured, being measured or in use
        closing = Signal()
        begin, take = Signal(), Signal()
        m.d.comb += begin.eq((rows_left != 0) & (begun != 2) & (softmax | ~closing))
        m.d.sync += begun.eq(begun + take - self.used)

        place, end, top = Signal(place_bits), Signal(place_bits), Signal(place_bits)
        column_left = Signal(counts)
        first = Signal()
        last_row, last_beat = Signal(), Signal()
        rest = Signal(range(max(self.maximum_latency, 2)))
        # A row of few is shown again only after `spacing` cycles.
        turn = Signal(range(max(SOFTMAX_GROUP, self.spacing) + 1))
        through = Signal()
        m.d.comb += [
            last_row.eq(row == rows - 1),
            last_beat.eq(place[beat_bits:] == end[beat_bits:]),
        ]
        m.d.sync += [
            self.o.valid.eq(0),
            look.place.eq(place),
            look.low.eq(place[:beat_bits]),
            look.high.eq(Mux(last_beat, end[:beat_bits], cfg.beat_bytes - 1)),
            look.slot.eq(Cat(row[:3], half)),
            look.first.eq(first),
            look.live.eq(job.full | Mux(row < edge_left, job.edge, 0)),
        ]
        with m.FSM():
            with m.State("BEGIN"):
                m.d.comb += take.eq(begin)
                m.d.sync += [
                    rows.eq(group_rows(rows_left, softmax)),
                    row.eq(0),
                    first.eq(1),
                    place.eq(base),
                    end.eq(base + job.length - 1),
                    rest.eq(Mux(softmax, self.maximum_latency - 2, 0)),
                ]
                with m.If(begin):
                    m.next = "BEATS"
                    with m.If(~softmax):
                        m.next = "READY"
            with m.State("BEATS"):
                m.d.sync += [
                    self.o.valid.eq(1),
                    look.beat.eq(1),
                    look.last.eq(last_beat),
                    first.eq(last_beat),
                    place.eq(Cat(Const(0, beat_bits), place[beat_bits:] + 1)),
                ]
                with m.If(last_beat):
                    m.d.sync += [row.eq(row + 1), place.eq(end + 1), end.eq(end + job.length)]
                    with m.If(last_row):
                        m.next = "READY"
            with m.State("READY"):
                # The last maximum is on its way.
                with m.If(rest != 0):
                    m.d.sync += rest.eq(rest - 1)
                m.d.sync += [
                    row.eq(0),
                    first.eq(1),
                    place.eq(base),
                    top.eq(base + 1),
                    column_left.eq(job.length),
                    turn.eq(Mux(softmax & (rows < self.spacing), self.spacing, rows) - 1),
                ]
                with m.If(rest == 0):
                    m.next = "BYTES"
            with m.State("BYTES"):
                m.d.sync += [
                    look.beat.eq(0),
                    look.last.eq(column_left == 1),
                    row.eq(row + 1),
                    place.eq(place + job.length),
                ]
                with m.If(row < rows):
                    m.d.sync += [self.o.valid.eq(1), base.eq(place + 1)]
                with m.If(row == turn):
                    m.d.sync += [
                        row.eq(0),
                        first.eq(0),
                        place.eq(top),
                        top.eq(top + 1),
                        column_left.eq(column_left - 1),
                    ]
                with m.If((column_left == 1) & last_row):
                    m.next = "THROUGH"
            with m.State("THROUGH"):
                # The group before may still be closing.
                m.d.comb += through.eq(~closing)
                with m.If(through):
                    m.d.sync += [
                        rows_left.eq(rows_left - rows),
                        edge_left.eq(Mux(edge_left > rows, edge_left - rows, 0)),
                        half.eq(~half),
                    ]
                    m.next = "BEGIN"
        with m.If(self.start):
            m.d.sync += [
                base.eq(job.x),
                rows_left.eq(job.rows),
                edge_left.eq(job.edge_rows),
            ]


        # What happens to a group after its last byte, beside the next group's beats.
        closed = self.close.payload
        group, group_edge = Signal.like(rows), Signal(counts)
        wait = Signal(range(self.fetch + 3))
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        m.d.comb += closed.live.eq(job.full | Mux(closed.slot[:3] < group_edge, job.edge, 0))
        with m.FSM() as closer:
            with m.State("OPEN"):
                m.d.sync += [
                    group.eq(rows),
                    group_edge.eq(edge_left),
                    closed.slot.eq(Cat(Const(0, 3), half)),
                    wait.eq(self.fetch + 2),
                ]
                with m.If(through):
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
            closing.eq(~closer.ongoing("OPEN")),
            self.busy.eq((rows_left != 0) | closing),
        ]
        return m
