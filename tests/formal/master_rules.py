# SPDX-License-Identifier: Apache-2.0
"""What both memory masters have to obey, as properties of a request port and an address channel."""

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In

from kiwicha.hw.parts.axi import REQUEST
from kiwicha.hw.parts.bursts import BurstPlanner
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

__all__ = ["TOTAL", "AddressRules", "ShortPlanner", "held", "machine"]

TOTAL = 6
"""Bits of a count of beats: enough for what can be asked for in the cycles of a proof."""


def machine(width: int, burst: int, outstanding: int = 2) -> AcceleratorConfig:
    """Return a machine whose masters are small enough for a solver."""
    return preset("tiny").replace(
        axi_data_width=width,
        axi_burst_beats=burst,
        axi_outstanding=outstanding,
        axi_address_width=16,
    )


class AddressRules(Component):
    """Asserts what is on the address channel, given the requests; assumes legal requests.

    With ``account``, requests have less than 8 beats (big sums are slow to prove), and the one
    accepted in a cycle with ``pick`` is followed: its bursts, put together, are the run asked for.
    Without, requests are anything at all. Everything is asserted only while ``on``.

    Members
    -------
    on, pick, stop, faulted, idle : In(1)
        ``faulted`` from the cycle of the fault on.
    request : In(stream.Signature(REQUEST)); accepted : In(1)
        The request port, and whether a request is taken in this cycle.
    base, limit : In(16)
    valid, ready : In(1); address, length : In
        The address channel.
    before, beats, picked : beats asked for before the followed request, its beats, whether one is.
    offered : an address was offered in the cycle before, and not taken.
    """

    def __init__(self, cfg: AcceleratorConfig, *, account: bool) -> None:
        self.cfg = cfg
        self.account = account
        super().__init__({
            "on": In(1), "pick": In(1), "stop": In(1), "faulted": In(1), "idle": In(1),
            "request": In(stream.Signature(REQUEST)), "accepted": In(1),
            "base": In(16), "limit": In(16),
            "valid": In(1), "ready": In(1), "address": In(16), "length": In(8),
        })
        self.picked = Signal()
        self.offered = Signal()
        self.before = Signal(TOTAL)
        self.beats = Signal(TOTAL)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.cfg.beat_bytes
        waiting = Signal()
        asked = Signal(REQUEST)
        # The unit is client of nobody's good will here: any address, any number of beats.
        m.d.sync += [
            waiting.eq(self.request.valid & ~self.accepted),
            asked.eq(self.request.payload),
        ]
        with m.If(self.on & waiting):
            m.d.comb += [Assume(self.request.valid), Assume(self.request.payload == asked)]

        requested = Signal(TOTAL)
        issued = Signal(TOTAL)
        start = Signal(16)
        beyond = Signal()
        if self.account:
            m.d.comb += Assume(self.request.payload.beats < 8)
        with m.If(self.accepted):
            m.d.sync += requested.eq(requested + self.request.payload.beats)
        with m.If(self.accepted & self.pick & ~self.picked):
            m.d.sync += [
                self.picked.eq(1),
                self.before.eq(requested),
                self.beats.eq(self.request.payload.beats),
                start.eq(self.request.payload.address & -size),
                beyond.eq(self.request.payload.address[16:] != 0),
            ]

        offered = self.offered
        halted = Signal()
        place = Signal(16)
        length = Signal(8)
        m.d.sync += [
            offered.eq(self.valid & ~self.ready),
            halted.eq(self.stop | self.faulted),
            place.eq(self.address),
            length.eq(self.length),
        ]
        end = Signal(17)
        beats = Signal(9)
        m.d.comb += [beats.eq(self.length + 1), end.eq(self.address + beats * size)]
        with m.If(self.valid & self.ready):
            m.d.sync += issued.eq(issued + beats)
        with m.If(self.on):
            with m.If(offered):
                m.d.comb += [
                    Assert(self.valid),
                    Assert(self.address == place),
                    Assert(self.length == length),
                ]
            with m.Elif(halted):
                m.d.comb += Assert(~self.valid)
            with m.If(self.valid):
                m.d.comb += [
                    Assert(beats <= self.cfg.axi_burst_beats),
                    Assert(self.address % size == 0),
                    Assert(self.address[12:] == (end - 1)[12:]),
                    Assert(self.address >= self.base),
                    Assert(end <= self.limit),
                ]
            if self.account:
                self._account(m, requested, issued, start, beats, beyond)
            m.d.comb += Cover(self.valid & (end == self.limit) & (self.address == self.base))
        return m

    def _account(
        self, m: Module, requested: Value, issued: Value, start: Value, beats: Value, beyond: Value
    ) -> None:
        place = issued - self.before
        within = self.picked & (place >= 0) & (place < self.beats)
        with m.If(self.valid & within):
            m.d.comb += [
                Assert(~beyond),
                Assert(self.address == (start + place * self.cfg.beat_bytes)[:16]),
                Assert(place + beats <= self.beats),
            ]
        quiet = self.idle & ~self.stop & ~self.faulted
        with m.If(quiet):
            m.d.comb += Assert(issued == requested)
        m.d.comb += [
            Cover(quiet & self.picked & (self.beats > self.cfg.axi_burst_beats)),
            Cover(self.picked & self.valid & (self.before != 0) & (issued == self.before)),
        ]


class ShortPlanner(BurstPlanner):
    """Broken: bursts of two beats lose one."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = BurstPlanner(self.cfg, self.refusal)
        wiring.connect(m, inner.request, wiring.flipped(self.request))
        wiring.connect(m, wiring.flipped(self.error), inner.error)
        m.d.comb += [
            inner.window_base.eq(self.window_base),
            inner.window_limit.eq(self.window_limit),
            inner.o.ready.eq(self.o.ready),
            self.o.valid.eq(inner.o.valid),
            self.o.payload.eq(inner.o.payload),
            self.o.payload.length.eq(inner.o.payload.length >> 1),
            self.pending.eq(inner.pending),
        ]
        return m


def held(m: Module, first: Value, free: Value) -> Value:
    """Return what ``free`` was in the first cycle: any value, always the same."""
    kept = Signal.like(Value.cast(free), reset_less=True)
    with m.If(first):
        m.d.sync += kept.eq(free)
    return Mux(first, free, kept)
