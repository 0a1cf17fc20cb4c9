# SPDX-License-Identifier: Apache-2.0
"""The AXI4 read master: runs of beats in, bursts on the bus, beats out in order."""

from amaranth.hdl import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.axi import REQUEST, AXI4ReadSignature, read_beat
from kiwicha.hw.parts.bursts import BurstPlanner
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.request_issue import issue_bursts
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ErrorCode

__all__ = ["ReadMaster"]


class ReadMaster(Component):
    """Reads runs of beats with up to ``axi_outstanding`` bursts in flight.

    Read data is not buffered: ``data`` is the R channel itself, so a client requests only what it
    has room for. One beat a cycle as long as the bursts in flight cover the memory's latency.

    Latency: four cycles from ``request`` to ``arvalid``; none from R to ``data``.

    Parameters
    ----------
    cfg : ``axi_data_width``, ``axi_address_width``, ``axi_burst_beats`` and ``axi_outstanding``.

    Members
    -------
    request : In(stream.Signature(REQUEST))
        Runs to read, each one checked as a whole before its first burst.
    data : Out(stream.Signature(read_beat(cfg)))
        The beats of all requests in order. A beat that failed is handed on as well.
    window_base, window_limit : In(axi_address_width)
        First byte that may be read and first that may not any more; steady while not idle. Only
        whole beats inside are read.
    stop : In(1)
        Start no burst. One already offered stays, as AXI demands, and all beats due are taken.
    idle : Out(1)
        No burst is offered or unanswered, and none will start (by itself, or while ``stop``).
    error : Out(FaultSignature)
        READ_WINDOW with the request's address, READ_RESPONSE with the burst's; once. No burst
        starts from the next cycle on until reset.
    axi : Out(AXI4ReadSignature)
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "request": In(stream.Signature(REQUEST)),
            "data": Out(stream.Signature(read_beat(cfg))),
            "window_base": In(cfg.axi_address_width),
            "window_limit": In(cfg.axi_address_width),
            "stop": In(1),
            "idle": Out(1),
            "error": Out(FaultSignature),
            "axi": Out(AXI4ReadSignature(cfg.axi_address_width, cfg.axi_data_width)),
        })

    def _planner(self) -> BurstPlanner:
        return BurstPlanner(self.cfg, ErrorCode.READ_WINDOW)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        bursts = issue_bursts(
            m, self, self._planner(), "ar", self.cfg.axi_outstanding, ErrorCode.READ_RESPONSE
        )
        # The queue's head is there long before the first beat of its burst can be.
        due = bursts.due
        taken = axi.rvalid & axi.rready
        m.d.comb += [
            self.data.valid.eq(axi.rvalid & due.valid),
            self.data.payload.data.eq(axi.rdata),
            self.data.payload.last.eq(axi.rlast & due.payload.last),
            axi.rready.eq(self.data.ready & due.valid),
            bursts.answered.eq(taken & axi.rlast),
            bursts.refused.eq(taken & axi.rresp[1]),
        ]
        return m
