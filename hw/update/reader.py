# SPDX-License-Identifier: Apache-2.0
"""UPDATE's reads: gradients and state of a tensor, chunk by chunk, put together group by group."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.axi import REQUEST, read_beat
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.update.job import CHUNK, NARROW_GROUPS, Walk, group_lanes, update_job
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["UpdateReader", "group_layout"]


def group_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a group: a beat of weights, of m and of v, the gradients, and whether it is the
    job's last."""
    width = cfg.axi_data_width
    return data.StructLayout({
        "w": width, "m": width, "v": width,
        "gradients": data.ArrayLayout(signed(32), group_lanes(cfg)),
        "last": 1,
    })


class UpdateReader(Component):
    """Reads a job's gradients and state: two runs a chunk, gradients first.

    A chunk is asked for when there is room for all of it, two chunks at most: beats are taken in
    every cycle. Throughput: a beat a cycle.

    Parameters
    ----------
    cfg : ``axi_data_width``, ``axi_address_width``.
    chunk : groups of a chunk, a power of two, at least 4.

    Members
    -------
    job : In(update_job(cfg)); start : In(1)
        Begin a job, which stays until its last group is taken; the one before is over by then.
    stop : In(1)
        Ask for nothing more.
    request, data : Out(stream.Signature(REQUEST)), In(stream.Signature(read_beat(cfg)))
        To and from the read master.
    o : Out(stream.Signature(group_layout(cfg)))
        The groups in order; m and v mean nothing where the job has none.
    """

    def __init__(self, cfg: AcceleratorConfig, chunk: int = CHUNK) -> None:
        self.cfg = cfg
        self.chunk = chunk
        super().__init__({
            "job": In(update_job(cfg)),
            "start": In(1),
            "stop": In(1),
            "request": Out(stream.Signature(REQUEST)),
            "data": In(stream.Signature(read_beat(cfg))),
            "o": Out(stream.Signature(group_layout(cfg))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, job, room = self.cfg, self.job, 2 * self.chunk
        queues = {
            name: Queue.of_machine(cfg, cfg.axi_data_width, room) for name in ("w", "m", "v")
        }
        gradients = Queue.of_machine(cfg, cfg.axi_data_width, room)
        m.submodules.gradients = gradients
        for name, queue in queues.items():
            m.submodules[f"queue_{name}"] = queue
        taken = Signal()
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        self._ask(m, taken, room)
        self._sort(m, queues, gradients)

        # Put together: four groups share a beat of narrow gradients.
        group, quarter = self.o.payload, Signal(range(NARROW_GROUPS))
        left = Signal(32)
        octets = gradients.o.payload.word_select(quarter, 8 * group_lanes(cfg))
        m.d.comb += [
            self.o.valid.eq(
                gradients.o.valid & queues["w"].o.valid
                & (queues["m"].o.valid | ~job.momentum) & (queues["v"].o.valid | ~job.root)
            ),
            group.last.eq(left == 1),
            *(group[name].eq(queue.o.payload) for name, queue in queues.items()),
            *(
                group.gradients[lane].eq(Mux(
                    job.wide,
                    gradients.o.payload.word_select(lane, 32).as_signed(),
                    octets.word_select(lane, 8).as_signed(),
                ))
                for lane in range(group_lanes(cfg))
            ),
            queues["w"].o.ready.eq(taken),
            queues["m"].o.ready.eq(taken & job.momentum),
            queues["v"].o.ready.eq(taken & job.root),
            gradients.o.ready.eq(taken & (job.wide | quarter.all() | group.last)),
        ]
        with m.If(taken):
            m.d.sync += [left.eq(left - 1), quarter.eq(Mux(group.last, 0, quarter + 1))]
        with m.If(self.start):
            m.d.sync += left.eq(job.groups)
        return m

    def _ask(self, m: Module, taken: Signal, room: int) -> None:
        """Ask for a chunk's gradients and then for its state, if there is room for both."""
        job, walk = self.job, Walk(m, self.cfg, self.job, self.chunk, "asked")
        second, sent = Signal(), Signal()
        reserved = Signal(range(room + 1))
        state, gradients = Signal.like(job.state), Signal.like(job.gradients)
        ask = Signal()
        m.d.comb += [
            ask.eq(walk.active & ((reserved <= room - self.chunk) | second)),
            sent.eq(self.request.valid & self.request.ready),
        ]
        with m.If(sent):
            m.d.sync += self.request.valid.eq(0)
        with m.If(ask & ~self.stop & (~self.request.valid | self.request.ready)):
            m.d.sync += [
                self.request.valid.eq(1),
                self.request.payload.address.eq(walk.bytes_of(Mux(second, state, gradients))),
                self.request.payload.beats.eq(
                    Mux(second, walk.state_beats, Mux(job.wide, walk.groups, walk.narrow_beats))
                ),
                second.eq(~second),
            ]
            with m.If(second):
                m.d.sync += state.eq(walk.moved(state, walk.state_beats))
                walk.step()
            with m.Else():
                m.d.sync += gradients.eq(walk.moved(
                    gradients, Mux(job.wide, walk.groups, walk.narrow_beats)
                ))
                m.d.sync += reserved.eq(reserved + walk.groups - taken)
            with m.If(second & taken):
                m.d.sync += reserved.eq(reserved - 1)
        with m.Elif(taken):
            m.d.sync += reserved.eq(reserved - 1)
        with m.If(self.start):
            walk.begin()
            m.d.sync += [state.eq(job.state), gradients.eq(job.gradients)]

    def _sort(self, m: Module, queues: dict[str, Queue], gradients: Queue) -> None:
        """Put a run of gradients into their queue, the beats of the state into theirs by turns."""
        job, beat, last = self.job, self.data.payload.data, self.data.payload.last
        state, place = Signal(), Signal(2)
        there = self.data.valid
        # The place of a beat: of w, of the m or v that is next, of the v behind m.
        is_second = state & (place == 1)
        m.d.comb += [
            self.data.ready.eq(1),
            gradients.i.valid.eq(there & ~state),
            queues["w"].i.valid.eq(there & state & (place == 0)),
            queues["m"].i.valid.eq(there & is_second & job.momentum),
            queues["v"].i.valid.eq(
                there & state & (Mux(job.momentum, place == 2, place == 1))
            ),
            gradients.i.payload.eq(beat),
            *(queue.i.payload.eq(beat) for queue in queues.values()),
        ]
        with m.If(there & state):
            m.d.sync += place.eq(Mux(place == Cat(job.momentum ^ job.root, job.momentum & job.root),
                                     0, place + 1))
        with m.If(there & last):
            m.d.sync += state.eq(~state)
