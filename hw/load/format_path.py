# SPDX-License-Identifier: Apache-2.0
"""The way of formatted data from the read master to the scratchpads."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.load.interleave_writer import InterleaveWriter
from kiwicha.hw.load.matrix_writer import MatrixWriter
from kiwicha.hw.load.sparse_writer import SparseWriter
from kiwicha.hw.parts.axi import read_beat
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.format_rules import MATRICES, format_job
from kiwicha.hw.parts.pieces import piece_layout
from kiwicha.hw.parts.writes import bank_write, weight_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.formats import compressed_formats
from kiwicha.machine.isa import ENGINES, Engine, ErrorCode, WeightFormat

__all__ = ["FormatPath", "byte_write_source"]


def byte_write_source(cfg: AcceleratorConfig) -> dict[str, object]:
    """Return the port that gives interleaved rows, as a member of who has it, if there is one."""
    signature = stream.Signature(bank_write(cfg), always_ready=True)
    return {"byte_write": Out(signature)} if cfg.interleave else {}


class FormatPath(Component):
    """Executes the formatted instructions of LOAD, one after the other.

    Their data waits while the unit that writes it is busy, which is never for ever: a row or an
    entry comes in every cycle in which a beat is held back. Latency: from a beat to its writes as
    ``MatrixWriter`` or the decoder; two cycles from the last write of an instruction to the first
    beat of the next one.

    Parameters
    ----------
    cfg : a machine that ``machine_formats`` names formats of.

    Members
    -------
    job : In(stream.Signature(format_job(cfg)))
        One for each instruction, there before its first piece; taken when it is done.
    piece : In(stream.Signature(piece_layout(cfg)))
        Formatted pieces, one for each request.
    data : In(stream.Signature(read_beat(cfg)))
        The beats of these requests; looked at only while a piece is there.
    write : Out(stream.Signature(weight_write(cfg), always_ready=True))
    byte_write : Out(stream.Signature(bank_write(cfg), always_ready=True))
        Interleaved rows; only with ``interleave``.
    done : Out(stream.Signature(ENGINES, always_ready=True))
        The signal mask of each instruction, after its last write.
    idle : Out(1)
        No instruction is begun and not done.
    error : Out(FaultSignature)
        SCRATCHPAD_RANGE with the engine's number or MALFORMED_STREAM with the byte in the stream,
        once. Nothing is written from then on until reset, and data need not be taken.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "job": In(stream.Signature(format_job(cfg))),
            "piece": In(stream.Signature(piece_layout(cfg))),
            "data": In(stream.Signature(read_beat(cfg))),
            "write": Out(stream.Signature(weight_write(cfg), always_ready=True)),
            **byte_write_source(cfg),
            "done": Out(stream.Signature(ENGINES, always_ready=True)),
            "idle": Out(1),
            "error": Out(FaultSignature),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        form = self.job.payload.format
        is_matrix = Cat(form == name for name in MATRICES).any()
        units: list[tuple[str, Value, MatrixWriter | InterleaveWriter | SparseWriter]] = []
        if self.cfg.transposer:
            units.append(("matrix", is_matrix == 1, MatrixWriter(self.cfg)))
        compressed = is_matrix == 0
        if self.cfg.interleave:
            interleaved = form == WeightFormat.INTERLEAVED
            compressed &= ~interleaved
            units.append(("interleave", interleaved, InterleaveWriter(self.cfg)))
        if compressed_formats(self.cfg):
            units.append(("sparse", compressed, SparseWriter(self.cfg)))

        piece, beat = self.piece.payload, self.data.payload
        active, fed, begin, moved, ended = Signal(), Signal(), Signal(), Signal(), Signal()
        signal = Signal(ENGINES)
        m.d.comb += [
            begin.eq(self.job.valid & self.piece.valid & ~active),
            self.idle.eq(~active),
            moved.eq(self.data.valid & self.data.ready),
            self.piece.ready.eq(moved & beat.last),
            self.job.ready.eq(ended),
        ]
        first = Signal(init=1)
        with m.If(moved):
            m.d.sync += [first.eq(beat.last), fed.eq(beat.last & piece.last)]
            m.d.sync += signal.eq(piece.signal)

        for name, is_mine, unit in units:
            m.submodules[name] = unit
            mine = Signal(name=f"{name}_mine")
            m.d.comb += [
                mine.eq(is_mine),
                unit.job.valid.eq(begin & mine),
                unit.job.payload.eq(self.job.payload),
                unit.i.valid.eq(self.data.valid & self.piece.valid & active & ~fed & mine),
                unit.i.payload.data.eq(beat.data),
                unit.i.payload.last.eq(beat.last & piece.last),
            ]
            with m.If(mine):
                m.d.comb += self.data.ready.eq(unit.i.ready & self.piece.valid & active & ~fed)
                with m.If(begin & unit.job.ready):
                    m.d.sync += active.eq(1)
            if not isinstance(unit, SparseWriter):
                # Bytes around a run are dropped where the run begins and ends.
                m.d.comb += [
                    unit.i.payload.head.eq(Mux(first & piece.fresh, piece.head, 0)),
                    unit.i.payload.tail.eq(Mux(beat.last & piece.end, piece.tail, ~0)),
                ]
            with m.If(unit.done):
                m.d.comb += ended.eq(1)
            if isinstance(unit, InterleaveWriter):
                m.d.comb += unit.i.payload.fresh.eq(first & piece.fresh)
                wiring.connect(m, unit.write, wiring.flipped(self.byte_write))
                continue
            with m.If(unit.write.valid):
                m.d.comb += [self.write.valid.eq(1), self.write.payload.eq(unit.write.payload)]

        m.d.sync += [self.done.valid.eq(ended), self.done.payload.eq(signal)]
        with m.If(ended):
            m.d.sync += [active.eq(0), fed.eq(0)]

        for _, _, unit in units:
            with m.If(unit.outside):
                m.d.comb += [
                    self.error.valid.eq(1),
                    self.error.payload.code.eq(ErrorCode.SCRATCHPAD_RANGE),
                    self.error.payload.address.eq(Engine.LOAD),
                ]
            if isinstance(unit, SparseWriter):
                with m.If(unit.malformed):
                    m.d.comb += [
                        self.error.valid.eq(1),
                        self.error.payload.code.eq(ErrorCode.MALFORMED_STREAM),
                        self.error.payload.address.eq(unit.offset),
                    ]
        return m
