# SPDX-License-Identifier: Apache-2.0
"""Two clients on one read master."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from kiwicha.hw.parts.axi import REQUEST, read_beat
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.parts.slice import RegisterSlice
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["ReadArbiter"]

CLIENTS = 2


class ReadArbiter(Component):
    """Passes requests on, client 0 first, and hands the beats back in the order of the requests.

    A client with rare and short requests belongs at 0; a long request is not interrupted, so
    client 1 keeps its requests to a burst each. Latency: one cycle for a request, none for a beat.
    Throughput: a request and a beat a cycle.

    Parameters
    ----------
    cfg : ``axi_data_width`` and ``axi_outstanding``.

    Members
    -------
    request : In(stream.Signature(REQUEST)).array(2)
    data : Out(stream.Signature(read_beat(cfg))).array(2)
        The beats of each client's requests.
    master_request : Out(stream.Signature(REQUEST))
    master_data : In(stream.Signature(read_beat(cfg)))
        To and from the master.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "request": In(stream.Signature(REQUEST)).array(CLIENTS),
            "data": Out(stream.Signature(read_beat(cfg))).array(CLIENTS),
            "master_request": Out(stream.Signature(REQUEST)),
            "master_data": In(stream.Signature(read_beat(cfg))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # One entry per request in the master: bursts in flight and what its planner holds.
        depth = 1 << ceil_log2(self.cfg.axi_outstanding + 4)
        m.submodules.order = order = Queue(1, depth)
        m.submodules.out = out = RegisterSlice(REQUEST, "slice" in self.cfg.pipeline)
        wiring.connect(m, out.o, wiring.flipped(self.master_request))
        free = Signal()
        chosen = Signal()
        m.d.comb += [
            free.eq(order.i.ready & out.i.ready),
            chosen.eq(~self.request[0].valid),
            order.i.valid.eq(free & (self.request[0].valid | self.request[1].valid)),
            order.i.payload.eq(chosen),
            self.request[0].ready.eq(free),
            self.request[1].ready.eq(free & chosen),
        ]
        m.d.comb += [
            out.i.valid.eq(order.i.valid),
            out.i.payload.eq(Mux(chosen, self.request[1].payload, self.request[0].payload)),
        ]

        for client in range(CLIENTS):
            mine = Signal(name=f"mine{client}")
            m.d.comb += [
                mine.eq(order.o.valid & (order.o.payload == client)),
                self.data[client].valid.eq(self.master_data.valid & mine),
                self.data[client].payload.eq(self.master_data.payload),
            ]
            with m.If(mine):
                m.d.comb += self.master_data.ready.eq(self.data[client].ready)
        m.d.comb += order.o.ready.eq(
            self.master_data.valid & self.master_data.ready & self.master_data.payload.last
        )
        return m
