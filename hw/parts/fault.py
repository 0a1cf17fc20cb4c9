# SPDX-License-Identifier: Apache-2.0
"""Faults: how every unit says that the machine must stop, and the pick of the first one."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.machine.isa import ErrorCode

__all__ = ["FAULT", "FaultCollector", "FaultSignature"]

FAULT = data.StructLayout({"code": ErrorCode, "address": 64})
"""Why the machine must stop; what ``address`` means, hw/control/errors.py says by code."""

FaultSignature = stream.Signature(FAULT, always_ready=True)
"""One transfer per fault, never refused; the first one of a run is the one reported."""


class FaultCollector(Component):
    """Keeps the first fault of several sources; of several in one cycle, the lowest index.

    Latency: ``valid`` and the fault appear one cycle after the source's transfer.

    Parameters
    ----------
    sources : number of sources, at least 1.

    Members
    -------
    i : In(FaultSignature).array(sources)
        The sources, most important first.
    clear : In(1)
        Forget the fault; a fault arriving in the same cycle is forgotten too.
    valid, fault : Out(1), Out(FAULT)
        Whether there was a fault, and the first one.
    """

    def __init__(self, sources: int) -> None:
        if sources < 1:
            raise ValueError(f"sources is {sources}; legal: at least 1")
        self.sources = sources
        super().__init__({
            "i": In(FaultSignature).array(sources),
            "clear": In(1),
            "valid": Out(1),
            "fault": Out(FAULT),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first = Signal(FAULT)
        arrived = Signal()
        # Later assignments win, hence from the least important source to the most important.
        for source in reversed(range(self.sources)):
            port = self.i[source]
            with m.If(port.valid):
                m.d.comb += [arrived.eq(1), first.eq(port.payload)]
        with m.If(self.clear):
            m.d.sync += [self.valid.eq(0), self.fault.eq(0)]
        with m.Elif(arrived & ~self.valid):
            m.d.sync += [self.valid.eq(1), self.fault.eq(first)]
        return m
