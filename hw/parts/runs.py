# SPDX-License-Identifier: Apache-2.0
"""The segments of a LOAD or STORE instruction, checked and turned into runs of whole beats."""

from collections.abc import Collection, Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.format_rules import illegal_format
from kiwicha.hw.parts.slice import RegisterSlice
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, ErrorCode, WeightFormat

__all__ = ["SegmentWalker", "segment_layout"]


def segment_layout(
    cfg: AcceleratorConfig, kinds: Mapping[int, int], formats: Collection[WeightFormat] = ()
) -> data.StructLayout:
    """Return the layout of a segment.

    ``address`` is in memory, in bytes, a multiple of a beat, and exact if it is one of the memory
    port's addresses, else just none of them; ``local`` (on chip) and ``span`` (the
    segment's beats less one) are in beats. ``head`` and ``tail`` are the first and the last byte
    wanted of the first and the last beat. ``last`` ends the instruction, which is to be answered
    with ``signal``. With ``formats``, a segment that is ``formatted`` has no ``local``, and may be
    longer than a memory.
    """
    beat = exact_log2(cfg.beat_bytes)
    bits = exact_log2(max(kinds.values())) - beat
    return data.StructLayout({
        "kind": unsigned(4),
        "address": unsigned(64),
        "local": unsigned(bits),
        "span": unsigned(33 - beat if formats else bits),
        "head": unsigned(beat),
        "tail": unsigned(beat),
        "last": unsigned(1),
        "signal": unsigned(ENGINES),
        **({"formatted": unsigned(1)} if formats else {}),
    })


class SegmentWalker(Component):
    """Walks the segments of LOAD and STORE, whose layouts are the same but for the kind.

    An instruction is checked before its first segment, a segment's place on chip before that
    segment comes out; that of a formatted one is up to who writes its rows. Latency: four cycles
    from an instruction to its first segment. Throughput: a segment a cycle; the next instruction
    follows without a gap, unless there was a single segment: a cycle then.

    Parameters
    ----------
    cfg : ``axi_data_width``, ``axi_address_width``.
    layout : ``machine.isa.LOAD`` or ``machine.isa.STORE``.
    engine : number of the engine, the address of its faults.
    kinds : bytes of the memory that each legal target or source stands for, each a power of two.
    whole : those kinds of which a segment is always the whole.
    formats : legal formats besides DENSE.

    Members
    -------
    i : In(stream.Signature(layout))
        Instructions; ``opcode`` and ``wait`` are not looked at.
    o : Out(stream.Signature(segment_layout(cfg, kinds, formats)))
        The segments.
    stop : In(1)
        Offer no new segment.
    error : Out(FaultSignature)
        ILLEGAL_FIELD or SCRATCHPAD_RANGE; nothing more is offered or taken until reset.
    """

    def __init__(
        self,
        cfg: AcceleratorConfig,
        layout: data.StructLayout,
        engine: int,
        kinds: Mapping[int, int],
        whole: frozenset[int] = frozenset(),
        formats: Collection[WeightFormat] = (),
    ) -> None:
        for kind, size in kinds.items():
            if size < cfg.beat_bytes or size & (size - 1):
                raise ValueError(f"kinds[{kind}] is {size}; legal: a power of two of beats")
        self.cfg = cfg
        self.layout = layout
        self.engine = engine
        self.kinds = dict(kinds)
        self.whole = frozenset(whole)
        self.formats = tuple(formats)
        super().__init__({
            "i": In(stream.Signature(layout)),
            "o": Out(stream.Signature(segment_layout(cfg, kinds, formats))),
            "stop": In(1),
            "error": Out(FaultSignature),
        })

    def _illegal(self, m: Module, asked: data.View, kind: Value) -> Value:
        """Return bits that say which fields of the instruction are illegal whatever its segments
        are."""
        wrong_kind = Signal(init=1)
        wrong_length = Signal()
        with m.Switch(kind):
            for legal, size in self.kinds.items():
                with m.Case(legal):
                    m.d.comb += wrong_kind.eq(0)
                    if legal in self.whole:
                        m.d.comb += wrong_length.eq(asked.length != size)
        return Cat(
            wrong_kind | wrong_length | asked.reserved0.any(),
            (asked.length == 0) | (asked.segments == 0),
            illegal_format(m, self.cfg, asked, self.formats),
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = exact_log2(self.cfg.beat_bytes)
        kind_field = next(name for name in ("target", "source") if name in self.layout.members)

        failed = Signal()
        move = Signal()
        full = "slice" in self.cfg.pipeline
        m.submodules.out = out = RegisterSlice(self.o.payload.shape(), full)
        wiring.connect(m, out.o, wiring.flipped(self.o))
        # What is on its way when it has to stop goes no further than this.
        m.d.comb += [move.eq(out.i.ready), out.hold.eq(failed | self.stop)]

        # Cycle 1: the instruction's registers, stepping from segment to segment. A segment outside
        # is the last one that there is, so a bit is enough to say that an address is in no memory.
        width = self.cfg.axi_address_width
        size = exact_log2(max(self.kinds.values()))
        longest = 32 if self.formats else size + 1
        active = Signal()
        step = Signal()
        formatted = Signal()
        kind = Signal(4)
        signal = Signal(ENGINES)
        address = Signal(width)
        beyond = Signal()
        local = Signal(size)
        outside = Signal()
        length = Signal(longest)
        segments_left = Signal(16)
        pitch = Signal(signed(32))
        local_pitch = Signal(signed(32))
        asked = self.i.payload
        asked_kind = Value.cast(asked[kind_field])
        final = Signal()
        # An instruction is judged while it waits, for a cycle at least: that is no part of a step.
        found = self._illegal(m, asked, asked_kind)
        faults = Signal(len(found))
        judged, taking, wrong = Signal(), Signal(), Signal()
        m.d.sync += [
            judged.eq(self.i.valid & ~taking),
            faults.eq(found),
            wrong.eq(taking & faults.any()),
        ]
        address_after, leaves = _stepped(address, pitch)
        local_after, local_leaves = _stepped(local, local_pitch)
        m.d.comb += [
            step.eq(active & move),
            taking.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(judged & ~failed & (~active | (step & final))),
        ]
        with m.If(step):
            m.d.sync += [
                active.eq(~final),
                address.eq(address_after),
                beyond.eq(beyond | leaves),
                local.eq(local_after),
                outside.eq(outside | local_leaves),
                segments_left.eq(segments_left - 1),
                final.eq(segments_left == 2),
            ]
        with m.If(taking):
            m.d.sync += [
                active.eq(~faults.any()),
                formatted.eq((asked.format != WeightFormat.DENSE) if self.formats else 0),
                kind.eq(asked_kind),
                signal.eq(asked.signal),
                address.eq(asked.address),
                beyond.eq(asked.address[width:].any()),
                local.eq(asked.local),
                outside.eq(Cat(asked.local[size:], asked.length[longest:]).any()),
                length.eq(asked.length),
                segments_left.eq(asked.segments),
                final.eq(asked.segments == 1),
                pitch.eq(asked.pitch),
                local_pitch.eq(asked.local_pitch),
            ]

        # Cycle 2: from byte addresses to beats.
        carried = data.StructLayout({
            "address": unsigned(width - beat), "beyond": unsigned(1),
            "local": unsigned(size - beat), "outside": unsigned(1),
            "span": unsigned(longest + 1 - beat), "head": unsigned(beat), "tail": unsigned(beat),
            "kind": unsigned(4), "signal": unsigned(ENGINES), "last": unsigned(1),
            "formatted": unsigned(1),
        })
        s2 = Signal(carried)
        s3 = Signal(carried)
        s2_valid = Signal()
        s3_valid = Signal()
        tail = Signal(longest + 1)
        m.d.comb += tail.eq(length + (address[:beat] - 1))
        with m.If(move):
            m.d.sync += [
                s2_valid.eq(step),
                s2.address.eq(address[beat:]),
                s2.beyond.eq(beyond),
                s2.local.eq(local[beat:]),
                s2.outside.eq(outside & ~formatted),
                s2.span.eq(tail[beat:]),
                s2.head.eq(address[:beat]),
                s2.tail.eq(tail[:beat]),
                s2.kind.eq(kind),
                s2.signal.eq(signal),
                s2.last.eq(final),
                s2.formatted.eq(formatted),
            ]

        # Cycle 3: the place on chip of the segment's last beat.
        s3_end = Signal(max(size, longest + 1) - beat + 1)
        with m.If(move):
            m.d.sync += [s3_valid.eq(s2_valid), s3.eq(s2), s3_end.eq(s2.local + s2.span)]

        # Cycle 4: is all of it inside the memory?
        refused = Signal()
        with m.Switch(s3.kind):
            for legal, bytes_ in self.kinds.items():
                with m.Case(legal):
                    bits = exact_log2(bytes_) - beat
                    over = (s3.local[bits:] != 0) | (s3_end[bits:] != 0)
                    m.d.comb += refused.eq(s3.outside | (over & ~s3.formatted))
        segment = out.i.payload
        m.d.comb += [
            out.i.valid.eq(s3_valid & ~refused & ~failed),
            # Above the memory port's addresses: all that matters is that it is not 0.
            segment.address.eq(Cat(Const(0, beat), s3.address, s3.beyond.replicate(64 - width))),
            *(segment[name].eq(s3[name]) for name in segment.shape().members if name != "address"),
        ]

        misplaced = Signal()
        m.d.comb += misplaced.eq(s3_valid & refused & move & ~failed)
        m.d.sync += self.error.valid.eq(0)
        with m.If((wrong & ~failed) | misplaced):
            m.d.sync += [
                failed.eq(1),
                self.error.valid.eq(1),
                self.error.payload.address.eq(self.engine),
                self.error.payload.code.eq(
                    Mux(misplaced, ErrorCode.SCRATCHPAD_RANGE, ErrorCode.ILLEGAL_FIELD)
                ),
            ]
        return m


def _stepped(place: Signal, pitch: Signal) -> tuple[Value, Value]:
    """Return an address after a step, and whether it is negative or too large for its bits."""
    width = len(place)
    total = place + Cat(pitch, pitch[-1].replicate(max(0, width - len(pitch))))[:width]
    above = pitch[width:] if width < len(pitch) else pitch[-1]
    return total[:width], Mux(total[width], ~above.all(), above.any())
