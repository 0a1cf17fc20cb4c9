# SPDX-License-Identifier: Apache-2.0
"""The LOAD engine: segments of memory into the scratchpads, by beats or decoded."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2, exact_log2

from kiwicha.hw.load.dense_writer import DenseWriter
from kiwicha.hw.load.format_path import FormatPath, byte_write_source
from kiwicha.hw.parts.axi import REQUEST, read_beat
from kiwicha.hw.parts.bursts import block_beats
from kiwicha.hw.parts.engine import EngineSignature
from kiwicha.hw.parts.format_rules import format_job, machine_formats, read_job
from kiwicha.hw.parts.pieces import load_targets, piece_layout
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.parts.runs import SegmentWalker
from kiwicha.hw.parts.writes import forward_port, scratchpad_write, weight_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LOAD, Engine, WeightFormat

__all__ = ["LoadEngine"]

_JOBS = 8


class LoadEngine(Component):
    """Executes LOAD: reads whole beats around each segment and writes them to a scratchpad.

    Requests run ahead of the data by twice as many bursts as the read master keeps in flight, over
    the borders of segments and instructions. A request is at most one burst, so that instruction
    fetch never waits for longer than that, and for as long as a decoder holds back the beats on
    their way: a cycle for each row or entry of theirs.

    Latency: five cycles from an instruction to its first request. Throughput: one beat, one
    request and one segment a cycle; formatted data as ``FormatPath``. A machine without formats
    has nothing of the latter.

    Parameters
    ----------
    cfg : widths of the bus and sizes of the scratchpads.

    Members
    -------
    i : In(stream.Signature(LOAD))
        Instructions whose tokens are taken.
    done : Out(stream.Signature(ENGINES, always_ready=True))
        The signal mask of each instruction, in order, the cycle after its last beat on ``write``
        or its last bytes on ``weight_write``.
    busy : Out(1)
        An instruction is taken and not done.
    stop : In(1)
        Begin no segment. The read master keeps what is asked for already off the bus. Formatted
        data is thrown away, so that it never keeps the bus waiting; go on with a reset only.
    error : Out(FaultSignature)
        ILLEGAL_FIELD or SCRATCHPAD_RANGE with this engine's number, MALFORMED_STREAM with a byte in
        a compressed stream; once. After a fault of formatted data nothing is written and nothing
        begun, and all data is thrown away until reset.
    request : Out(stream.Signature(REQUEST))
    data : In(stream.Signature(read_beat(cfg)))
        To and from the read master; beats are taken in every cycle if there are no formats.
    write : Out(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats for all memories but the weight scratchpad.
    weight_write : Out(stream.Signature(weight_write(cfg), always_ready=True))
        All writes to the weight scratchpad; never in a cycle with one of LOAD's on ``write``.
    byte_write : Out(stream.Signature(bank_write(cfg), always_ready=True))
        Interleaved rows; never in a cycle with one on ``write``. Only with ``interleave``.
    forward : In(stream.Signature(scratchpad_write(cfg)))
        Beats of STORE's, which go to ``write`` before any of LOAD's; they wait for interleaved
        rows. Only with forwarding.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        ports = {
            "write": Out(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "weight_write": Out(stream.Signature(weight_write(cfg), always_ready=True)),
            **byte_write_source(cfg),
            **forward_port(cfg, In),
        }
        memory = {
            "request": Out(stream.Signature(REQUEST)),
            "data": In(stream.Signature(read_beat(cfg))),
        }
        super().__init__(EngineSignature(LOAD, ports, {"stop": In(1), **memory}))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        beat, block = exact_log2(cfg.beat_bytes), exact_log2(block_beats(cfg))
        depth = 1 << ceil_log2(max(8, 2 * cfg.axi_outstanding))

        formats = machine_formats(cfg)
        walker = SegmentWalker(cfg, LOAD, Engine.LOAD, load_targets(cfg), formats=formats)
        m.submodules.walker = walker
        m.submodules.pieces = pieces = Queue.of_machine(cfg, piece_layout(cfg), depth)
        m.submodules.writer = writer = DenseWriter(cfg)
        wiring.connect(m, wiring.flipped(self.write), writer.write)
        if cfg.forwarding:
            # No stream between them: interleaved rows hold it back.
            m.d.comb += [
                writer.forward.valid.eq(self.forward.valid & self.forward.ready),
                writer.forward.payload.eq(self.forward.payload),
                self.forward.ready.eq(1),
            ]
        if formats:
            self._connect_formats(m, walker, pieces, writer)
        else:
            wiring.connect(m, walker.i, wiring.flipped(self.i))
            wiring.connect(m, wiring.flipped(self.error), walker.error)
            wiring.connect(m, pieces.o, writer.piece)
            wiring.connect(m, writer.data, wiring.flipped(self.data))
            wiring.connect(m, wiring.flipped(self.weight_write), writer.weight_write)
            wiring.connect(m, wiring.flipped(self.done), writer.done)
            m.d.comb += walker.stop.eq(self.stop)

        # Cut a segment at multiples of a burst, as the read master would.
        segment = walker.o.payload
        active = Signal()
        fresh = Signal()
        final = Signal()
        sent = Signal()
        # The bit on top: no address of the memory port.
        high = Signal(cfg.axi_address_width + 1 - beat - block)
        low = Signal(block)
        last_low = Signal(block)
        blocks_left = Signal(max(len(segment.span), block) + 1 - block)
        held = Signal.like(pieces.i.payload)
        m.d.comb += [
            final.eq(blocks_left == 0),
            # `pieces.i.ready` only falls with a transfer, so a request once offered stays.
            self.request.valid.eq(active & pieces.i.ready),
            self.request.payload.address.eq(
                Cat(Const(0, beat), low, high, high[-1].replicate(63 - cfg.axi_address_width))
            ),
            self.request.payload.beats.eq(
                (Mux(final, last_low, (1 << block) - 1) - low + 1)[: block + 1]
            ),
            sent.eq(self.request.valid & self.request.ready),
            pieces.i.valid.eq(active & self.request.ready),
            pieces.i.payload.eq(held),
            pieces.i.payload.fresh.eq(fresh),
            pieces.i.payload.last.eq(held.last & final),
            *([pieces.i.payload.end.eq(final)] if formats else []),
            walker.o.ready.eq(~active | (sent & final)),
        ]
        with m.If(sent):
            m.d.sync += [
                active.eq(~final),
                fresh.eq(0),
                high.eq(high + 1),
                low.eq(0),
                blocks_left.eq(blocks_left - 1),
            ]
        with m.If(walker.o.valid & walker.o.ready):
            first = segment.address[beat:]
            m.d.sync += [
                active.eq(1),
                fresh.eq(1),
                Cat(low, high).eq(first),
                Cat(last_low, blocks_left).eq(first[:block] + segment.span),
                held.target.eq(segment.kind),
                held.local.eq(segment.local),
                held.last.eq(segment.last),
                held.signal.eq(segment.signal),
            ]
            if formats:
                m.d.sync += [held[name].eq(segment[name]) for name in ("formatted", "head", "tail")]

        # At most one instruction for each piece queued, and one for each stage on the way there.
        count = Signal(range(depth + 16))
        m.d.sync += count.eq(count + (self.i.valid & self.i.ready) - self.done.valid)
        m.d.comb += self.busy.eq(count != 0)
        return m

    def _connect_formats(
        self, m: Module, walker: SegmentWalker, pieces: Queue, writer: DenseWriter
    ) -> None:
        """Add the path of formatted data beside that of dense data; one works at a time."""
        m.submodules.path = path = FormatPath(self.cfg)
        m.submodules.jobs = jobs = Queue(format_job(self.cfg), _JOBS)
        wiring.connect(m, jobs.o, path.job)
        if self.cfg.interleave:
            wiring.connect(m, path.byte_write, wiring.flipped(self.byte_write))
            if self.cfg.forwarding:
                apart = jobs.o.payload.format == WeightFormat.INTERLEAVED
                m.d.comb += self.forward.ready.eq(path.idle | ~apart)
        failed, reported = Signal(), Signal()
        asked = self.i.payload
        free = jobs.i.ready & ~failed
        m.d.comb += [
            walker.stop.eq(self.stop | failed),
            walker.i.valid.eq(self.i.valid & free),
            walker.i.payload.eq(asked),
            self.i.ready.eq(walker.i.ready & free),
            # That of an illegal instruction waits for pieces that never come.
            jobs.i.valid.eq(self.i.valid & self.i.ready & (asked.format != WeightFormat.DENSE)),
            *read_job(self.cfg, jobs.i.payload, asked),
        ]

        there, piece, last = pieces.o.valid, pieces.o.payload, self.data.payload.last
        dropped = Signal()
        m.d.comb += [
            dropped.eq(there & (failed | (self.stop & piece.formatted))),
            writer.piece.valid.eq(there & ~dropped & ~piece.formatted & path.idle),
            path.piece.valid.eq(there & ~dropped & piece.formatted),
            self.data.ready.eq(writer.data.ready | path.data.ready | dropped),
            pieces.o.ready.eq(
                writer.piece.ready | path.piece.ready | (dropped & self.data.valid & last)
            ),
        ]
        for unit in (writer, path):
            m.d.comb += [
                unit.piece.payload.eq(piece),
                unit.data.valid.eq(self.data.valid),
                unit.data.payload.eq(self.data.payload),
            ]

        # Two cycles from the last dense beat to its `done`, more from the first one of a format.
        m.d.comb += [
            self.weight_write.valid.eq(writer.weight_write.valid | path.write.valid),
            self.weight_write.payload.eq(
                Mux(path.write.valid, path.write.payload, writer.weight_write.payload)
            ),
            self.done.valid.eq(writer.done.valid | path.done.valid),
            self.done.payload.eq(Mux(path.done.valid, path.done.payload, writer.done.payload)),
            self.error.valid.eq((walker.error.valid | path.error.valid) & ~reported),
            self.error.payload.eq(Mux(path.error.valid, path.error.payload, walker.error.payload)),
        ]
        m.d.sync += [
            failed.eq(failed | path.error.valid),
            reported.eq(reported | self.error.valid),
        ]
