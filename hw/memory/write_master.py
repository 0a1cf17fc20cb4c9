# SPDX-License-Identifier: Apache-2.0
"""The AXI4 write master: runs of beats and their data in, bursts on the bus, responses counted."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.control.fault import FaultSignature
from hw.control.queue import Queue
from hw.isa import ErrorCode
from hw.memory.axi import CACHE, REQUEST, AXI4WriteSignature, Burst, write_beat
from hw.memory.bursts import BurstPlanner

__all__ = ["OUTSTANDING_WRITES", "WriteMaster"]

OUTSTANDING_WRITES = 16
"""Write bursts that may be without a response: a run of two beats each hides 20 cycles or so."""


class WriteMaster(Component):
    """Writes runs of beats with up to ``OUTSTANDING_WRITES`` bursts in flight.

    Addresses and data are offered independently, so a subordinate may wait for either first; data
    of a burst is never offered before its address. One beat a cycle, without a gap between bursts.

    Latency: four cycles from ``request`` to ``awvalid``, two more to ``wvalid``.

    Parameters
    ----------
    cfg
        ``axi_data_width``, ``axi_address_width`` and ``axi_burst_beats``.

    Members
    -------
    request : In(stream.Signature(REQUEST))
        Runs to write, each one checked as a whole before its first burst.
    data : In(stream.Signature(write_beat(cfg)))
        The beats of all requests in order. Whoever sends a request sends all its beats, whether
        ``stop`` rises or not: bursts begun have to end. Those of a refused request are not taken.
    done : Out(stream.Signature(0, always_ready=True))
        A transfer for each request, in order, when all its responses were good.
    window_base, window_limit : In(axi_address_width)
        First byte that may be written and first that may not any more; steady while not idle.
        A beat counts as a whole, whatever its strobes.
    stop : In(1)
        Start no burst. Those begun, as far as an address already offered, are completed.
    idle : Out(1)
        No burst is offered or unanswered, and none will start (by itself, or while ``stop``).
    error : Out(FaultSignature)
        WRITE_WINDOW with the request's address, WRITE_RESPONSE with the burst's; once. No burst
        starts from the next cycle on until reset.
    axi : Out(AXI4WriteSignature)
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "request": In(stream.Signature(REQUEST)),
            "data": In(stream.Signature(write_beat(cfg))),
            "done": Out(stream.Signature(0, always_ready=True)),
            "window_base": In(cfg.axi_address_width),
            "window_limit": In(cfg.axi_address_width),
            "stop": In(1),
            "idle": Out(1),
            "error": Out(FaultSignature),
            "axi": Out(AXI4WriteSignature(cfg.axi_address_width, cfg.axi_data_width)),
        })  # fmt: skip

    def _planner(self) -> BurstPlanner:
        return BurstPlanner(self.cfg, ErrorCode.WRITE_WINDOW)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        m.submodules.planner = planner = self._planner()
        wiring.connect(m, planner.request, wiring.flipped(self.request))
        m.d.comb += [
            planner.window_base.eq(self.window_base),
            planner.window_limit.eq(self.window_limit),
        ]
        flight = data.StructLayout({"address": self.cfg.axi_address_width, "last": 1})
        m.submodules.flights = flights = Queue(flight, OUTSTANDING_WRITES)
        m.submodules.lengths = lengths = Queue(8, OUTSTANDING_WRITES)

        failed = Signal()
        held = Signal()
        issue = Signal()
        answered = Signal()
        in_flight = Signal(range(OUTSTANDING_WRITES + 1))
        m.d.comb += [
            held.eq(self.stop | failed),
            issue.eq(
                planner.o.valid
                & ~held
                & (in_flight != OUTSTANDING_WRITES)
                & (~axi.awvalid | axi.awready)
            ),
            planner.o.ready.eq(issue),
            flights.i.valid.eq(issue),
            flights.i.payload.address.eq(planner.o.payload.address),
            flights.i.payload.last.eq(planner.o.payload.last),
            lengths.i.valid.eq(issue),
            lengths.i.payload.eq(planner.o.payload.length),
            axi.awsize.eq(exact_log2(self.cfg.beat_bytes)),
            axi.awburst.eq(Burst.INCR),
            axi.awcache.eq(CACHE),
        ]
        with m.If(issue):
            m.d.sync += [
                axi.awvalid.eq(1),
                axi.awaddr.eq(planner.o.payload.address),
                axi.awlen.eq(planner.o.payload.length),
            ]
        with m.Elif(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        m.d.sync += in_flight.eq(in_flight + issue - answered)

        # Data of the burst at the head of `lengths`, whose address is offered by now.
        beat = Signal(8)
        sent = Signal()
        m.d.comb += [
            axi.wvalid.eq(self.data.valid & lengths.o.valid),
            axi.wdata.eq(self.data.payload.data),
            axi.wstrb.eq(self.data.payload.strobe),
            axi.wlast.eq(beat == lengths.o.payload),
            self.data.ready.eq(axi.wready & lengths.o.valid),
            sent.eq(axi.wvalid & axi.wready),
            lengths.o.ready.eq(sent & axi.wlast),
        ]
        with m.If(sent):
            m.d.sync += beat.eq(beat + 1)
            with m.If(axi.wlast):
                m.d.sync += beat.eq(0)

        m.d.comb += [
            axi.bready.eq(flights.o.valid),
            answered.eq(axi.bvalid & axi.bready),
            flights.o.ready.eq(answered),
            self.idle.eq((in_flight == 0) & ~axi.awvalid & (held | ~planner.pending)),
        ]
        refused = Signal()
        m.d.comb += refused.eq(answered & axi.bresp[1])
        m.d.sync += [
            self.done.valid.eq(answered & flights.o.payload.last & ~refused & ~failed),
            self.error.valid.eq(0),
        ]
        with m.If(~failed & (refused | planner.error.valid)):
            m.d.sync += [failed.eq(1), self.error.valid.eq(1)]
            with m.If(refused):
                m.d.sync += [
                    self.error.payload.code.eq(ErrorCode.WRITE_RESPONSE),
                    self.error.payload.address.eq(flights.o.payload.address),
                ]
            with m.Else():
                m.d.sync += self.error.payload.eq(planner.error.payload)
        return m
