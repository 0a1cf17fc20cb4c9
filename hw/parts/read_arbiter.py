# SPDX-License-Identifier: Apache-2.0
"""Two or three clients on one read master."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.axi import REQUEST, read_beat
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.parts.slice import RegisterSlice
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.latency import requests_ahead

__all__ = ["ReadArbiter"]


class ReadArbiter(Component):
    """Passes requests on, client 0 first, then 1, and hands the beats back in the order of the
    requests.

    A client with rare and short requests belongs at 0; a long request is not interrupted, so
    client 1 keeps its requests to a burst each. Latency: one cycle for a request, none for a beat.
    Throughput: a request and a beat a cycle.

    Parameters
    ----------
    cfg : ``axi_data_width`` and ``axi_outstanding``.
    clients : 2 or 3.

    Members
    -------
    request : In(stream.Signature(REQUEST)).array(clients)
    data : Out(stream.Signature(read_beat(cfg))).array(clients)
        The beats of each client's requests.
    master_request : Out(stream.Signature(REQUEST))
    master_data : In(stream.Signature(read_beat(cfg)))
        To and from the master.
    """

    def __init__(self, cfg: AcceleratorConfig, clients: int = 2) -> None:
        self.cfg = cfg
        self.clients = clients
        super().__init__({
            "request": In(stream.Signature(REQUEST)).array(clients),
            "data": Out(stream.Signature(read_beat(cfg))).array(clients),
            "master_request": Out(stream.Signature(REQUEST)),
            "master_data": In(stream.Signature(read_beat(cfg))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # One entry per request in the master: bursts in flight and what its planner holds.
        m.submodules.order = order = Queue(range(self.clients), requests_ahead(self.cfg))
        m.submodules.out = out = RegisterSlice(REQUEST, "slice" in self.cfg.pipeline)
        wiring.connect(m, out.o, wiring.flipped(self.master_request))
        free = Signal()
        m.d.comb += [
            free.eq(order.i.ready & out.i.ready),
            order.i.valid.eq(free & Cat(each.valid for each in self.request).any()),
            out.i.valid.eq(order.i.valid),
        ]
        before: list[Value] = []
        last = self.clients - 1
        for client, request in enumerate(self.request):
            chosen = ~Cat(before).any() if before else Const(1, 1)
            m.d.comb += request.ready.eq(free & chosen)
            with m.If(chosen & (request.valid if client < last else 1)):
                m.d.comb += [order.i.payload.eq(client), out.i.payload.eq(request.payload)]
            before.append(request.valid)

        for client in range(self.clients):
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
