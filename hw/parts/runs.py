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
    cfg: AcceleratorConfig, kinds: Mapping[int, int], formats: Collection[WeightFormat] = (),
    destinations: Collection[int] = (),
) -> data.StructLayout:
    """Return the layout of a segment.

    ``address`` is in memory, in bytes, a multiple of a beat, and exact if it is one of the memory
    port's addresses, else just none of them; ``local`` (on chip) and ``span`` (the
    segment's beats less one) are in beats. ``head`` and ``tail`` are the first and the last byte
    wanted of the first and the last beat. ``last`` ends the instruction, which is to be answered
    with ``signal``. With ``formats``, a segment that is ``formatted`` has no ``local``, and may be
    longer than a memory. With ``destinations`` a segment has one, 0 for memory.
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
        **({"destination": unsigned(2)} if destinations else {}),
    })


class _Segment:
    """The segment that is next, and what leads to the one after it: registers of cycle 1.

    A segment outside is the last one that there is, so a bit is enough to say that an address is in
    no memory. Two segments, 0 and 1, where nobody waits::

        cycle    0      1      2      3      4      5      6
        i        valid  taken
        judged   0      1
        step                   0      1                          addresses of bytes
        s2                            0      1                   beats
        s3                                   0      1            and the last one's place: checked
        o                                           0      1
    """

    def __init__(
        self,
        cfg: AcceleratorConfig,
        kinds: Mapping[int, int],
        formats: Collection[WeightFormat],
    ) -> None:
        size = exact_log2(max(kinds.values()))
        self.active = Signal()
        self.step = Signal()
        self.formatted = Signal()
        self.kind = Signal(4)
        self.destination = Signal(2)
        self.signal = Signal(ENGINES)
        self.address = Signal(cfg.axi_address_width)
        self.beyond = Signal()  #: the address is none of the memory port
        self.local = Signal(size)
        self.outside = Signal()  #: the place on chip is in no memory
        self.length = Signal(32 if formats else size + 1)
        self.segments_left = Signal(16)
        self.pitch = Signal(signed(32))
        self.local_pitch = Signal(signed(32))
        self.final = Signal()


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
    destinations : by legal destination besides memory, the kinds that may go there.

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
        destinations: Mapping[int, Collection[int]] | None = None,
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
        self.destinations = dict(destinations or {})
        super().__init__({
            "i": In(stream.Signature(layout)),
            "o": Out(stream.Signature(segment_layout(cfg, kinds, formats, self.destinations))),
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
            wrong_kind | wrong_length | asked.reserved0.any() | self._astray(m, asked, kind),
            (asked.length == 0) | (asked.segments == 0),
            illegal_format(m, self.cfg, asked, self.formats),
        )

    def _astray(self, m: Module, asked: data.View, kind: Value) -> Value:
        """Return whether the destination, if there is such a field, is illegal."""
        if "destination" not in self.layout.members:
            return Const(0, 1)
        astray = Signal()
        m.d.comb += astray.eq(Value.cast(asked.destination) != 0)
        for destination, kinds in self.destinations.items():
            with m.If(asked.destination == destination):
                m.d.comb += astray.eq(~Cat(kind == legal for legal in kinds).any())
        return astray

    def elaborate(self, platform: object) -> Module:
        m = Module()
        failed = Signal()
        move = Signal()
        full = "slice" in self.cfg.pipeline
        m.submodules.out = out = RegisterSlice(self.o.payload.shape(), full)
        wiring.connect(m, out.o, wiring.flipped(self.o))
        # What is on its way when it has to stop goes no further than this.
        m.d.comb += [move.eq(out.i.ready), out.hold.eq(failed | self.stop)]
        now = _Segment(self.cfg, self.kinds, self.formats)
        wrong = self._step(m, now, failed, move)
        s2_valid, s2 = self._cut_into_beats(m, now, move)
        misplaced = self._check_place(m, out, s2_valid, s2, failed, move)
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

    def _step(self, m: Module, now: _Segment, failed: Signal, move: Signal) -> Signal:
        """Cycle 1: judge and take an instruction, step from segment to segment.

        An instruction is judged while it waits, for a cycle at least: that is no part of a step.
        Returns whether the one that was taken in the cycle before is illegal.
        """
        width, size, longest = len(now.address), len(now.local), len(now.length)
        kind_field = next(name for name in ("target", "source") if name in self.layout.members)
        asked = self.i.payload
        asked_kind = Value.cast(asked[kind_field])
        found = self._illegal(m, asked, asked_kind)
        faults = Signal(len(found))
        judged, taking, wrong = Signal(), Signal(), Signal()
        m.d.sync += [
            judged.eq(self.i.valid & ~taking),
            faults.eq(found),
            wrong.eq(taking & faults.any()),
        ]
        address_after, leaves = _stepped(now.address, now.pitch)
        local_after, local_leaves = _stepped(now.local, now.local_pitch)
        m.d.comb += [
            now.step.eq(now.active & move),
            taking.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(judged & ~failed & (~now.active | (now.step & now.final))),
        ]
        with m.If(now.step):
            m.d.sync += [
                now.active.eq(~now.final),
                now.address.eq(address_after),
                now.beyond.eq(now.beyond | leaves),
                now.local.eq(local_after),
                now.outside.eq(now.outside | local_leaves),
                now.segments_left.eq(now.segments_left - 1),
                now.final.eq(now.segments_left == 2),
            ]
        with m.If(taking):
            m.d.sync += [
                now.active.eq(~faults.any()),
                now.formatted.eq((asked.format != WeightFormat.DENSE) if self.formats else 0),
                now.kind.eq(asked_kind),
                now.destination.eq(asked.destination if self.destinations else 0),
                now.signal.eq(asked.signal),
                now.address.eq(asked.address),
                now.beyond.eq(asked.address[width:].any()),
                now.local.eq(asked.local),
                now.outside.eq(Cat(asked.local[size:], asked.length[longest:]).any()),
                now.length.eq(asked.length),
                now.segments_left.eq(asked.segments),
                now.final.eq(asked.segments == 1),
                now.pitch.eq(asked.pitch),
                now.local_pitch.eq(asked.local_pitch),
            ]
        return wrong

    def _cut_into_beats(
        self, m: Module, now: _Segment, move: Signal
    ) -> tuple[Signal, data.View]:
        """Cycle 2: from byte addresses to beats; returns whether there is a segment, and it."""
        beat = exact_log2(self.cfg.beat_bytes)
        width, size, longest = len(now.address), len(now.local), len(now.length)
        carried = data.StructLayout({
            "address": unsigned(width - beat), "beyond": unsigned(1),
            "local": unsigned(size - beat), "outside": unsigned(1),
            "span": unsigned(longest + 1 - beat), "head": unsigned(beat), "tail": unsigned(beat),
            "kind": unsigned(4), "signal": unsigned(ENGINES), "last": unsigned(1),
            "formatted": unsigned(1),
            **({"destination": unsigned(2)} if self.destinations else {}),
        })
        s2 = Signal(carried)
        s2_valid = Signal()
        tail = Signal(longest + 1)
        m.d.comb += tail.eq(now.length + (now.address[:beat] - 1))
        with m.If(move):
            m.d.sync += [
                s2_valid.eq(now.step),
                s2.address.eq(now.address[beat:]),
                s2.beyond.eq(now.beyond),
                s2.local.eq(now.local[beat:]),
                s2.outside.eq(now.outside & ~now.formatted),
                s2.span.eq(tail[beat:]),
                s2.head.eq(now.address[:beat]),
                s2.tail.eq(tail[:beat]),
                s2.kind.eq(now.kind),
                s2.signal.eq(now.signal),
                s2.last.eq(now.final),
                s2.formatted.eq(now.formatted),
            ]
            if self.destinations:
                m.d.sync += s2.destination.eq(now.destination)
        return s2_valid, s2

    def _check_place(
        self, m: Module, out: RegisterSlice, s2_valid: Signal, s2: data.View, failed: Signal,
        move: Signal,
    ) -> Signal:
        """Cycle 3: where on chip is the last beat? Cycle 4: is all of it inside the memory?"""
        beat = exact_log2(self.cfg.beat_bytes)
        width = self.cfg.axi_address_width
        s3 = Signal(s2.shape())
        s3_valid = Signal()
        s3_end = Signal(max(len(s2.local), len(s2.span)) + 1)
        with m.If(move):
            m.d.sync += [s3_valid.eq(s2_valid), s3.eq(s2), s3_end.eq(s2.local + s2.span)]

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
        return misplaced


def _stepped(place: Signal, pitch: Signal) -> tuple[Value, Value]:
    """Return an address after a step, and whether it is negative or too large for its bits."""
    width = len(place)
    total = place + Cat(pitch, pitch[-1].replicate(max(0, width - len(pitch))))[:width]
    above = pitch[width:] if width < len(pitch) else pitch[-1]
    return total[:width], Mux(total[width], ~above.all(), above.any())
