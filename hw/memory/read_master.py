# SPDX-License-Identifier: Apache-2.0
"""The AXI4 read master: runs of beats in, bursts on the bus, beats out in order."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.control.fault import FaultSignature
from hw.control.queue import Queue
from hw.isa import ErrorCode
from hw.memory.axi import CACHE, REQUEST, AXI4ReadSignature, Burst, read_beat
from hw.memory.bursts import BurstPlanner

__all__ = ["ReadMaster"]


class ReadMaster(Component):
    """Reads runs of beats with up to ``axi_outstanding`` bursts in flight.

    Read data is not buffered: ``data`` is the R channel itself, so a client requests only what it
    has room for. One beat a cycle as long as the bursts in flight cover the memory's latency.

    Latency: four cycles from ``request`` to ``arvalid``; none from R to ``data``.

    Parameters
    ----------
    cfg
        ``axi_data_width``, ``axi_address_width``, ``axi_burst_beats`` and ``axi_outstanding``.

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
        })  # fmt: skip

    def _planner(self) -> BurstPlanner:
        return BurstPlanner(self.cfg, ErrorCode.READ_WINDOW)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        outstanding = self.cfg.axi_outstanding
        m.submodules.planner = planner = self._planner()
        wiring.connect(m, planner.request, wiring.flipped(self.request))
        m.d.comb += [
            planner.window_base.eq(self.window_base),
            planner.window_limit.eq(self.window_limit),
        ]
        flight = data.StructLayout({"address": self.cfg.axi_address_width, "last": 1})
        m.submodules.flights = flights = Queue(flight, 1 << ceil_log2(max(2, outstanding)))

        failed = Signal()
        held = Signal()
        issue = Signal()
        answered = Signal()
        in_flight = Signal(range(outstanding + 1))
        m.d.comb += [
            held.eq(self.stop | failed),
            issue.eq(
                planner.o.valid
                & ~held
                & (in_flight != outstanding)
                & (~axi.arvalid | axi.arready)
            ),
            planner.o.ready.eq(issue),
            flights.i.valid.eq(issue),
            flights.i.payload.address.eq(planner.o.payload.address),
            flights.i.payload.last.eq(planner.o.payload.last),
            axi.arsize.eq(exact_log2(self.cfg.beat_bytes)),
            axi.arburst.eq(Burst.INCR),
            axi.arcache.eq(CACHE),
        ]
        with m.If(issue):
            m.d.sync += [
                axi.arvalid.eq(1),
                axi.araddr.eq(planner.o.payload.address),
                axi.arlen.eq(planner.o.payload.length),
            ]
        with m.Elif(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        m.d.sync += in_flight.eq(in_flight + issue - answered)

        # The queue's head is there long before the first beat of its burst can be.
        due = flights.o
        m.d.comb += [
            self.data.valid.eq(axi.rvalid & due.valid),
            self.data.payload.data.eq(axi.rdata),
            self.data.payload.last.eq(axi.rlast & due.payload.last),
            axi.rready.eq(self.data.ready & due.valid),
            answered.eq(axi.rvalid & axi.rready & axi.rlast),
            due.ready.eq(answered),
            self.idle.eq((in_flight == 0) & ~axi.arvalid & (held | ~planner.pending)),
        ]

        refused = Signal()
        m.d.comb += refused.eq(axi.rvalid & axi.rready & axi.rresp[1])
        m.d.sync += self.error.valid.eq(0)
        with m.If(~failed & (refused | planner.error.valid)):
            m.d.sync += [failed.eq(1), self.error.valid.eq(1)]
            with m.If(refused):
                m.d.sync += [
                    self.error.payload.code.eq(ErrorCode.READ_RESPONSE),
                    self.error.payload.address.eq(due.payload.address),
                ]
            with m.Else():
                m.d.sync += self.error.payload.eq(planner.error.payload)
        return m
