# SPDX-License-Identifier: Apache-2.0
"""UPDATE's writes: state and int8 weights of a tensor, chunk by chunk, when all of one is there."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.axi import REQUEST, write_beat
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.update.job import CHUNK, NARROW_GROUPS, Walk, group_lanes, update_job
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["UpdateWriter", "updated_layout"]

_REQUESTS = 64  # unanswered


def updated_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a group when it is updated: a beat of weights, of m and of v, and int8 weights."""
    width = cfg.axi_data_width
    return data.StructLayout({
        "w": width, "m": width, "v": width,
        "codes": data.ArrayLayout(signed(8), group_lanes(cfg)),
    })


class UpdateWriter(Component):
    """Writes a job's groups: two runs a chunk, the state first, then the int8 weights.

    A run is asked for when all its beats are here, so that the bus never waits for it, whatever
    stops. Throughput: a beat a cycle.

    Parameters
    ----------
    cfg : ``axi_data_width``, ``axi_address_width``.
    room : groups that are held here or on the way here, a power of two, at least 4 chunks.
    chunk : groups of a chunk, a power of two, at least 4.

    Members
    -------
    job : In(update_job(cfg)); start : In(1)
        Begin a job, which stays until it is finished; the one before is finished by then.
    stop : In(1)
        Begin no run; data of those begun still comes.
    reserve : In(1); full : Out(1)
        A group will come: only while not ``full``.
    i : In(stream.Signature(updated_layout(cfg), always_ready=True))
        The groups in order, each one after it was reserved.
    request, data : Out(stream.Signature(REQUEST)), Out(stream.Signature(write_beat(cfg)))
    written : In(stream.Signature(0, always_ready=True))
        To and from the write master; ``written`` is its ``done``.
    finished : Out(1)
        Every run of the job has its response.
    """

    def __init__(self, cfg: AcceleratorConfig, room: int, chunk: int = CHUNK) -> None:
        if room < 4 * chunk:
            raise ValueError(f"room is {room}; legal: at least {4 * chunk}")
        self.cfg = cfg
        self.room = room
        self.chunk = chunk
        super().__init__({
            "job": In(update_job(cfg)),
            "start": In(1),
            "stop": In(1),
            "reserve": In(1),
            "full": Out(1),
            "i": In(stream.Signature(updated_layout(cfg), always_ready=True)),
            "request": Out(stream.Signature(REQUEST)),
            "data": Out(stream.Signature(write_beat(cfg))),
            "written": In(stream.Signature(0, always_ready=True)),
            "finished": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.cfg.axi_data_width
        queues = {
            name: Queue.of_machine(self.cfg, width, self.room) for name in ("w", "m", "v")
        }
        for name, queue in queues.items():
            m.submodules[f"queue_{name}"] = queue
        m.submodules.codes = codes = Queue.of_machine(self.cfg, width, self.room // 2)
        chunk_ended = self._collect(m, queues, codes)
        asked = self._ask(m, chunk_ended)
        group_sent, sending = self._send(m, queues, codes)

        reserved = Signal(range(self.room + 1))
        m.d.sync += reserved.eq(reserved + self.reserve - group_sent)
        m.d.comb += self.full.eq(reserved == self.room)
        unanswered = Signal(range(_REQUESTS + 1))
        m.d.sync += unanswered.eq(
            unanswered + (self.request.valid & self.request.ready) - self.written.valid
        )
        m.d.comb += self.finished.eq(
            ~asked & ~sending & ~self.request.valid & (unanswered == 0) & ~self.start
        )
        return m

    def _collect(self, m: Module, queues: dict[str, Queue], codes: Queue) -> Signal:
        """Take groups, put the int8 weights of four into a beat; return when one ends a chunk."""
        job, group = self.job, self.i.payload
        walk = Walk(m, self.cfg, job, self.chunk, "taken")
        place, quarter = Signal(range(self.chunk)), Signal(range(NARROW_GROUPS))
        before = Signal(8 * group_lanes(self.cfg) * (NARROW_GROUPS - 1))
        ended, codes_ended, octets = Signal(), Signal(), Cat(group.codes)
        # What is collected moves down a place with each group, that of the last one is not full.
        whole = Cat(before, octets)
        parts = [
            Cat(before[len(octets) * (NARROW_GROUPS - 1 - n) :], octets)
            for n in range(NARROW_GROUPS)
        ]
        chosen = Signal(len(whole))
        with m.Switch(quarter):
            for number, part in enumerate(parts):
                with m.Case(number):
                    m.d.comb += chosen.eq(part)
        m.d.comb += [
            ended.eq(self.i.valid & (place == walk.groups - 1)),
            codes_ended.eq(quarter.all() | (place == walk.groups - 1)),
            queues["w"].i.valid.eq(self.i.valid),
            queues["m"].i.valid.eq(self.i.valid & job.momentum),
            queues["v"].i.valid.eq(self.i.valid & job.root),
            codes.i.valid.eq(self.i.valid & codes_ended & ~job.accumulate),
            codes.i.payload.eq(chosen),
            *(queue.i.payload.eq(group[name]) for name, queue in queues.items()),
        ]
        with m.If(self.i.valid):
            m.d.sync += [
                place.eq(Mux(ended, 0, place + 1)),
                quarter.eq(Mux(codes_ended, 0, quarter + 1)),
                before.eq(whole[len(octets) :]),
            ]
        with m.If(ended):
            walk.step()
        with m.If(self.start):
            walk.begin()
        return ended

    def _ask(self, m: Module, chunk_ended: Signal) -> Signal:
        """Ask for a chunk's runs when its last group is here; return whether there are more."""
        job, walk = self.job, Walk(m, self.cfg, self.job, self.chunk, "asked")
        second, ask, ended = Signal(), Signal(), Signal()
        there = Signal(range(self.room // self.chunk + 2))
        state, codes = Signal.like(job.state), Signal.like(job.codes)
        m.d.comb += [
            ask.eq(
                walk.active & (there != 0) & ~self.stop
                & (~self.request.valid | self.request.ready)
            ),
            ended.eq(ask & (second | job.accumulate)),
        ]
        m.d.sync += there.eq(there + chunk_ended - ended)
        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        with m.If(ask):
            m.d.sync += [
                self.request.valid.eq(1),
                self.request.payload.address.eq(walk.bytes_of(Mux(second, codes, state))),
                self.request.payload.beats.eq(Mux(second, walk.narrow_beats, walk.state_beats)),
                second.eq(~ended),
            ]
            with m.If(second):
                m.d.sync += codes.eq(walk.moved(codes, walk.narrow_beats))
            with m.Else():
                m.d.sync += state.eq(walk.moved(state, walk.state_beats))
        with m.If(ended):
            walk.step()
        with m.If(self.start):
            walk.begin()
            m.d.sync += [state.eq(job.state), codes.eq(job.codes)]
        return walk.active

    def _send(
        self, m: Module, queues: dict[str, Queue], codes: Queue
    ) -> tuple[Signal, Signal]:
        """Offer the beats of the runs in order; return when a group's state is gone, and whether
        there is more to send."""
        job, walk = self.job, Walk(m, self.cfg, self.job, self.chunk, "sent")
        lanes = group_lanes(self.cfg)
        place, turn, second = Signal(range(self.chunk)), Signal(2), Signal()
        sent, turns_end, run_ends, over = Signal(), Signal(), Signal(), Signal()
        beats = walk.groups, walk.narrow_beats
        is_v = (turn == 2) | ((turn == 1) & ~job.momentum)
        m.d.comb += [
            turns_end.eq(turn == Cat(job.momentum ^ job.root, job.momentum & job.root)),
            run_ends.eq(place == Mux(second, beats[1], beats[0]) - 1),
            sent.eq(self.data.valid & self.data.ready),
            over.eq(sent & run_ends & (second | (turns_end & job.accumulate))),
        ]
        for name, chosen in (("w", turn == 0), ("m", (turn == 1) & job.momentum), ("v", is_v)):
            queue = queues[name]
            m.d.comb += queue.o.ready.eq(self.data.ready & walk.active & ~second & chosen)
            with m.If(~second & chosen):
                m.d.comb += [
                    self.data.valid.eq(queue.o.valid & walk.active),
                    self.data.payload.data.eq(queue.o.payload),
                ]
        m.d.comb += codes.o.ready.eq(self.data.ready & walk.active & second)
        with m.If(second):
            m.d.comb += [
                self.data.valid.eq(codes.o.valid & walk.active),
                self.data.payload.data.eq(codes.o.payload),
            ]

        # Every byte but those behind the last weight.
        weights, octets = Signal(lanes), Signal(self.cfg.beat_bytes)
        last = walk.last & run_ends
        quarter = (walk.groups - 1)[:2]
        m.d.comb += [
            weights.eq(Mux(last, Const((1 << lanes) - 1) >> ~job.final, -1)),
            octets.eq(Mux(
                last,
                Const((1 << self.cfg.beat_bytes) - 1) >> ~Cat(job.final, quarter),
                -1,
            )),
            self.data.payload.strobe.eq(
                Mux(second, octets, Cat(bit.replicate(4) for bit in weights))
            ),
        ]
        group_sent = Signal()
        m.d.comb += group_sent.eq(sent & ~second & turns_end)
        with m.If(sent & ~second):
            m.d.sync += turn.eq(Mux(turns_end, 0, turn + 1))
        with m.If(sent & (second | turns_end)):
            m.d.sync += place.eq(Mux(run_ends, 0, place + 1))
            with m.If(run_ends):
                m.d.sync += second.eq(~second & ~job.accumulate)
        with m.If(over):
            walk.step()
        with m.If(self.start):
            walk.begin()
        return group_sent, walk.active
