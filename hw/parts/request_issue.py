# SPDX-License-Identifier: Apache-2.0
"""What both memory masters do alike: offer bursts, remember those in flight, stop at a fault."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.utils import ceil_log2, exact_log2

from kiwicha.hw.parts.axi import CACHE, Burst
from kiwicha.hw.parts.bursts import BurstPlanner
from kiwicha.hw.parts.queue import Queue
from kiwicha.machine.isa import ErrorCode

__all__ = ["Issued", "issue_bursts"]


@dataclass(frozen=True)
class Issued:
    """What a master sees of its bursts, and the two signals by which it says how they end.

    Members
    -------
    issue : the planner's burst goes to the address channel in this cycle.
    due : stream of the burst that is answered next: its address, and whether it ends its request.
    failed : there was a fault; no burst starts any more.
    answered : to be driven: ``due`` is over in this cycle.
    refused : to be driven: the response to ``due`` in this cycle is an error.
    """

    issue: Signal
    due: Any
    failed: Signal
    answered: Signal
    refused: Signal


def issue_bursts(
    m: Module, master: Any, planner: BurstPlanner, prefix: str, outstanding: int, refusal: ErrorCode
) -> Issued:
    """Add to ``m`` all of ``master`` that lies between its requests and its address channel.

    Drives the master's ``idle`` and ``error`` and the address channel of its ``axi``.

    Parameters
    ----------
    prefix : of the channel's signals, ``ar`` or ``aw``.
    outstanding : bursts that may be unanswered.
    refusal : code of the fault for an error response.
    """
    cfg = master.cfg

    def channel(name: str) -> Any:
        return getattr(master.axi, prefix + name)

    m.submodules.planner = planner
    wiring.connect(m, planner.request, wiring.flipped(master.request))
    m.d.comb += [
        planner.window_base.eq(master.window_base),
        planner.window_limit.eq(master.window_limit),
    ]
    flight = data.StructLayout({"address": cfg.axi_address_width, "last": 1})
    m.submodules.flights = flights = Queue(flight, 1 << ceil_log2(max(2, outstanding)))

    issue, failed, answered, refused, held = (
        Signal(name=name) for name in ("issue", "failed", "answered", "refused", "held")
    )
    in_flight = Signal(range(outstanding + 1))
    m.d.comb += [
        held.eq(master.stop | failed),
        issue.eq(
            planner.o.valid
            & ~held
            & (in_flight != outstanding)
            & (~channel("valid") | channel("ready"))
        ),
        planner.o.ready.eq(issue),
        flights.i.valid.eq(issue),
        flights.i.payload.address.eq(planner.o.payload.address),
        flights.i.payload.last.eq(planner.o.payload.last),
        flights.o.ready.eq(answered),
        channel("size").eq(exact_log2(cfg.beat_bytes)),
        channel("burst").eq(Burst.INCR),
        channel("cache").eq(CACHE),
        master.idle.eq((in_flight == 0) & ~channel("valid") & (held | ~planner.pending)),
    ]
    with m.If(issue):
        m.d.sync += [
            channel("valid").eq(1),
            channel("addr").eq(planner.o.payload.address),
            channel("len").eq(planner.o.payload.length),
        ]
    with m.Elif(channel("ready")):
        m.d.sync += channel("valid").eq(0)
    m.d.sync += in_flight.eq(in_flight + issue - answered)

    m.d.sync += master.error.valid.eq(0)
    with m.If(~failed & (refused | planner.error.valid)):
        m.d.sync += [failed.eq(1), master.error.valid.eq(1)]
        with m.If(refused):
            m.d.sync += [
                master.error.payload.code.eq(refusal),
                master.error.payload.address.eq(flights.o.payload.address),
            ]
        with m.Else():
            m.d.sync += master.error.payload.eq(planner.error.payload)
    return Issued(issue, flights.o, failed, answered, refused)
