# SPDX-License-Identifier: Apache-2.0
"""Starts, watches and stops the machine.

=========  ====================================================================================
State      Meaning and way out
=========  ====================================================================================
IDLE       After reset. START: CLEARING.
CLEARING   ``clear`` resets the engines for ``clear_cycles``; then ``go``, RUNNING.
RUNNING    END was taken and nothing has moved for SETTLE_CYCLES cycles: DONE.
           A fault, software's ABORT, or no progress for as long as the watchdog allows: DRAINING.
DRAINING   ``stop`` keeps new bus transactions back. Memory port idle for SETTLE_CYCLES: ERROR.
DONE       START: CLEARING.
ERROR      ``stop`` stays. START: CLEARING.
=========  ====================================================================================

No ABORT of a program is lost: one that comes in the cycle of its START, or in CLEARING, is kept
until RUNNING, which it ends in its first cycle. In IDLE, DONE, DRAINING and ERROR there is nothing
to abort, and ABORT without START has no effect; START has none in any but IDLE, DONE and ERROR.

The interrupt for an error is raised on entering ERROR, or after DRAIN_LIMIT cycles of DRAINING
where a bus never answers. In that case the machine stays in DRAINING: a transaction that has begun
cannot be taken back, and only a reset of the machine and its bus recovers. Until then START is
ignored, so that a late answer can never be taken for one to the next program.
"""

from typing import TYPE_CHECKING

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.fault import FAULT, FaultCollector, FaultSignature
from kiwicha.machine.isa import ErrorCode

if TYPE_CHECKING:  # Amaranth has no types; to a type checker its enums are the library's
    import enum
else:
    from amaranth.lib import enum

__all__ = ["CLEAR_CYCLES", "DRAIN_LIMIT", "SETTLE_CYCLES", "State", "Supervisor"]

CLEAR_CYCLES = 4
SETTLE_CYCLES = 4
DRAIN_LIMIT = 4096


class State(enum.Enum, shape=3):
    """What the machine is doing."""

    IDLE = 0  #: nothing since reset
    CLEARING = 1  #: the engines are being reset
    RUNNING = 2  #: a program runs
    DRAINING = 3  #: stopped; transactions on the bus are being finished
    DONE = 4  #: the last program ran to its END
    ERROR = 5  #: the last program was stopped; the code says why


class Supervisor(Component):
    """The state machine above.

    Parameters
    ----------
    sources : number of units that may report a fault.
    drain_limit : cycles of DRAINING after which the interrupt is raised in any case, at least 1.
    clear_cycles : cycles of CLEARING, at least 1.
    watchdog_bits : bits of the watchdog's limit.

    Members
    -------
    start, abort : In(1)
        Pulses from software; ignored in states that have no use for them. In one cycle: ``start``
        first.
    fault : In(FaultSignature).array(sources)
        The first one counts; of several in one cycle the lowest index. Watchdog and abort come
        after them.
    ended, quiet, masters_idle : In(1)
        END was taken; nothing is fetched, queued or executed; no bus transaction is open.
    progress : In(1)
        High in a cycle in which something moved, for the watchdog.
    watchdog_limit : In(watchdog_bits)
        Cycles without progress that are too many; 0: any number is fine. Steady from START on.
    clear : Out(1)
        Resets fetch, queues, tokens, engines and memory port; the masters are idle then.
    go : Out(1)
        Pulse: fetch the program.
    stop : Out(1)
        High from the cycle after a fault until RUNNING.
    running : Out(1)
        In RUNNING, for the counters.
    state : Out(State)
        As above.
    error : Out(FAULT)
        Why the last program was stopped; code NONE otherwise.
    finished, failed : Out(1)
        Pulses for the two interrupts.
    """

    def __init__(
        self, sources: int, *, drain_limit: int = DRAIN_LIMIT, clear_cycles: int = CLEAR_CYCLES,
        watchdog_bits: int = 32,
    ) -> None:
        if drain_limit < 1:
            raise ValueError(f"drain_limit is {drain_limit}; legal: at least 1")
        if clear_cycles < 1:
            raise ValueError(f"clear_cycles is {clear_cycles}; legal: at least 1")
        self.sources = sources
        self.clear_cycles = clear_cycles
        self.drain_limit = drain_limit
        self.watchdog_bits = watchdog_bits
        self._early = Signal()  # an ABORT waits for RUNNING
        self._reported = Signal()  # the interrupt for an error was raised
        super().__init__({
            "start": In(1),
            "abort": In(1),
            "fault": In(FaultSignature).array(sources),
            "ended": In(1),
            "quiet": In(1),
            "masters_idle": In(1),
            "progress": In(1),
            "watchdog_limit": In(watchdog_bits),
            "clear": Out(1),
            "go": Out(1),
            "stop": Out(1),
            "running": Out(1),
            "state": Out(State),
            "error": Out(FAULT),
            "finished": Out(1),
            "failed": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.collector = collector = FaultCollector(self.sources + 2)
        # RUNNING, and with `clear` CLEARING, as registers: much hangs on them.
        running, arriving = Signal(), Signal()
        waited, bitten, aborted = Signal(), Signal(), Signal()
        for source, port in zip(self.fault, collector.i, strict=False):
            m.d.comb += [
                port.payload.eq(source.payload),
                port.valid.eq(source.valid & running),
            ]
        for port, happened, code in (
            (collector.i[self.sources], bitten, ErrorCode.WATCHDOG),
            (collector.i[self.sources + 1], aborted, ErrorCode.ABORTED),
        ):
            m.d.comb += [port.valid.eq(happened), port.payload.code.eq(code)]

        # One more than the cycles without progress up to the one before the last.
        still = Signal(self.watchdog_bits)
        progressed, watched, unit = Signal(), Signal(), Signal()
        settled = Signal(range(SETTLE_CYCLES))
        wait = Signal(range(max(self.clear_cycles, self.drain_limit) + 1))
        m.d.comb += [
            arriving.eq(Cat(port.valid for port in collector.i).any()),
            self.running.eq(running),
            self.stop.eq(collector.valid | self.clear),
            self.error.eq(collector.fault),
            collector.clear.eq(self.clear),
            aborted.eq(running & (self.abort | self._early)),
        ]
        # Compared a cycle ahead, and what moved is seen a cycle later: neither a wide comparison
        # nor the way from every engine fits one cycle with the collector.
        m.d.sync += [
            progressed.eq(self.progress),
            watched.eq(self.watchdog_limit != 0),
            unit.eq(self.watchdog_limit == 1),
            waited.eq(Mux(progressed, unit, still == self.watchdog_limit)),
        ]
        m.d.comb += bitten.eq(running & watched & waited & ~progressed)
        m.d.sync += [self.go.eq(0), self.finished.eq(0), self.failed.eq(0)]
        with m.Switch(self.state):
            with m.Case(State.IDLE, State.DONE, State.ERROR):
                with m.If(self.start):
                    m.d.sync += [self.state.eq(State.CLEARING), self.clear.eq(1), wait.eq(0)]
                    m.d.sync += self._early.eq(self.abort)
            with m.Case(State.CLEARING):
                m.d.sync += [wait.eq(wait + 1), settled.eq(0), self._reported.eq(0)]
                m.d.sync += [still.eq(1), waited.eq(0)]
                with m.If(self.abort):
                    m.d.sync += self._early.eq(1)
                with m.If(wait == self.clear_cycles - 1):
                    m.d.sync += [self.state.eq(State.RUNNING), self.clear.eq(0)]
                    m.d.sync += [running.eq(1), self.go.eq(1)]
            with m.Case(State.RUNNING):
                m.d.sync += [still.eq(still + 1), settled.eq(0), wait.eq(0)]
                with m.If(progressed):
                    m.d.sync += still.eq(2)
                with m.If(collector.valid):
                    m.d.sync += [self.state.eq(State.DRAINING), running.eq(0)]
                with m.Elif(self.ended & self.quiet & self.masters_idle & ~arriving):
                    # A hand-over from unit to unit may hide an instruction for a cycle.
                    m.d.sync += settled.eq(settled + 1)
                    with m.If(settled == SETTLE_CYCLES - 1):
                        m.d.sync += [self.state.eq(State.DONE), running.eq(0)]
                        m.d.sync += self.finished.eq(1)
            with m.Case(State.DRAINING):
                drained = self.masters_idle & (settled == SETTLE_CYCLES - 1)
                m.d.sync += [wait.eq(wait + 1), settled.eq(0)]
                with m.If(self.masters_idle):
                    m.d.sync += settled.eq(settled + 1)
                with m.If(drained):
                    m.d.sync += self.state.eq(State.ERROR)
                with m.If(drained | (wait == self.drain_limit - 1)):
                    m.d.sync += [self.failed.eq(~self._reported), self._reported.eq(1)]
        return m
