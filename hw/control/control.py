# SPDX-License-Identifier: Apache-2.0
"""Everything between the registers and the engines' instructions."""

from amaranth.hdl import Cat, Module, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.control.assemble import Assembler
from kiwicha.hw.control.counters import COUNTER_RECORD, Counters
from kiwicha.hw.control.dispatch import Dispatch
from kiwicha.hw.control.engines import machine_engines
from kiwicha.hw.control.fetch import Fetch
from kiwicha.hw.control.issue import Issue
from kiwicha.hw.control.registers import RegisterFile
from kiwicha.hw.control.supervisor import CLEAR_CYCLES, State, Supervisor
from kiwicha.hw.control.tokens import Tokens
from kiwicha.hw.parts.axi import REQUEST, AXI4LiteSignature, read_beat
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.rounding import RANDOM
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, INSTRUCTIONS, Engine, Opcode
from kiwicha.machine.optimizer import RATE_BITS
from kiwicha.machine.register_map import ADDRESS_BITS

__all__ = ["FAULT_SOURCES", "Control"]

FAULT_SOURCES = ENGINES + 2
"""The engines by their number, then the read master and the write master."""


class Control(Component):
    """Registers, program fetch, dispatch, tokens, counters and supervisor.

    Instructions leave with their tokens acquired. ``clear`` resets whatever holds the state of a
    program, here as well as (by whoever connects them) in the engines and the memory port.

    Parameters
    ----------
    cfg : the machine.

    Members
    -------
    s_axil : In(AXI4LiteSignature(12))
        Registers.
    interrupt : Out(1)
        Level; cleared through the registers.
    request, data : Out(stream.Signature(REQUEST)), In(stream.Signature(read_beat(cfg)))
        Program fetch, to and from the read arbiter. ``data`` is always taken.
    load, compute, vector, special, store, update : Out(stream.Signature(isa layout))
        Instructions; ``special`` and ``update`` only if the machine has that engine. What the three
        below say of an engine that it has not is not looked at.
    done : In(stream.Signature(ENGINES, always_ready=True)).array(ENGINES)
        Per engine: the ``signal`` mask of each finished instruction.
    busy : In(ENGINES)
        A bit per engine: something is in flight.
    fault : In(FaultSignature).array(FAULT_SOURCES)
        The masters' faults win over the engines' of the same cycle.
    masters_idle : In(1)
        No bus transaction is open, and none starts by itself.
    read_beat, written_beat, step : In(1)
        Events for the counters, one cycle each.
    progress : In(1)
        Any other sign of life for the watchdog, such as a result that VECTOR writes.
    clear, stop : Out(1)
        Reset of engines and masters; no new bus transactions.
    read_base, read_limit, write_base, write_limit : Out(axi_address_width)
        Grant windows, limits exclusive; constant while a program runs.
    saturated : In(32)
        UPDATE's count, for its register; only with that engine.
    rate : Out(RATE_BITS)
        The register ``update_rate``, only with that engine; constant while a program runs.
    clamped : In(32)
        VECTOR's count, for its register; only on machines that train.
    random : Out(RANDOM)
        Only with ``blocks.random``; constant while a program runs.
    record_enable : In(1); record_index : In(...); record_data : Out(axi_data_width)
        Read of a beat of COUNTER_RECORD, for STORE; the beat comes two cycles later. Whole records
        are read, in order.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.engines = machine_engines(cfg)
        address = cfg.axi_address_width
        super().__init__({
            "s_axil": In(AXI4LiteSignature(ADDRESS_BITS)),
            "interrupt": Out(1),
            "request": Out(stream.Signature(REQUEST)),
            "data": In(stream.Signature(read_beat(cfg))),
            **{
                engine.name.lower(): Out(stream.Signature(INSTRUCTIONS[Opcode[engine.name]]))
                for engine in self.engines
            },
            "done": In(stream.Signature(ENGINES, always_ready=True)).array(ENGINES),
            "busy": In(ENGINES),
            "fault": In(FaultSignature).array(FAULT_SOURCES),
            "masters_idle": In(1),
            "read_beat": In(1),
            "written_beat": In(1),
            "step": In(1),
            "progress": In(1),
            "clear": Out(1),
            "stop": Out(1),
            "read_base": Out(address),
            "read_limit": Out(address),
            "write_base": Out(address),
            "write_limit": Out(address),
            "record_enable": In(1),
            "record_index": In(range(COUNTER_RECORD.size // cfg.axi_data_width)),
            "record_data": Out(cfg.axi_data_width),
            **({"random": Out(RANDOM)} if cfg.blocks.random else {}),
            **({"clamped": In(32)} if cfg.training else {}),
            **({"saturated": In(32), "rate": Out(RATE_BITS)} if cfg.update else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.registers = registers = RegisterFile(self.cfg)
        m.submodules.counters = counters = Counters(self.engines, self.cfg.axi_data_width)
        m.submodules.supervisor = supervisor = Supervisor(
            len(self.engines) + 5, clear_cycles=max(CLEAR_CYCLES, counters.clear_cycles)
        )
        cleared = ResetInserter(supervisor.clear)
        fetch, dispatch = Fetch(self.cfg), Dispatch(self.cfg)
        tokens = Tokens(self.cfg.token_bits, self.engines)
        m.submodules.fetch = cleared(fetch)
        m.submodules.dispatch = cleared(dispatch)
        m.submodules.tokens = cleared(tokens)

        wiring.connect(m, wiring.flipped(self.s_axil), registers.bus)
        wiring.connect(m, wiring.flipped(self.request), fetch.request)
        wiring.connect(m, wiring.flipped(self.data), fetch.data)
        wiring.connect(m, fetch.words, dispatch.i)
        m.d.comb += [
            fetch.go.eq(supervisor.go),
            fetch.address.eq(_joined(registers, "program_address")),
            fetch.length.eq(registers.program_length.value),
            fetch.ended.eq(dispatch.ended),
            fetch.stop.eq(self.stop),
        ]
        assemblers, issues = self._hand_out(m, cleared, dispatch, tokens)
        self._collect_faults(m, supervisor, [tokens.error, dispatch.error, fetch.error])
        self._supervise(m, registers, supervisor, fetch, dispatch, assemblers)
        self._count(m, registers, counters, supervisor, issues)
        for name in ("read_base", "read_limit", "write_base", "write_limit"):
            m.d.comb += getattr(self, name).eq(_joined(registers, name))
        if self.cfg.blocks.random:
            m.d.comb += [
                self.random.seed.eq(registers.random_seed.value),
                self.random.step.eq(registers.random_step.value),
            ]
        if self.cfg.training:
            m.d.comb += registers.sums_clamped.value.eq(self.clamped)
        if self.cfg.update:
            rate = registers.update_rate
            m.d.comb += [
                registers.update_saturated.value.eq(self.saturated),
                self.rate.eq(Cat(rate.factor, rate.shift)),
            ]
        self._report(m, registers, supervisor, fetch)
        return m

    def _hand_out(
        self, m: Module, cleared: ResetInserter, dispatch: Dispatch, tokens: Tokens
    ) -> tuple[list[Assembler], dict[Engine, Issue]]:
        """From words to each engine's instructions, which wait for their tokens."""
        assemblers, issues = [], {}
        for engine in self.engines:
            name, layout = engine.name.lower(), INSTRUCTIONS[Opcode[engine.name]]
            assembler, issue = Assembler(layout), Issue(layout)
            m.submodules[f"assemble_{name}"] = cleared(assembler)
            m.submodules[f"issue_{name}"] = cleared(issue)
            wiring.connect(m, dispatch.o[engine], assembler.i)
            wiring.connect(m, assembler.o, issue.i)
            wiring.connect(m, issue.acquire, tokens.acquire[engine])
            wiring.connect(m, issue.o, wiring.flipped(getattr(self, name)))
            wiring.connect(m, wiring.flipped(self.done[engine]), tokens.release[engine])
            assemblers.append(assembler)
            issues[engine] = issue
        return assemblers, issues

    def _collect_faults(
        self, m: Module, supervisor: Supervisor, own: list[stream.Interface]
    ) -> None:
        """Masters, engines, what is here: each gets a cycle to come from all over the machine."""
        faults = [*self.fault[ENGINES:], *(self.fault[engine] for engine in self.engines)]
        faults += own
        for source, port in zip(faults, supervisor.fault, strict=True):
            m.d.sync += [
                port.valid.eq(source.valid),
                port.payload.code.eq(source.payload.code),
                # No memory address is wider, and no engine number.
                port.payload.address.eq(source.payload.address[: self.cfg.axi_address_width]),
            ]

    def _supervise(
        self,
        m: Module,
        registers: RegisterFile,
        supervisor: Supervisor,
        fetch: Fetch,
        dispatch: Dispatch,
        assemblers: list[Assembler],
    ) -> None:
        """Tell the supervisor what moves and what is quiet, and obey it."""
        instructions = [getattr(self, engine.name.lower()) for engine in self.engines]
        moved = Cat(
            self.read_beat,
            self.written_beat,
            self.step,
            self.progress,
            (self.done[engine].valid for engine in self.engines),
            (port.valid & port.ready for port in instructions),
            fetch.words.valid & fetch.words.ready,
        )
        moving = Signal(len(moved))
        m.d.sync += [
            supervisor.quiet.eq(
                ~fetch.busy
                & dispatch.empty
                & Cat(assembler.empty for assembler in assemblers).all()
                & ~Cat(self.busy[engine] for engine in self.engines).any()
            ),
            supervisor.masters_idle.eq(self.masters_idle),
            moving.eq(moved),
            self.stop.eq(supervisor.stop),
        ]
        m.d.comb += [
            supervisor.start.eq(registers.control.start),
            supervisor.abort.eq(registers.control.abort),
            supervisor.ended.eq(dispatch.ended),
            supervisor.progress.eq(moving.any()),
            supervisor.watchdog_limit.eq(registers.watchdog.value),
            self.clear.eq(supervisor.clear),
        ]

    def _count(
        self,
        m: Module,
        registers: RegisterFile,
        counters: Counters,
        supervisor: Supervisor,
        issues: dict[Engine, Issue],
    ) -> None:
        """Events into the counters, counts out to STORE and to the registers."""
        m.d.comb += [
            # Idle: after reset, which the counts outlive in their memory.
            counters.clear.eq(supervisor.clear | (supervisor.state == State.IDLE)),
            counters.running.eq(supervisor.running),
            counters.read_beat.eq(self.read_beat),
            counters.written_beat.eq(self.written_beat),
            counters.step.eq(self.step),
            counters.busy.eq(self.busy),
            *(counters.stalled[engine].eq(issue.stalled) for engine, issue in issues.items()),
            counters.enable.eq(self.record_enable),
            counters.index.eq(self.record_index),
            self.record_data.eq(counters.data),
            counters.ask.eq(registers.count_ask),
            counters.place.eq(registers.count_place),
            registers.count_there.eq(counters.there),
            registers.count.eq(counters.count),
        ]

    def _report(
        self,
        m: Module,
        registers: RegisterFile,
        supervisor: Supervisor,
        fetch: Fetch,
    ) -> None:
        """What software sees."""
        status, state = registers.status, supervisor.state
        active = Cat(state == s for s in (State.CLEARING, State.RUNNING, State.DRAINING)).any()
        failed = (state == State.DRAINING) | (state == State.ERROR)
        m.d.comb += [
            registers.locked.eq(active),
            status.idle.eq(state == State.IDLE),
            status.running.eq((state == State.CLEARING) | (state == State.RUNNING)),
            status.draining.eq(state == State.DRAINING),
            status.done.eq(state == State.DONE),
            status.error.eq(failed),
            *(
                status[f"{engine.name.lower()}_busy"].eq(self.busy[engine])
                for engine in self.engines
            ),
            status.fetch_busy.eq(fetch.busy),
            status.memory_busy.eq(~self.masters_idle),
            registers.error_code.code.eq(supervisor.error.code),
            Cat(registers.error_address_low.value, registers.error_address_high.value).eq(
                supervisor.error.address
            ),
            registers.interrupt_status.done.eq(supervisor.finished),
            registers.interrupt_status.error.eq(supervisor.failed),
            self.interrupt.eq(registers.interrupt),
        ]


def _joined(registers: RegisterFile, name: str) -> Value:
    """The two halves of an address register as one value, as wide as an address."""
    names = (f"{name}_low", f"{name}_high")
    return Cat(getattr(registers, half).value for half in names if registers.map[half].fields)
