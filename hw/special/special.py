# SPDX-License-Identifier: Apache-2.0
"""The SPECIAL engine: tables, sums, products, softmax, normalization and loss of rows of bytes."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.engine import EngineSignature
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.special.cross_entropy_walk import CrossEntropyWalker
from kiwicha.hw.special.special_apply import ApplyWalker
from kiwicha.hw.special.special_check import SpecialCheck, is_measured, special_job
from kiwicha.hw.special.special_lane import SpecialLane
from kiwicha.hw.special.special_measure import MeasureWalker
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SLOTS, SPECIAL, SpecialOperation
from kiwicha.machine.records import SLOT_LAYOUT

__all__ = ["SpecialEngine"]


class SpecialEngine(Component):
    """Executes SPECIAL: the same on the rows of every lane, in lockstep.

    An instruction is checked while the one before it is carried out, and begins when that one's
    last result is written. Throughput: an element a cycle and lane (TABLE, ADD, MUL); SOFTMAX
    and NORMALIZE see a row before they compute it, SOFTMAX a group of rows during the one before,
    even if that belongs to the instruction before. CROSS_ENTROPY has 9 cycles for an element.

    Parameters
    ----------
    cfg : the machine; ``special.lanes`` at least 1.

    Members
    -------
    i : In(stream.Signature(SPECIAL))
        Instructions whose tokens are taken.
    done : Out(stream.Signature(ENGINES, always_ready=True))
        The signal mask of each instruction, in order, when reads see its last byte.
    busy : Out(1)
        An instruction is taken and not done.
    error : Out(FaultSignature)
        ILLEGAL_FIELD or SCRATCHPAD_RANGE with this engine's number, before the first byte of the
        faulty instruction is read; those before it are carried out, those after it are not taken.
    stepping : Out(1)
        A byte or a beat of a row goes to the lanes, for the watchdog.
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for the operands and tables are taken.
    result_enable : In(1); result_address : In(32)
        Read of the beat at byte lane * special.bytes + offset, a multiple of a beat.
    result_data : Out(axi_data_width)
        That beat, two cycles later.
    slots : In(ArrayLayout(SLOT_LAYOUT, SLOTS))
        Of which CROSS_ENTROPY takes the scale of one when it begins; only with ``training``.

    Raises
    ------
    ValueError
        For a machine without lanes.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        if not cfg.special.lanes:
            raise ValueError("special.lanes is 0; legal: at least 1")
        self.cfg = cfg
        ports = {
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "result_enable": In(1),
            "result_address": In(32),
            "result_data": Out(cfg.axi_data_width),
            **({"slots": In(data.ArrayLayout(SLOT_LAYOUT, SLOTS))} if cfg.training else {}),
        }
        super().__init__(EngineSignature(SPECIAL, ports, {"stepping": Out(1)}))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        lanes = [SpecialLane(cfg, number) for number in range(cfg.special.lanes)]
        m.submodules.check = check = SpecialCheck(cfg)
        m.submodules.apply = apply = ApplyWalker(cfg)
        m.submodules.measure = measure = MeasureWalker(
            cfg, spacing=lanes[0].spacing, maximum_latency=lanes[0].maximum_latency,
            fetch=lanes[0].fetch,
        )
        wiring.connect(m, check.i, wiring.flipped(self.i))
        wiring.connect(m, wiring.flipped(self.error), check.error)

        # One instruction at a time, from its first element to its last result. The next one may be
        # measured meanwhile if both are softmaxes.
        job, ahead = Signal(special_job(cfg)), Signal(special_job(cfg))
        active, pending, unmeasured = Signal(), Signal(), Signal()
        take, move, start = Signal(), Signal(), Signal()
        place, left = Signal.like(job.y), Signal.like(job.results)
        walks: Value = start
        moves: Value = apply.o.valid | measure.o.valid
        if cfg.training:
            walks, moves = self._loss(m, lanes, job, start, moves)
        both = (job.operation == SpecialOperation.SOFTMAX) & (ahead.operation == job.operation)
        m.d.comb += [
            check.o.ready.eq(~pending & ~measure.busy),
            take.eq(check.o.valid & check.o.ready),
            move.eq(pending & ~active),
            apply.job.eq(job),
            apply.start.eq(walks),
            apply.measured.eq(measure.measured),
            measure.job.eq(ahead),
            measure.start.eq(unmeasured & (~active | both)),
            measure.used.eq(apply.used),
            self.stepping.eq(moves),
        ]
        m.d.sync += [start.eq(move), self.done.valid.eq(0)]
        with m.If(take):
            m.d.sync += [
                ahead.eq(check.o.payload),
                pending.eq(1),
                unmeasured.eq(is_measured(check.o.payload.operation)),
            ]
        with m.If(measure.start):
            m.d.sync += unmeasured.eq(0)
        with m.If(move):
            m.d.sync += [
                pending.eq(0),
                active.eq(1),
                job.eq(ahead),
                place.eq(ahead.y),
                left.eq(ahead.results),
            ]
        with m.If(lanes[0].result):
            m.d.sync += [place.eq(place + 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += [
                    active.eq(0),
                    self.done.valid.eq(1),
                    self.done.payload.eq(job.signal),
                ]

        # Lanes are in lockstep, but what they do about a complete row may take some of them longer.
        closing = measure.close.payload
        closed, waiting, settled = (Signal(cfg.special.lanes) for _ in range(3))
        m.d.comb += [
            measure.settled.eq(settled.all()),
            measure.close.ready.eq(~waiting.any()),
        ]
        with m.If(measure.close.valid):
            m.d.sync += closed.eq(Mux(measure.close.ready, 0, ~waiting))
        write = Signal(scratchpad_write(cfg), reset_less=True)
        written = Signal()
        m.d.sync += [write.eq(self.write.payload), written.eq(self.write.valid)]
        offset_bits = exact_log2(cfg.special.bytes)
        chosen = Signal(exact_log2(cfg.special.lanes), reset_less=True)
        m.d.sync += chosen.eq(self.result_address[offset_bits:])
        for number, lane in enumerate(lanes):
            m.submodules[f"lane_{number}"] = lane
            wiring.connect(m, lane.look, measure.o)
            m.d.comb += [
                lane.job.eq(job),
                lane.ahead.eq(ahead),
                lane.write.valid.eq(written),
                lane.write.payload.eq(write),
                lane.element.valid.eq(apply.o.valid),
                lane.element.payload.eq(apply.o.payload),
                lane.close.valid.eq(measure.close.valid & closing.live[number] & ~closed[number]),
                lane.close.payload.slot.eq(closing.slot),
                waiting[number].eq(lane.close.valid & ~lane.close.ready),
                settled[number].eq(lane.settled),
                lane.result_place.eq(place),
                lane.read_enable.eq(self.result_enable),
                lane.read_place.eq(self.result_address[:offset_bits]),
            ]
        beats = Cat(lane.beat for lane in lanes)
        m.d.sync += self.result_data.eq(beats.word_select(chosen, cfg.axi_data_width))
        self._count(m)
        return m

    def _count(self, m: Module) -> None:
        """Keep account of the instructions that are under way."""
        count = Signal(range(5))
        m.d.sync += count.eq(count + (self.i.valid & self.i.ready) - self.done.valid)
        m.d.comb += self.busy.eq(count != 0)

    def _loss(
        self, m: Module, lanes: Sequence[SpecialLane], job: data.View, start: Value, moves: Value
    ) -> tuple[Value, Value]:
        """Walk through logits in all lanes; return when the other walker begins, and whether
        anything goes to the lanes where ``moves`` says so for all else."""
        m.submodules.loss = walker = CrossEntropyWalker(self.cfg)
        exponent, logits = Signal(8), job.operation == SpecialOperation.CROSS_ENTROPY
        m.d.comb += [walker.job.eq(job), walker.start.eq(start & logits)]
        with m.If(start):
            m.d.sync += exponent.eq(self.slots[job.slot].scale[23:31])
        for lane in lanes:
            wiring.connect(m, lane.visit, walker.o)
            m.d.comb += lane.exponent.eq(exponent)
        return start & ~logits, moves | walker.o.valid
