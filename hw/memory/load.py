# SPDX-License-Identifier: Apache-2.0
"""The LOAD engine: segments of memory into the scratchpads, beat by beat."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.control.fault import FaultSignature
from hw.control.queue import Queue
from hw.isa import ENGINES, LOAD, PARAMETER_BYTES, Engine, LoadTarget
from hw.memory.axi import REQUEST, read_beat
from hw.memory.bursts import block_beats
from hw.memory.runs import SegmentWalker

__all__ = ["DenseWriter", "LoadEngine", "load_targets", "piece_layout", "scratchpad_write"]


def load_targets(cfg: AcceleratorConfig) -> dict[int, int]:
    """Return the bytes of each memory that LOAD can fill."""
    return {
        LoadTarget.ACTIVATION: cfg.activation_bytes,
        LoadTarget.WEIGHT: cfg.weight_bytes,
        LoadTarget.PARAMETER: cfg.parameter_channels * PARAMETER_BYTES,
    }


def scratchpad_write(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a write of one beat; ``address`` is in bytes, a multiple of a beat."""
    return data.StructLayout({"target": LoadTarget, "address": 32, "data": cfg.axi_data_width})


def piece_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return what goes along with a read request until its beats are back.

    ``fresh`` pieces begin at beat ``local`` of memory ``target``, others follow the piece before.
    ``last`` ends an instruction, to be answered with ``signal``.
    """
    bits = exact_log2(max(load_targets(cfg).values()) // cfg.beat_bytes)
    return data.StructLayout({
        "target": LoadTarget,
        "local": unsigned(bits),
        "fresh": 1,
        "last": 1,
        "signal": ENGINES,
    })


class DenseWriter(Component):
    """Writes the beats of a piece to the scratchpad as they are: the path of dense data.

    Latency: one cycle from ``data`` to ``write``, two to ``done``. Throughput: a beat a cycle.

    Parameters
    ----------
    cfg
        Widths of the bus and sizes of the scratchpads.

    Members
    -------
    piece : In(stream.Signature(piece_layout(cfg)))
        One for each request, there before its first beat.
    data : In(stream.Signature(read_beat(cfg)))
        The beats of all requests in order; always taken, once their piece is there.
    write : Out(stream.Signature(scratchpad_write(cfg), always_ready=True))
    done : Out(stream.Signature(ENGINES, always_ready=True))
        The signal mask of each instruction, the cycle after its last write.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "piece": In(stream.Signature(piece_layout(cfg))),
            "data": In(stream.Signature(read_beat(cfg))),
            "write": Out(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "done": Out(stream.Signature(ENGINES, always_ready=True)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        piece = self.piece.payload
        taken = Signal()
        first = Signal(init=1)
        place = Signal.like(piece.local)
        following = Signal.like(piece.local)
        m.d.comb += [
            taken.eq(self.data.valid & self.piece.valid),
            self.data.ready.eq(self.piece.valid),
            self.piece.ready.eq(taken & self.data.payload.last),
            place.eq(Mux(first & piece.fresh, piece.local, following)),
        ]
        m.d.sync += self.write.valid.eq(taken)
        with m.If(taken):
            m.d.sync += [
                first.eq(self.data.payload.last),
                following.eq(place + 1),
                self.write.payload.target.eq(piece.target),
                self.write.payload.address.eq(
                    Cat(Const(0, exact_log2(self.cfg.beat_bytes)), place)
                ),
                self.write.payload.data.eq(self.data.payload.data),
            ]
        ending = Signal()
        signal = Signal(ENGINES)
        m.d.sync += [
            ending.eq(self.piece.ready & piece.last),
            signal.eq(piece.signal),
            self.done.valid.eq(ending),
            self.done.payload.eq(signal),
        ]
        return m


class LoadEngine(Component):
    """Executes LOAD: reads whole beats around each segment and writes them to a scratchpad.

    Requests run ahead of the data by twice as many bursts as the read master keeps in flight, over
    the borders of segments and instructions. A request is at most one burst, so that instruction
    fetch never waits for longer than that.

    Latency: five cycles from an instruction to its first request. Throughput: one beat, one
    request and one segment a cycle.

    Parameters
    ----------
    cfg
        Widths of the bus and sizes of the scratchpads.

    Members
    -------
    i : In(stream.Signature(LOAD))
        Instructions whose tokens are taken.
    done : Out(stream.Signature(ENGINES, always_ready=True))
        The signal mask of each instruction, in order, the cycle after its last beat on ``write``.
    busy : Out(1)
        An instruction is taken and not done.
    stop : In(1)
        Begin no segment. The read master keeps what is asked for already off the bus.
    error : Out(FaultSignature)
        ILLEGAL_FIELD or SCRATCHPAD_RANGE with this engine's number.
    request : Out(stream.Signature(REQUEST))
    data : In(stream.Signature(read_beat(cfg)))
        To and from the read master; beats are taken in every cycle.
    write : Out(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats for the scratchpads.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(LOAD)),
            "done": Out(stream.Signature(ENGINES, always_ready=True)),
            "busy": Out(1),
            "stop": In(1),
            "error": Out(FaultSignature),
            "request": Out(stream.Signature(REQUEST)),
            "data": In(stream.Signature(read_beat(cfg))),
            "write": Out(stream.Signature(scratchpad_write(cfg), always_ready=True)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        beat, block = exact_log2(cfg.beat_bytes), exact_log2(block_beats(cfg))
        depth = 1 << ceil_log2(max(8, 2 * cfg.axi_outstanding))

        walker = SegmentWalker(cfg, LOAD, Engine.LOAD, load_targets(cfg))
        m.submodules.walker = walker
        m.submodules.pieces = pieces = Queue(piece_layout(cfg), depth)
        m.submodules.writer = writer = DenseWriter(cfg)
        wiring.connect(m, walker.i, wiring.flipped(self.i))
        wiring.connect(m, wiring.flipped(self.error), walker.error)
        wiring.connect(m, pieces.o, writer.piece)
        wiring.connect(m, writer.data, wiring.flipped(self.data))
        wiring.connect(m, wiring.flipped(self.write), writer.write)
        wiring.connect(m, wiring.flipped(self.done), writer.done)
        m.d.comb += walker.stop.eq(self.stop)

        # Cut a segment at multiples of a burst, as the read master would.
        segment = walker.o.payload
        active = Signal()
        fresh = Signal()
        final = Signal()
        sent = Signal()
        high = Signal(64 - beat - block)
        low = Signal(block)
        last_low = Signal(block)
        blocks_left = Signal(max(len(segment.span), block) + 1 - block)
        held = Signal.like(pieces.i.payload)
        m.d.comb += [
            final.eq(blocks_left == 0),
            # `pieces.i.ready` only falls with a transfer, so a request once offered stays.
            self.request.valid.eq(active & pieces.i.ready),
            self.request.payload.address.eq(Cat(Const(0, beat), low, high)),
            self.request.payload.beats.eq(Mux(final, last_low, (1 << block) - 1) - low + 1),
            sent.eq(self.request.valid & self.request.ready),
            pieces.i.valid.eq(active & self.request.ready),
            pieces.i.payload.eq(held),
            pieces.i.payload.fresh.eq(fresh),
            pieces.i.payload.last.eq(held.last & final),
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

        # At most one instruction for each piece queued, and one for each stage on the way there.
        count = Signal(range(depth + 16))
        m.d.sync += count.eq(count + (self.i.valid & self.i.ready) - self.done.valid)
        m.d.comb += self.busy.eq(count != 0)
        return m
