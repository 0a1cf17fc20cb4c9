# SPDX-License-Identifier: Apache-2.0
"""The STORE engine: runs of what the machine computed, or a record, into memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.axi import REQUEST, write_beat
from kiwicha.hw.parts.engine import EngineSignature
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.parts.runs import SegmentWalker
from kiwicha.hw.parts.writes import forward_port
from kiwicha.hw.store.answers import Answers
from kiwicha.hw.store.forward import Forward, Way, read_beat_layout
from kiwicha.hw.store.records import RECORD_LATENCY, record_bytes, record_index
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.destination import StoreDestination, destinations
from kiwicha.machine.isa import STORE, Engine, ErrorCode, StoreSource

__all__ = ["READ_LATENCY", "StoreEngine", "store_sources"]

READ_LATENCY = RECORD_LATENCY
"""Cycles from ``output_address`` to ``output_data``, and of a result or a record the same."""

_BUFFERED = 8  # a power of two
_PENDING = 32


def store_sources(cfg: AcceleratorConfig) -> dict[int, int]:
    """Return the bytes of each memory that STORE can read."""
    sources: dict[int, int] = {StoreSource.OUTPUT: cfg.output_bytes, **record_bytes(cfg)}
    if cfg.special.lanes:
        sources[StoreSource.RESULT] = cfg.special.lanes * cfg.special.bytes
    return sources


class StoreEngine(Component):
    """Executes STORE: each segment is one request to the write master, with strobes at its ends.

    Reading runs ahead of the bus by up to eight beats, and over the borders of segments and
    instructions; an instruction is done when every response has arrived. Latency: five cycles from
    an instruction to its first request, nine to its first beat of data. Throughput: a beat a cycle
    (a segment in two cycles is what the write master takes). Of machines with forwarding segments
    may go to memories on chip: no request, a cycle more to a beat, and two from the last one to
    ``done``.

    Parameters
    ----------
    cfg : widths of the bus and sizes of the output buffer and the result memories.

    Members
    -------
    i : In(stream.Signature(STORE))
        Instructions whose tokens are taken.
    done : Out(stream.Signature(ENGINES, always_ready=True))
        The signal mask of each instruction, in order, when its last response has arrived.
    busy : Out(1)
        An instruction is taken and not done.
    stop : In(1)
        Begin no segment; data of those begun still comes.
    error : Out(FaultSignature)
        ILLEGAL_FIELD or SCRATCHPAD_RANGE with this engine's number; nothing outside a memory on
        chip is read or written.
    output_enable : Out(1); output_address : Out(32)
        Read of the beat at this byte address, a multiple of a beat, of the output buffer.
    output_data : In(axi_data_width)
        That beat, exactly ``READ_LATENCY`` cycles later.
    result_enable, result_address, result_data : the same of SPECIAL's results; only if the machine
        has that engine.
    record_enable : Out(1); record_kind : Out(StoreSource); record_index : Out(record_index(cfg))
        Read of a beat of a record. A beat is taken in one cycle, different beats in different ones.
    record_data : In(axi_data_width)
        That beat, exactly ``READ_LATENCY`` cycles later.
    request : Out(stream.Signature(REQUEST))
    data : Out(stream.Signature(write_beat(cfg)))
    written : In(stream.Signature(0, always_ready=True))
        To and from the write master; ``written`` is its ``done``.
    forward : Out(stream.Signature(scratchpad_write(cfg)))
        Whole beats for memories on chip; only with forwarding, as ``stepping``.
    stepping : Out(1)
        Such a beat is there.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        ports: dict[str, wiring.Member] = {}
        for kind in store_sources(cfg):
            if kind not in record_bytes(cfg):
                memory = StoreSource(kind).name.lower()
                ports |= {
                    f"{memory}_enable": Out(1),
                    f"{memory}_address": Out(32),
                    f"{memory}_data": In(cfg.axi_data_width),
                }
        own = {
            "stop": In(1),
            "request": Out(stream.Signature(REQUEST)),
            "data": Out(stream.Signature(write_beat(cfg))),
            "written": In(stream.Signature(0, always_ready=True)),
            "record_enable": Out(1),
            "record_kind": Out(StoreSource),
            "record_index": Out(record_index(cfg)),
            "record_data": In(cfg.axi_data_width),
            **({"stepping": Out(1)} if cfg.forwarding else {}),
        }
        super().__init__(EngineSignature(STORE, {**ports, **forward_port(cfg, Out)}, own))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        sources = store_sources(cfg)
        memories = [kind for kind in sources if kind not in record_bytes(cfg)]
        walker = SegmentWalker(
            cfg, STORE, Engine.STORE, sources, frozenset({StoreSource.COUNTERS}),
            destinations=dict.fromkeys(destinations(cfg), memories),
        )
        m.submodules.walker = walker
        m.submodules.buffer = buffer = Queue.of_machine(cfg, read_beat_layout(cfg), _BUFFERED)
        m.submodules.answers = answers = Answers(_PENDING, forwarding=cfg.forwarding)
        wiring.connect(m, walker.i, wiring.flipped(self.i))
        wiring.connect(m, wiring.flipped(self.done), answers.done)
        m.d.comb += [answers.written.eq(self.written.valid), walker.stop.eq(self.stop)]
        way = None
        if cfg.forwarding:
            m.submodules.way = way = Way(cfg)
            m.submodules.forward = forward = Forward(cfg)
            wiring.connect(m, buffer.o, forward.i)
            wiring.connect(m, wiring.flipped(self.data), forward.data)
            wiring.connect(m, wiring.flipped(self.forward), forward.forward)
            m.d.comb += [
                answers.forwarded.eq(forward.written), self.stepping.eq(self.forward.valid)
            ]
            self._report(m, walker, way)
        else:
            wiring.connect(m, wiring.flipped(self.data), buffer.o)
            wiring.connect(m, wiring.flipped(self.error), walker.error)

        active, ending = Signal(), Signal()
        start = self._begin_segment(m, walker.o, answers, active, ending, way)
        read = self._read_beats(m, walker.o.payload, buffer, start, active, ending, way)
        self._buffer_beats(m, buffer, *read, way)
        count = Signal(range(_PENDING + 16))
        m.d.sync += count.eq(count + (self.i.valid & self.i.ready) - self.done.valid)
        m.d.comb += self.busy.eq(count != 0)
        return m

    def _report(self, m: Module, walker: SegmentWalker, way: Way) -> None:
        """Report once what leaves a memory on chip, be it read or written, or is illegal."""
        reported = Signal()
        m.d.sync += reported.eq(reported | self.error.valid)
        m.d.comb += [
            walker.stop.eq(self.stop | way.failed),
            self.error.valid.eq((walker.error.valid | way.failed) & ~reported),
            self.error.payload.eq(walker.error.payload),
        ]
        with m.If(way.failed):
            m.d.comb += [
                self.error.payload.code.eq(ErrorCode.SCRATCHPAD_RANGE),
                self.error.payload.address.eq(Engine.STORE),
            ]

    def _begin_segment(
        self, m: Module, o: stream.Interface, answers: Answers, active: Signal, ending: Signal,
        way: Way | None,
    ) -> Signal:
        """Take a segment three ways at once: a request, an entry to answer, and reads to make."""
        segment = o.payload
        start, outside = Signal(), Signal(init=1)
        begun = answers.i.payload
        m.d.comb += [
            o.ready.eq(
                (~active | ending)
                & (~self.request.valid | self.request.ready)
                & answers.i.ready
            ),
            start.eq(o.valid & o.ready),
            answers.i.valid.eq(start),
            begun.last.eq(segment.last),
            begun.signal.eq(segment.signal),
        ]
        if way is not None:
            m.d.comb += [
                outside.eq(segment.destination == StoreDestination.MEMORY),
                begun.forwarded.eq(~outside),
                way.start.eq(start),
                way.destination.eq(segment.destination),
                way.address.eq(segment.address),
            ]
        with m.If(start):
            m.d.sync += [
                self.request.valid.eq(outside),
                self.request.payload.address.eq(segment.address),
                self.request.payload.beats.eq(segment.span + 1),
            ]
        with m.Elif(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        return start

    def _read_beats(
        self, m: Module, segment: data.View, buffer: Queue, start: Signal, active: Signal,
        ending: Signal, way: Way | None,
    ) -> tuple[Signal, Value, Signal]:
        """Read a beat a cycle while the buffer has room; return when, which bytes and of what."""
        cfg = self.cfg
        beat = exact_log2(cfg.beat_bytes)
        issue = Signal()
        local = Signal.like(segment.local)
        left = Signal.like(segment.span)
        first, final = Signal(), Signal()
        head = Signal(beat)
        tail = Signal(beat)
        kind = Signal(StoreSource)
        reserved = Signal(range(_BUFFERED + 1))
        everything = (1 << cfg.beat_bytes) - 1
        after_head = Signal(cfg.beat_bytes)
        until_tail = Signal(cfg.beat_bytes)
        m.d.comb += [
            # It holds a power of two: the highest bit alone says that all of it is reserved.
            issue.eq(active & ~reserved[-1] & (1 if way is None else ~way.astray)),
            ending.eq(issue & final),
            after_head.eq(Mux(first, Const(everything) << head, everything)),
            # ~tail is the number of bytes after the tail in its beat.
            until_tail.eq(Mux(final, Const(everything) >> ~tail, everything)),
            self.output_enable.eq(issue & (kind == StoreSource.OUTPUT)),
            self.output_address.eq(Cat(Const(0, beat), local)),
            self.record_enable.eq(issue & (kind != StoreSource.OUTPUT)),
            self.record_kind.eq(StoreSource(kind)),
            self.record_index.eq(local),
        ]
        if StoreSource.RESULT in store_sources(cfg):
            m.d.comb += [
                self.result_enable.eq(issue & (kind == StoreSource.RESULT)),
                self.result_address.eq(self.output_address),
            ]
        with m.If(issue):
            m.d.sync += [
                active.eq(~final),
                first.eq(0),
                local.eq(local + 1),
                left.eq(left - 1),
                final.eq(left == 1),
            ]
        with m.If(start):
            m.d.sync += [
                active.eq(1),
                first.eq(1),
                kind.eq(segment.kind),
                local.eq(segment.local),
                left.eq(segment.span),
                final.eq(segment.span == 0),
                head.eq(segment.head),
                tail.eq(segment.tail),
            ]
        if way is not None:
            m.d.comb += [way.step.eq(issue), way.final.eq(final)]
        sent = buffer.o.valid & buffer.o.ready
        m.d.sync += reserved.eq(reserved + issue - sent)
        return issue, after_head & until_tail, kind

    def _buffer_beats(
        self, m: Module, buffer: Queue, issue: Signal, strobe: Value, kind: Signal,
        way: Way | None,
    ) -> None:
        """Put what was read into the buffer; what a read does not carry travels beside it."""
        cfg = self.cfg
        beside = data.StructLayout({
            "valid": 1, "strobe": cfg.beat_bytes, "kind": StoreSource,
            **({} if way is None else {"way": way.o.shape()}),
        })
        stages = [Signal(beside, name=f"stage{index}") for index in range(READ_LATENCY)]
        m.d.sync += [
            stages[0].valid.eq(issue),
            stages[0].strobe.eq(strobe),
            stages[0].kind.eq(kind),
            *([] if way is None else [stages[0].way.eq(way.o)]),
            *(after.eq(before) for before, after in zip(stages, stages[1:], strict=False)),
        ]
        back = stages[-1]
        m.d.comb += [
            buffer.i.valid.eq(back.valid),
            buffer.i.payload.strobe.eq(back.strobe),
            buffer.i.payload.data.eq(self.record_data),
            *([] if way is None else [buffer.i.payload.way.eq(back.way)]),
        ]
        with m.Switch(back.kind):
            with m.Case(StoreSource.OUTPUT):
                m.d.comb += buffer.i.payload.data.eq(self.output_data)
            if StoreSource.RESULT in store_sources(cfg):
                with m.Case(StoreSource.RESULT):
                    m.d.comb += buffer.i.payload.data.eq(self.result_data)
