# SPDX-License-Identifier: Apache-2.0
"""Compressed weights through the decoder of their format into the weight scratchpad."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.format_rules import format_job
from kiwicha.hw.parts.writes import WriteKind, weight_write
from kiwicha.hw.sparse.bitmask import BitmaskDecoder
from kiwicha.hw.sparse.contract import beat_layout
from kiwicha.hw.sparse.csc import CscDecoder
from kiwicha.hw.sparse.csr import CsrDecoder
from kiwicha.hw.sparse.run_length import RunLengthDecoder
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.formats import compressed_formats
from kiwicha.machine.isa import WeightFormat

__all__ = ["ABSOLUTE_BITS", "SparseWriter", "make_decoder"]

ABSOLUTE_BITS = 10
"""Width of an index that is a place: columns of CSC_ABSOLUTE and rows of CSR have 1024 at most."""

_CSC: dict[WeightFormat, dict[str, Any]] = {
    WeightFormat.CSC4: {"index_bits": 4},
    WeightFormat.CSC5: {"index_bits": 5},
    WeightFormat.CSC8: {"index_bits": 8},
    WeightFormat.CSC_ABSOLUTE: {"index_bits": ABSOLUTE_BITS, "relative": False},
    WeightFormat.CSC4_CODEBOOK: {"index_bits": 4, "codebook": True},
}


def make_decoder(cfg: AcceleratorConfig, name: WeightFormat) -> Any:
    """Return the decoder of a compressed format; ValueError where it does not take such rows."""
    beat, lanes, entries = cfg.beat_bytes, cfg.weight_pitch, cfg.sparse.entries
    if name in _CSC:
        return CscDecoder(beat, lanes, entries=entries, **_CSC[name])
    if name == WeightFormat.CSR:
        return CsrDecoder(beat, lanes, entries=entries, index_bits=ABSOLUTE_BITS)
    if name == WeightFormat.RUN_LENGTH:
        return RunLengthDecoder(beat, lanes, entries=entries)
    assert name == WeightFormat.BITMASK, f"{name} is not compressed"
    return BitmaskDecoder(beat, lanes)


class SparseWriter(Component):
    """Writes the dense rows of a compressed stream to weight rows one after the other.

    Latency and throughput are those of the decoder, and one cycle more.

    Parameters
    ----------
    cfg : ``sparse.formats``, of which there must be one, and what decoders and memory depend on.

    Members
    -------
    job : In(stream.Signature(format_job(cfg)))
        Starts a stream, whose beats are taken from ``i`` afterwards.
    i : In(stream.Signature(beat_layout(beat_bytes)))
    write : Out(stream.Signature(weight_write(cfg), always_ready=True))
    done : Out(1)
        High for one cycle, not before the stream's last write.
    outside : Out(1)
        High for one cycle, that in which a row outside the memory would have been written.
    malformed : Out(1), offset : Out(32)
        High for one cycle when the stream turns out to be wrong, at that byte. After this fault, or
        the one before, nothing more is written until reset, and ``i`` need not be ready.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.formats = compressed_formats(cfg)
        if not self.formats:
            raise ValueError("sparse.formats is empty; legal: at least one format")
        super().__init__({
            "job": In(stream.Signature(format_job(cfg))),
            "i": In(stream.Signature(beat_layout(cfg.beat_bytes))),
            "write": Out(stream.Signature(weight_write(cfg), always_ready=True)),
            "done": Out(1),
            "outside": Out(1),
            "malformed": Out(1),
            "offset": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pitch = self.cfg.weight_pitch
        row_bits = exact_log2(self.cfg.weight_bytes // pitch)
        asked = self.job.payload
        chosen = Signal(4)
        started, running = Signal(), Signal()
        m.d.comb += started.eq(self.job.valid & self.job.ready)
        with m.If(started):
            m.d.sync += [chosen.eq(asked.format), running.eq(1)]
        with m.Elif(self.done):
            m.d.sync += running.eq(0)

        given = Signal(data.StructLayout({"valid": 1, "lanes": 8 * pitch}))
        decoders = []
        for name in self.formats:
            decoder = make_decoder(self.cfg, name)
            m.submodules[name.name.lower()] = decoder
            decoders.append(decoder)
            mine = Signal(name=f"mine_{name.name.lower()}")
            m.d.comb += [
                mine.eq(running & (chosen == name)),
                decoder.job.valid.eq(self.job.valid & (asked.format == name)),
                decoder.job.payload.columns.eq(asked.columns),
                decoder.job.payload.rows.eq(asked.rows),
                decoder.i.valid.eq(self.i.valid & mine),
                decoder.i.payload.eq(self.i.payload),
                decoder.o.ready.eq(1),
            ]
            with m.If(asked.format == name):
                m.d.comb += self.job.ready.eq(decoder.job.ready)
            with m.If(mine):
                m.d.comb += self.i.ready.eq(decoder.i.ready)

        # Only the chosen decoder has anything to say.
        def any_of(values: list[Value]) -> Value:
            return reduce(or_, values)

        outside, failed, wrong = Signal(), Signal(), Signal()
        row = Signal(len(asked.row) + 1)
        m.d.comb += [
            given.valid.eq(any_of([decoder.o.valid for decoder in decoders])),
            given.lanes.eq(
                any_of([
                    Mux(decoder.o.valid, decoder.o.payload.lanes.as_value(), 0)
                    for decoder in decoders
                ])
            ),
            outside.eq(given.valid & (row[row_bits:] != 0)),
            wrong.eq(any_of([decoder.error.valid for decoder in decoders])),
            # The last row was taken in the cycle before, at the latest.
            self.done.eq(any_of([decoder.done for decoder in decoders]) & ~failed),
        ]
        write = self.write.payload
        m.d.sync += [
            self.write.valid.eq(given.valid & ~outside & ~failed),
            write.kind.eq(WriteKind.ROW),
            write.row.eq(row),
            write.column.eq(0),
            write.live.eq(pitch - 1),
            Cat(write.data).eq(given.lanes),
            row.eq(row + given.valid),
            failed.eq(failed | outside | wrong),
            self.outside.eq(outside & ~failed),
            # Rows that came before the culprit are out, and may have been outside themselves.
            self.malformed.eq(wrong & ~failed & ~outside),
            self.offset.eq(
                any_of([
                    Mux(decoder.error.valid, decoder.error.payload.offset, 0)
                    for decoder in decoders
                ])
            ),
        ]
        with m.If(started):
            m.d.sync += row.eq(asked.row)
        return m
