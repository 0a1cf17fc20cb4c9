# SPDX-License-Identifier: Apache-2.0
"""The AXI4 write master: runs of beats and their data in, bursts on the bus, responses counted."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.axi import REQUEST, AXI4WriteSignature, write_beat
from kiwicha.hw.parts.bursts import BurstPlanner
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.parts.request_issue import issue_bursts
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ErrorCode

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
    cfg : ``axi_data_width``, ``axi_address_width`` and ``axi_burst_beats``.

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
        })

    def _planner(self) -> BurstPlanner:
        return BurstPlanner(self.cfg, ErrorCode.WRITE_WINDOW)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        planner = self._planner()
        bursts = issue_bursts(
            m, self, planner, "aw", OUTSTANDING_WRITES, ErrorCode.WRITE_RESPONSE
        )
        m.submodules.lengths = lengths = Queue(8, OUTSTANDING_WRITES)
        m.d.comb += [
            lengths.i.valid.eq(bursts.issue),
            lengths.i.payload.eq(planner.o.payload.length),
        ]

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

        due = bursts.due
        m.d.comb += [
            axi.bready.eq(due.valid),
            bursts.answered.eq(axi.bvalid & axi.bready),
            bursts.refused.eq(bursts.answered & axi.bresp[1]),
        ]
        m.d.sync += self.done.valid.eq(
            bursts.answered & due.payload.last & ~bursts.refused & ~bursts.failed
        )
        return m
