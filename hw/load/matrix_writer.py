# SPDX-License-Identifier: Apache-2.0
"""A matrix as it is in memory, plain or transposed, into the tiles of the weight scratchpad."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.format_rules import format_job
from kiwicha.hw.parts.realign import Realigner, part_layout
from kiwicha.hw.parts.writes import WriteKind, weight_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import WeightFormat

__all__ = ["MatrixWriter"]


class MatrixWriter(Component):
    """Writes a stream's bytes where ``machine.isa.WeightFormat`` says that ROWS and COLUMNS go.

    Each cycle writes one piece: bytes of one line, of one tile, and a beat's at the most. What is
    left at the end of the stream is an incomplete line.

    Latency: six cycles from a beat to its write. Throughput: a piece and a beat a cycle.

    Parameters
    ----------
    cfg : ``columns``, ``axi_data_width`` and ``weight_bytes``.

    Members
    -------
    job : In(stream.Signature(format_job(cfg)))
        Starts a stream, whose bytes follow on ``i``.
    i : In(stream.Signature(part_layout(beat_bytes)))
    write : Out(stream.Signature(weight_write(cfg), always_ready=True))
    done : Out(1)
        High for one cycle, that of the stream's last write.
    outside : Out(1)
        High for one cycle, that in which a piece that has a row outside the memory would have been
        written. Nothing more is written until reset, and ``i`` need not be ready.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "job": In(stream.Signature(format_job(cfg))),
            "i": In(stream.Signature(part_layout(cfg.beat_bytes))),
            "write": Out(stream.Signature(weight_write(cfg), always_ready=True)),
            "done": Out(1),
            "outside": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = self.cfg.beat_bytes
        row_bits = exact_log2(self.cfg.weight_bytes // self.cfg.weight_pitch)
        m.submodules.bytes = queue = Realigner(beat)
        wiring.connect(m, queue.i, wiring.flipped(self.i))

        piece = Signal(
            data.StructLayout({
                "row": row_bits,  # of the tile's first row
                "wild": 1,  # that row, or one of an earlier tile, is outside
                "offset": 17,  # rows from there
                "column": range(self.cfg.weight_pitch),
                "size": range(1, beat + 1),
            })
        )
        job = Signal(format_job(self.cfg))
        active, planned, advance = Signal(), Signal(), Signal()
        taken, finished = Signal(), Signal()
        start = Signal()
        m.d.comb += [
            self.job.ready.eq(~active),
            start.eq(self.job.valid & self.job.ready),
            advance.eq(active & (~planned | taken)),
        ]
        with m.If(advance):
            m.d.sync += planned.eq(1)
        self._plan_piece(m, piece, job, advance, start)
        with m.If(start):
            m.d.sync += [active.eq(1), planned.eq(0), job.eq(self.job.payload)]

        # Cycle 2: take its bytes when they are there; the last ones may be fewer.
        enough = queue.level >= piece.size
        m.d.comb += [
            queue.count.eq(Mux(enough, piece.size, queue.level)),
            taken.eq(planned & (enough | (queue.ended & (queue.level != 0)))),
            queue.take.eq(taken),
            finished.eq(active & queue.ended & (queue.level == 0)),
            queue.restart.eq(finished),
        ]
        with m.If(finished):
            m.d.sync += [active.eq(0), planned.eq(0)]
        self._write_piece(m, piece, job, queue, taken, finished)
        return m

    def _plan_piece(
        self, m: Module, piece: data.View, job: data.View, advance: Signal, start: Signal
    ) -> None:
        """Cycle 1: the pieces one after the other, as if the stream had no end."""
        beat, columns = self.cfg.beat_bytes, self.cfg.columns
        row_bits = len(piece.row)
        transposed = job.format == WeightFormat.COLUMNS
        base = Signal(signed(len(job.row) + 2))
        wild = Signal()
        offset = Signal(17)
        column = Signal(range(columns))
        line_left = Signal(16)
        room = Signal(range(1, beat + 1))
        size = Signal(range(1, beat + 1))
        line_ends = Signal()
        stray = base[row_bits:] != 0
        in_tile = columns - column
        m.d.comb += [
            room.eq(Mux(transposed | (in_tile > beat), beat, in_tile)),
            line_ends.eq(line_left <= room),
            size.eq(Mux(line_ends, line_left, room)),
        ]
        with m.If(advance):
            m.d.sync += [
                piece.row.eq(base),
                piece.wild.eq(wild | stray),
                wild.eq(wild | stray),
                piece.offset.eq(offset),
                piece.column.eq(column),
                piece.size.eq(size),
                line_left.eq(Mux(line_ends, job.extent, line_left - size)),
            ]
            with m.If(transposed):
                m.d.sync += offset.eq(offset + size)
                with m.If(line_ends):
                    m.d.sync += [offset.eq(0), column.eq(column + 1)]
                    with m.If(column == columns - 1):
                        m.d.sync += [column.eq(0), base.eq(base + job.row_pitch)]
            with m.Elif(line_ends):
                m.d.sync += [offset.eq(offset + 1), column.eq(0), base.eq(job.row)]
            with m.Elif(size == in_tile):
                m.d.sync += [column.eq(0), base.eq(base + job.row_pitch)]
            with m.Else():
                m.d.sync += column.eq(column + size)
        with m.If(start):
            m.d.sync += [
                base.eq(self.job.payload.row),
                wild.eq(0),
                offset.eq(0),
                column.eq(0),
                line_left.eq(self.job.payload.extent),
            ]

    def _write_piece(
        self, m: Module, piece: data.View, job: data.View, queue: Realigner, taken: Signal,
        finished: Signal,
    ) -> None:
        """Cycles 3 and 4, as long as the bytes take: which rows are these?"""
        row_bits = len(piece.row)
        transposed = job.format == WeightFormat.COLUMNS
        going, s_wild, failed, outside = Signal(), Signal(), Signal(), Signal()
        first = Signal(max(row_bits, 17) + 1)
        last = Signal(len(first) + 1)
        write = self.write.payload
        s_column, s_live = Signal.like(piece.column), Signal(range(self.cfg.beat_bytes))
        m.d.comb += [
            last.eq(first + Mux(transposed, s_live, 0)),
            outside.eq(going & (s_wild | (last[row_bits:] != 0))),
            write.data.as_value().eq(queue.o.as_value()),
        ]
        m.d.sync += [
            going.eq(taken),
            s_wild.eq(piece.wild),
            first.eq(piece.row + piece.offset),
            s_column.eq(piece.column),
            s_live.eq(queue.count - 1),
            self.write.valid.eq(going & ~outside & ~failed),
            write.kind.eq(Mux(transposed, WriteKind.COLUMN, WriteKind.ROW)),
            write.row.eq(first),
            write.column.eq(s_column),
            write.live.eq(s_live),
            failed.eq(failed | outside),
            self.outside.eq(outside & ~failed),
            self.done.eq(finished & ~failed & ~outside),
        ]
