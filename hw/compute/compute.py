# SPDX-License-Identifier: Apache-2.0
"""The COMPUTE engine: activation scratchpad through the array into the accumulators."""

from typing import Any, NamedTuple

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.compute.accumulator import Accumulators, control_layout
from kiwicha.hw.compute.activation_feed import ActivationFeed
from kiwicha.hw.compute.activation_scratchpad import ActivationScratchpad, byte_write_port
from kiwicha.hw.compute.address_generator import STEP, AddressGenerator
from kiwicha.hw.compute.line_align import LineAlign
from kiwicha.hw.compute.systolic import SystolicArray
from kiwicha.hw.compute.weight_loader import WeightLoader
from kiwicha.hw.compute.weight_scratchpad import WeightScratchpad
from kiwicha.hw.parts.delay_line import DelayLine
from kiwicha.hw.parts.engine import EngineSignature
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.parts.writes import scratchpad_write, weight_write
from kiwicha.machine import isa
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SLOTS
from kiwicha.machine.latency import compute_latency, instruction_gap, pass_interval
from kiwicha.machine.records import SLOT_LAYOUT

__all__ = ["ComputeEngine"]


class _Source(NamedTuple):
    """Steps and tiles as they come from the loops."""

    valid: Value
    step: Any
    tile_valid: Value
    tile: Value
    result: Value

    @classmethod
    def of(cls, generator: AddressGenerator) -> "_Source":
        """Return what a generator makes."""
        result = generator.result if generator.depthwise else Const(1)
        tile = generator.tile
        return cls(generator.o.valid, generator.o.payload, tile.valid, tile.payload, result)

    def later(self, m: Module, cycle: int) -> "_Source":
        """Return the same a cycle later."""
        made = _Source(
            Signal(name=f"step_valid_{cycle}"), Signal(STEP, name=f"step_{cycle}"),
            Signal(name=f"tile_valid_{cycle}"), Signal(len(self.tile), name=f"tile_{cycle}"),
            Signal(name=f"result_{cycle}"),
        )
        m.d.sync += [after.eq(before) for after, before in zip(made, self, strict=True)]
        return made


class ComputeEngine(Component):
    """Executes COMPUTE instructions: a vector a cycle, no gaps within a pass.

    A pass is what levels 0 to 2 visit with one weight tile. The weights of a tile flow into the
    array just ahead of its first vector, so no time is spent on loading them. Cycles from the
    first vector of a pass to that of the next: ``max(steps of the pass, interval, rows field)``.
    From the last vector of an instruction to the first of the next: ``gap`` at best, or what its
    last, short pass is stretched to. ``latency`` cycles after ``i`` becomes valid in an idle
    engine the first vector enters the array; ``drain`` cycles after the last vector did, ``done``
    reports.

    An instruction stays on ``i`` until all its steps are made; then the source has to have the
    next one ready. After a fault the engine does nothing more until reset, ``busy`` stays high.

    Parameters
    ----------
    cfg : the machine.

    Members
    -------
    i : In(stream.Signature(COMPUTE))
        Instructions whose tokens are acquired; ``wait`` is ignored.
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats for the activation scratchpad, other targets ignored; from a register.
    weight_write : In(stream.Signature(weight_write(cfg), always_ready=True))
        Into the weight scratchpad, before the instruction that reads it is at ``i``: the first row
        is read a cycle later at the earliest, a write is there after ``write_latency`` (3 at the
        most), LOAD's ``done`` comes a cycle after it, and from there to ``i`` tokens take 2.
    read_entry, read_data : In(range(accumulator_depth)), Out(ArrayLayout(signed(32), columns))
        Accumulators of an entry, ``read_latency`` cycles later; of the half not in use.
    slots : In(ArrayLayout(SLOT_LAYOUT, SLOTS))
        The slots of dynamic quantization; only with ``dynamic``. That of an instruction is read in
        its second cycle.
    done : Out(stream.Signature(ENGINES, always_ready=True))
        ``signal`` of an instruction when its last accumulator is written, in order.
    busy : Out(1)
        An instruction is begun and not done.
    stepping : Out(1)
        A vector enters the array in this cycle.
    error : Out(FaultSignature)
        ILLEGAL_FIELD before any effect; SCRATCHPAD_RANGE for a weight tile or an accumulator
        entry, of which nothing is written.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._array = SystolicArray(
            cfg.rows, cfg.columns, multiplier=cfg.cells, depthwise=cfg.depthwise
        )
        self._accumulators = Accumulators(cfg)
        self._activation = ActivationScratchpad(cfg)
        self._feed = ActivationFeed(
            cfg.rows, self._activation.read_latency, depthwise=cfg.depthwise
        )
        self._weight = WeightScratchpad(cfg)
        self._loader = WeightLoader(
            depth := cfg.weight_bytes // cfg.weight_pitch,
            cfg.columns,
            tile_bits=exact_log2(depth) + 1,
            bytes_after=self._weight.read_latency,
        )
        # Cycles from a tile's first weight row to its first vector; the tile is known a cycle
        # before the vector's position is.
        ahead = 1 + self._feed.latency - self._loader.latency
        assert ahead >= self._array.switch_after
        hazard = self._accumulators.hazard
        self.drain = self._array.latency + cfg.columns + hazard - 1
        self.gap = max(self._feed.gap, hazard)
        self.interval = max(self.gap + 2, self._array.reload_after + ahead, hazard)
        self.read_latency = self._accumulators.read_latency
        self._generator = AddressGenerator(
            cfg.rows,
            self.interval,
            self.gap,
            cfg.dynamic,
            cfg.depthwise,
            address_bits=exact_log2(cfg.activation_bytes),
            entry_bits=exact_log2(cfg.accumulator_depth) + 1,
            row_bits=self._loader.tile_bits,
            registered="address" in cfg.pipeline,
            tags=bool(cfg.tags),
        )
        self.latency = self._generator.latency + self._feed.latency
        self.latency += LineAlign.latency if cfg.tags else 0
        require_stated("COMPUTE's gap", self.gap, instruction_gap(cfg) + 1)
        require_stated("COMPUTE's interval", self.interval, pass_interval(cfg))
        require_stated("COMPUTE's latency", self.latency + self.drain, compute_latency(cfg))
        ports = {
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "weight_write": In(stream.Signature(weight_write(cfg), always_ready=True)),
            **byte_write_port(cfg),
            "read_entry": In(exact_log2(cfg.accumulator_depth)),
            "read_data": Out(self._accumulators.signature.members["read_data"].shape),
            **({"slots": In(data.ArrayLayout(SLOT_LAYOUT, SLOTS))} if cfg.dynamic else {}),
        }
        super().__init__(EngineSignature(isa.COMPUTE, ports, {"stepping": Out(1)}))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.generator = generator = self._generator
        m.submodules.activation = activation = self._activation
        m.submodules.weight = weight = self._weight
        m.submodules.feed = feed = self._feed
        m.submodules.loader = loader = self._loader
        m.submodules.array = array = self._array
        m.submodules.accumulators = accumulators = self._accumulators
        wiring.connect(m, wiring.flipped(self.i), generator.i)
        wiring.connect(m, wiring.flipped(self.weight_write), weight.write)
        if self.cfg.interleave:
            wiring.connect(m, wiring.flipped(self.byte_write), activation.byte_write)
        fields, source = self.i.payload, _Source.of(generator)
        if self.cfg.tags:
            fields, source = self._aligned(m, source)
        step = source.step

        written = self.write.payload
        m.d.comb += [
            activation.write.valid.eq(
                self.write.valid & (written.target == isa.LoadTarget.ACTIVATION)
            ),
            activation.write.payload.address.eq(written.address),
            activation.write.payload.data.eq(written.data),
        ]

        # A step's position; its bytes come `feed.bytes_after` cycles later, then its operands.
        m.d.comb += [
            activation.address.eq(generator.o.payload.address),
            feed.begin.eq(source.valid & step.begin),
            *([] if self.cfg.tags else [feed.bytes.eq(activation.lanes)]),
            *(feed.position[name].eq(step[name]) for name in ("y", "x", "y_limit", "x_limit")),
            *(feed.operand[name].eq(fields[name]) for name in feed.operand.shape().members),
            loader.tile.valid.eq(source.tile_valid),
            loader.tile.payload.eq(source.tile),
            *(loader.operand[name].eq(fields[name]) for name in loader.operand.shape().members),
            weight.row.eq(loader.row),
            loader.bytes.eq(weight.lanes),
            array.weight.valid.eq(loader.o.valid),
            array.weight.payload.eq(loader.o.payload),
        ]

        if self.cfg.dynamic:
            with m.If(fields.dynamic):
                m.d.comb += feed.operand.activation_zero.eq(self.slots[fields.slot].zero_point)

        live = self._guard(m, generator, source, loader)
        entering, switch = Signal(feed.latency), Signal(feed.latency)
        m.d.sync += [
            entering.eq((entering << 1) | live),
            switch.eq((switch << 1) | step.switch),
        ]
        m.d.comb += [
            array.i.valid.eq(entering[-1]),
            array.i.payload.lanes.eq(feed.lanes),
            array.i.payload.switch.eq(switch[-1]),
            self.stepping.eq(entering[-1]),
        ]

        if self.cfg.depthwise:
            m.d.comb += [
                feed.filter.eq(fields.filter),
                array.i.payload.filter.eq(feed.filtered),
                array.i.payload.down.eq(feed.down),
            ]

        # Where its sums go travels beside a vector.
        layout = control_layout(self.cfg.accumulator_depth, self.cfg.depthwise)
        kept = {"result": source.result} if self.cfg.depthwise else {}
        m.submodules.beside = beside = DelayLine(layout, feed.latency + array.latency)
        m.d.comb += [
            beside.i.valid.eq(live),
            *(
                beside.i.payload[name].eq(kept[name] if name in kept else step[name])
                for name in layout.members
            ),
            accumulators.psum.eq(array.psum),
            accumulators.read_entry.eq(self.read_entry),
            self.read_data.eq(accumulators.read_data),
        ]
        wiring.connect(m, beside.o, accumulators.control)
        wiring.connect(m, accumulators.done, wiring.flipped(self.done))

        # Instructions follow each other every `interval` cycles at best.
        flying = Signal(range((self.latency + self.drain) // self.interval + 3))
        m.d.sync += flying.eq(flying + generator.started - self.done.valid)
        m.d.comb += self.busy.eq(flying.any())
        return m

    def _aligned(self, m: Module, source: "_Source") -> tuple[data.View, "_Source"]:
        """Bring lanes to one unit between the scratchpad and the feed; return the fields and steps
        as much later as that takes."""
        write, step, asked = self.write.payload, source.step, self.i.payload
        beat, activation = self.cfg.beat_bytes, self._activation
        m.submodules.align = align = LineAlign(
            self.cfg.rows, beat, self.cfg.activation_bytes // beat, activation.read_latency
        )
        exponents = align.write.payload.exponents.as_value()
        m.d.comb += [
            align.write.valid.eq(self.write.valid & (write.target == isa.LoadTarget.TAGS)),
            align.write.payload.line.eq(write.address),
            exponents.eq(write.data),
            align.address.eq(step.address),
            align.begin.eq(source.valid & step.begin),
            align.on.eq(asked.aligned),
            align.unit.eq(asked.unit),
            align.bytes.eq(activation.lanes),
            self._feed.bytes.eq(align.lanes),
        ]
        names = {*self._feed.operand.shape().members, *self._loader.operand.shape().members}
        names |= {"filter", "dynamic", "slot"}
        held = data.StructLayout({
            name: shape for name, shape in isa.COMPUTE.members.items() if name in names
        })
        fields, late = Signal(held), source
        m.d.comb += [fields[name].eq(asked[name]) for name in held.members]
        for cycle in range(1, 1 + align.latency):
            now, fields = fields, Signal(held, name=f"fields_{cycle}")
            m.d.sync += fields.eq(now)
            late = late.later(m, cycle)
        return fields, late

    def _guard(
        self, m: Module, generator: AddressGenerator, source: "_Source", loader: WeightLoader
    ) -> Signal:
        """Return whether the generator's step is to have effect; report the first fault."""
        halted = Signal()
        outside = Signal()
        live = Signal()
        fault = Signal()
        beyond = source.step.entry >= self.cfg.accumulator_depth
        if self.cfg.depthwise:
            beyond &= source.result
        m.d.comb += [
            outside.eq(source.valid & (loader.fault | beyond)),
            live.eq(source.valid & ~outside & ~halted),
            generator.stop.eq(halted),
            fault.eq((outside | generator.illegal) & ~halted),
            self.error.payload.address.eq(isa.Engine.COMPUTE),
        ]
        m.d.sync += [
            self.error.valid.eq(fault),
            self.error.payload.code.eq(
                Mux(
                    generator.illegal,
                    isa.ErrorCode.ILLEGAL_FIELD,
                    isa.ErrorCode.SCRATCHPAD_RANGE,
                )
            ),
        ]
        with m.If(fault):
            m.d.sync += halted.eq(1)
        return live
