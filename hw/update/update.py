# SPDX-License-Identifier: Apache-2.0
"""The UPDATE engine: optimizers of weights in memory, in place, after Cambricon-Q's NDPO."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2, exact_log2

from kiwicha.hw.parts.axi import REQUEST, read_beat, write_beat
from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.engine import EngineSignature
from kiwicha.hw.update.job import CHUNK, group_lanes, update_job
from kiwicha.hw.update.optimizer import CONSTANTS, Optimizer
from kiwicha.hw.update.reader import UpdateReader
from kiwicha.hw.update.writer import UpdateWriter
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, SLOTS, UPDATE, Engine, ErrorCode
from kiwicha.machine.optimizer import GRADIENT_SHIFTS, RATE_BITS
from kiwicha.machine.records import SLOT_LAYOUT
from kiwicha.machine.shifts import BINARY32_BIAS

__all__ = ["UpdateEngine"]


class UpdateEngine(Component):
    """Executes UPDATE: reads gradients and state, writes state and int8 weights, each once.

    One instruction at a time, so that the next one finds what this one wrote. Runs of 32 groups (a
    group is a beat of weights) are read when there is room for them, and written when they are
    complete. Throughput: ``update.lanes`` weights a cycle, as far as beats come: a group needs one
    of weights, one for each moment, and a quarter (int8) or a whole one (int32) of gradients.

    Parameters
    ----------
    cfg : the machine; ``update.lanes`` at least 1.

    Members
    -------
    i : In(stream.Signature(UPDATE))
        Instructions whose tokens are taken.
    done : Out(stream.Signature(ENGINES, always_ready=True))
        The signal mask of each instruction, in order, when its last response has arrived.
    busy : Out(1)
        An instruction is taken and not done.
    stop : In(1)
        Begin no run; data of those begun still comes and goes.
    error : Out(FaultSignature)
        ILLEGAL_FIELD with this engine's number, before the first read.
    request, data : Out(stream.Signature(REQUEST)), In(stream.Signature(read_beat(cfg)))
        To and from the read master; beats are taken in every cycle.
    write_request, write_data, written : the same of the write master, as STORE has them.
    saturated : Out(32)
        Weights that saturated anywhere in their step, since reset; wraps.
    rate : In(RATE_BITS)
        The register ``update_rate``; stays while an instruction is taken.
    slots : In(ArrayLayout(SLOT_LAYOUT, SLOTS))
        Those of VECTOR, on machines that have them; settled before an instruction that names them
        is offered.

    Raises
    ------
    ValueError
        For a machine without lanes.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        if not cfg.update.lanes:
            raise ValueError("update.lanes is 0; legal: at least 1")
        self.cfg = cfg
        own = {
            "stop": In(1),
            "request": Out(stream.Signature(REQUEST)),
            "data": In(stream.Signature(read_beat(cfg))),
            "write_request": Out(stream.Signature(REQUEST)),
            "write_data": Out(stream.Signature(write_beat(cfg))),
            "written": In(stream.Signature(0, always_ready=True)),
        }
        slots = data.ArrayLayout(SLOT_LAYOUT, SLOTS)
        ports = {
            "saturated": Out(32), "rate": In(RATE_BITS),
            **({"slots": In(slots)} if cfg.slots else {}),
        }
        super().__init__(EngineSignature(UPDATE, ports, own))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        lanes = [
            Optimizer(cfg.requantize_multiplier_width, cfg.cells) for _ in range(cfg.update.lanes)
        ]
        # What is on its way through the lanes, a chunk that becomes complete, one that is written.
        room = 1 << ceil_log2(lanes[0].latency + 2 * CHUNK)
        m.submodules.reader = reader = UpdateReader(cfg)
        m.submodules.writer = writer = UpdateWriter(cfg, max(room, 4 * CHUNK))
        wiring.connect(m, reader.request, wiring.flipped(self.request))
        wiring.connect(m, wiring.flipped(self.data), reader.data)
        wiring.connect(m, writer.request, wiring.flipped(self.write_request))
        wiring.connect(m, writer.data, wiring.flipped(self.write_data))
        wiring.connect(m, wiring.flipped(self.written), writer.written)
        constants, beyond = self._take(m, reader, writer)
        for number, lane in enumerate(lanes):
            m.submodules[f"lane_{number}"] = lane
            m.d.comb += lane.constants.eq(constants)
        side = self._feed(m, reader, writer, lanes, beyond)
        self._collect(m, writer, lanes, side)
        return m

    def _illegal(self, asked: data.View) -> Value:
        """Return bits that say which fields are illegal."""
        beat = exact_log2(self.cfg.beat_bytes)
        constants = [asked[f"c{number}"] for number in range(1, 7)]
        shift = asked.gradient_shift
        return Cat(
            asked.count == 0,
            shift[-1] & ~shift[-2] & ~asked.slots.any(),  # below -16, and the whole shift
            Cat(each[16] & each[:16].any() for each in constants).any(),
            Cat(asked[name][:beat] for name in ("state", "gradients", "codes")).any(),
            asked.accumulate & (asked.momentum | asked.root),
            asked.begin & ~asked.accumulate,
            asked.reserved0.any(),
            asked.scheduled & self.rate[16] & self.rate[:16].any(),
            *(() if self.cfg.slots else (asked.slots.any(),)),
        )

    def _schedule(self, m: Module, asked: data.View) -> tuple[dict[str, Value], Value]:
        """Return what slots and register make of an instruction that waits, a cycle later: its
        constants that differ, and whether its gradients are shifted further left than is legal."""
        factor, more = self.rate[:17], self.rate[17:]
        behind = asked.rate_shift + more
        values = {
            "c5": Mux(asked.scheduled, factor, asked.c5),
            "rate_shift": Mux(asked.scheduled, Mux(behind > 31, 31, behind), asked.rate_shift),
        }
        if not self.cfg.slots:
            return values, Const(0)
        shift = Signal(signed(12))
        exponents = [slot.scale[23:31] - BINARY32_BIAS for slot in self.slots]
        m.d.sync += shift.eq(asked.gradient_shift - sum(
            Mux(asked.slots[number], exponent, 0) for number, exponent in enumerate(exponents)
        ))
        low, high = GRADIENT_SHIFTS
        values["gradient_shift"] = Mux(shift < low, low, Mux(shift > high, high, shift))
        return values, shift < low

    def _take(
        self, m: Module, reader: UpdateReader, writer: UpdateWriter
    ) -> tuple[data.View, Value]:
        """Judge an instruction while it waits, take it, tell of its end; return its constants, and
        whether what is not 0 of its gradients saturates."""
        cfg, asked = self.cfg, self.i.payload
        beat, width = exact_log2(cfg.beat_bytes), cfg.axi_address_width
        job, constants = Signal(update_job(cfg)), Signal(CONSTANTS)
        found = self._illegal(asked)
        faults, less = Signal(len(found)), Signal(32)
        judged, taking, running, failed, start = Signal(), Signal(), Signal(), Signal(), Signal()
        signal, beyond = Signal(ENGINES), Signal()
        values, further = self._schedule(m, asked)
        m.d.sync += [
            judged.eq(self.i.valid & ~taking),
            faults.eq(found),
            less.eq(asked.count - 1),
            start.eq(taking & ~faults.any()),
            self.error.valid.eq(taking & faults.any()),
            self.done.valid.eq(0),
        ]
        lane_bits = exact_log2(group_lanes(cfg))
        m.d.comb += [
            taking.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(judged & ~running & ~failed),
            self.busy.eq(running | self.done.valid),
            self.error.payload.code.eq(ErrorCode.ILLEGAL_FIELD),
            self.error.payload.address.eq(Engine.UPDATE),
            self.done.payload.eq(signal),
        ]
        with m.If(taking):
            m.d.sync += [
                running.eq(1),
                failed.eq(faults.any()),
                signal.eq(asked.signal),
                *(constants[name].eq(values.get(name, asked[name]))
                  for name in CONSTANTS.members),
                beyond.eq(further),
                *(job[name].eq(asked[name])
                  for name in ("momentum", "root", "wide", "accumulate")),
                job.groups.eq(less[lane_bits:] + 1),
                job.final.eq(less[:lane_bits]),
                *(job[name].eq(Cat(asked[name][beat:width], asked[name][width:].any()))
                  for name in ("state", "gradients", "codes")),
            ]
        with m.If(running & ~failed & ~start & writer.finished):
            m.d.sync += [running.eq(0), self.done.valid.eq(1)]
        for unit in (reader, writer):
            m.d.comb += [unit.job.eq(job), unit.start.eq(start), unit.stop.eq(self.stop)]
        return constants, beyond

    def _feed(
        self, m: Module, reader: UpdateReader, writer: UpdateWriter, lanes: list[Optimizer],
        beyond: Value,
    ) -> Signal:
        """Give each group to the lanes, some weights a cycle; return what comes out beside them:
        which lanes have a weight, which have a gradient that saturates, and whether the group is
        complete."""
        count, group = len(lanes), reader.o.payload
        slots = group_lanes(self.cfg) // count
        slot, feed, ending = Signal(range(slots)), Signal(), Signal()
        further = {"beyond": count} if self.cfg.slots else {}
        beside = data.StructLayout({"ending": 1, "live": count, **further})
        side = Signal(beside)
        m.d.comb += [
            feed.eq(reader.o.valid & (~writer.full | (slot != 0))),
            ending.eq(slot == slots - 1),
            reader.o.ready.eq(feed & ending),
            writer.reserve.eq(feed & (slot == 0)),
        ]
        m.d.sync += side.ending.eq(ending)
        with m.If(feed):
            m.d.sync += slot.eq(Mux(ending, 0, slot + 1))
        for number, lane in enumerate(lanes):
            index = Signal(range(group_lanes(self.cfg)), name=f"index_{number}")
            valid = Signal(name=f"valid_{number}")
            given = Signal.like(lane.i.payload, name=f"given_{number}", reset_less=True)
            m.d.comb += [
                index.eq(slot * count + number),
                lane.i.valid.eq(valid),
                lane.i.payload.eq(given),
            ]
            m.d.sync += [
                valid.eq(feed),
                side.live[number].eq(~group.last | (index <= reader.job.final)),
                *(given[name].eq(group[name].word_select(index, 32)) for name in "wmv"),
                given.gradient.eq(Cat(group.gradients).word_select(index, 32)),
            ]
            if further:
                gradient = Cat(group.gradients).word_select(index, 32)
                m.d.sync += side.beyond[number].eq(beyond & gradient.any())
        m.submodules.side = delay = Delay(beside, lanes[0].latency)
        m.d.comb += delay.i.eq(side)
        return delay.o

    def _collect(
        self, m: Module, writer: UpdateWriter, lanes: list[Optimizer], side: data.View
    ) -> None:
        """Put together what the lanes made of a group, and count what saturated."""
        valid, group = lanes[0].o.valid, writer.i.payload
        parts = {"w": 32, "m": 32, "v": 32, "code": 8}
        for name, width in parts.items():
            made = [lane.o.payload[name] for lane in lanes]
            if name == "m":
                made = [Cat(each, each[-1].replicate(width - len(each))) for each in made]
            now, whole = Cat(made), width * group_lanes(self.cfg)
            together: Value = now
            if len(now) < whole:
                before = Signal(whole - len(now), name=f"{name}_before", reset_less=True)
                together = Cat(before, now)
                with m.If(valid):
                    m.d.sync += before.eq(together[len(now) :])
            field = group.codes.as_value() if name == "code" else group[name]
            m.d.comb += field.eq(together)
        m.d.comb += writer.i.valid.eq(valid & side.ending)

        over = Signal(len(lanes))
        flags: Value = Cat(lane.o.payload.saturated for lane in lanes)
        if self.cfg.slots:
            flags |= side.beyond
        m.d.sync += over.eq(Mux(valid, flags & side.live, 0))
        m.d.sync += self.saturated.eq(self.saturated + sum(over))
