# SPDX-License-Identifier: Apache-2.0
"""Two clients on one write master."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.axi import REQUEST, write_beat
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.parts.slice import RegisterSlice
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["WriteArbiter"]

CLIENTS = 2
_REQUESTS = 32  # unanswered: more than a master has bursts in flight


class WriteArbiter(Component):
    """Passes requests on, client 0 first, takes their data in that order, hands answers back.

    The master takes all data of a request before that of the next one, so a client has to have it
    when it asks. Latency: one cycle for a request, none for data and answers. Throughput: a beat a
    cycle, without a gap between requests.

    Parameters
    ----------
    cfg : ``axi_data_width``, ``pipeline``.

    Members
    -------
    request : In(stream.Signature(REQUEST)).array(2)
    data : In(stream.Signature(write_beat(cfg))).array(2)
    done : Out(stream.Signature(0, always_ready=True)).array(2)
        As a client has them of a `WriteMaster` of its own.
    master_request : Out(stream.Signature(REQUEST))
    master_data : Out(stream.Signature(write_beat(cfg)))
    master_done : In(stream.Signature(0, always_ready=True))
        To and from the master.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        beats = stream.Signature(write_beat(cfg))
        answers = stream.Signature(0, always_ready=True)
        super().__init__({
            "request": In(stream.Signature(REQUEST)).array(CLIENTS),
            "data": In(beats).array(CLIENTS),
            "done": Out(answers).array(CLIENTS),
            "master_request": Out(stream.Signature(REQUEST)),
            "master_data": Out(beats),
            "master_done": In(answers),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.out = out = RegisterSlice(REQUEST, "slice" in self.cfg.pipeline)
        run = data.StructLayout({"client": 1, "beats": 32})
        m.submodules.runs = runs = Queue(run, _REQUESTS)
        m.submodules.answers = answers = Queue(1, _REQUESTS)
        wiring.connect(m, out.o, wiring.flipped(self.master_request))
        free, chosen, put = Signal(), Signal(), Signal()
        asked = Mux(chosen, self.request[1].payload, self.request[0].payload)
        m.d.comb += [
            free.eq(out.i.ready & runs.i.ready & answers.i.ready),
            chosen.eq(~self.request[0].valid),
            put.eq(free & (self.request[0].valid | self.request[1].valid)),
            self.request[0].ready.eq(free),
            self.request[1].ready.eq(free & chosen),
            out.i.valid.eq(put),
            out.i.payload.eq(asked),
            runs.i.valid.eq(put),
            runs.i.payload.client.eq(chosen),
            runs.i.payload.beats.eq(Mux(
                chosen, self.request[1].payload.beats, self.request[0].payload.beats
            )),
            answers.i.valid.eq(put),
            answers.i.payload.eq(chosen),
            answers.o.ready.eq(self.master_done.valid),
        ]

        beat, sent = Signal(32, init=1), Signal()
        now = runs.o.payload
        m.d.comb += [
            sent.eq(self.master_data.valid & self.master_data.ready),
            runs.o.ready.eq(sent & (beat == now.beats)),
        ]
        with m.If(sent):
            m.d.sync += beat.eq(Mux(runs.o.ready, 1, beat + 1))
        for client in range(CLIENTS):
            with m.If(runs.o.valid & (now.client == client)):
                m.d.comb += [
                    self.master_data.valid.eq(self.data[client].valid),
                    self.master_data.payload.eq(self.data[client].payload),
                    self.data[client].ready.eq(self.master_data.ready),
                ]
            m.d.comb += self.done[client].valid.eq(
                self.master_done.valid & (answers.o.payload == client)
            )
        return m
