# SPDX-License-Identifier: Apache-2.0
"""The VECTOR engine: accumulators through the requantizer lanes into the output buffer."""

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.delay_line import DelayLine
from kiwicha.hw.parts.engine import EngineSignature
from kiwicha.hw.parts.rounding import RANDOM
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.columns import ColumnPick
from kiwicha.hw.vector.drain import CONSTANTS, DrainWalker, step_layout
from kiwicha.hw.vector.integer_path import IntegerPath
from kiwicha.hw.vector.modes import admit_one_mode, vector_modes
from kiwicha.hw.vector.narrow import answered_write
from kiwicha.hw.vector.output_buffer import OutputBuffer
from kiwicha.hw.vector.parameter_memory import ParameterMemory
from kiwicha.hw.vector.requantize import RequantizeLane
from kiwicha.hw.vector.slot_modes import Operands, Results, SlotModes
from kiwicha.hw.vector.statistics_path import StatisticsPath, count_results, counts_member
from kiwicha.hw.vector.way_out import WayOut
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, STATISTICS_RECORD, VECTOR, VectorMode
from kiwicha.machine.latency import accumulator_latency, residual_latency, vector_latency
from kiwicha.machine.records import PARAMETER_LAYOUT

__all__ = ["VectorEngine"]


def _beside_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return what goes along with a step's values, member by member as the walker has them."""
    kept = ["address", "live", "last", "signal"]
    kept += ["ended", "scale"] if cfg.blocks.channels else []
    shapes = {name: step_layout(cfg)[name].shape for name in kept}
    return data.StructLayout(shapes | counts_member(cfg))


class VectorEngine(Component):
    """Executes VECTOR: for every line, pixel and group of channels, one step through the lanes.

    Throughput: a step a cycle, over the borders of pixels, lines and instructions; an instruction
    in ``interval`` cycles at least. Latency: ``latency`` cycles from an instruction's transfer on
    ``i`` to its ``done``, and one more for every step after the first.

    That is mode REQUANTIZE, or SHIFT. Steps of RAW and REAL take four cycles; blocks of BLOCK have
    pauses behind them (``modes.block_pauses``). Where the mode changes, the engine finishes before
    it goes on. After a fault, a block that is not complete leaves nothing behind. With
    ``statistics.elements`` every instruction is done ``statistics_latency`` cycles later than its
    last byte.

    Parameters
    ----------
    cfg : the machine.
    read_latency : cycles from ``read_entry`` to ``read_data``.
    interval, latency : see above.

    Members
    -------
    i : In(stream.Signature(VECTOR))
        Instructions whose tokens are taken.
    done : Out(stream.Signature(ENGINES, always_ready=True))
        The signal mask of each instruction, in order, when reads see its last byte, and the
        statistics with its results.
    busy : Out(1)
        An instruction is taken and not done.
    error : Out(FaultSignature)
        ILLEGAL_FIELD, SCRATCHPAD_RANGE or DYNAMIC_RANGE with this engine's number. Steps before the
        faulty one are carried out, it and all later ones are not; ``busy`` stays.
    read_entry : Out(range(accumulator_depth))
        Accumulator entry, in every cycle; from a register.
    read_data : In(ArrayLayout(signed(32), columns))
        Its columns, ``read_latency`` cycles later; best from registers.
    stepping : Out(1)
        A step goes to the lanes, for the watchdog.
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for the parameter memory are taken.
    output_enable : In(1); output_address : In(32); output_data : Out(axi_data_width)
        STORE's read of the output buffer, as ``OutputBuffer`` has it.
    slots : Out(ArrayLayout({scale, zero_point}, SLOTS)); slots_record : Out(8 * SLOTS * SLOT_BYTES)
        The slots, and as STORE writes them; only with ``cfg.slots``.
    clamped : Out(32)
        Sums on the way out that were beyond their bounds, since reset; only with ``cfg.training``.
    statistics : Out(STATISTICS_RECORD)
        Only with ``statistics.elements``.
    random : In(RANDOM)
        Only with ``blocks.random``; constant while a program runs, and some cycles before.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._parameters = ParameterMemory(cfg)
        self._modes = vector_modes(cfg)
        self.read_latency = accumulator_latency(cfg)
        self._lanes = [
            RequantizeLane(
                cfg.requantize_mode, cfg.requantize_multiplier_width, cfg.cells,
                "requantizer" in cfg.pipeline,
            )
            for _ in range(cfg.requantize_lanes)
        ]
        self._output = OutputBuffer(cfg)
        self._columns = ColumnPick(cfg)
        self._fetch = self._columns.latency  #: cycles from a step to the lanes
        self.interval = self._fetch + 1
        self._walker = DrainWalker(cfg, self.interval)
        self._statistics = StatisticsPath(cfg) if cfg.statistics.elements else None
        apart = self._fetch + self._lanes[0].latency  # from a step to its results
        self._way_out = WayOut(cfg, apart)
        written = self._output.write_latency
        self.statistics_latency = self._statistics.latency - written if self._statistics else 0
        self.latency = 2 + self._fetch + self._lanes[0].latency + written + self.statistics_latency
        self.latency += self._way_out.latency
        require_stated("VECTOR's latency", self.latency, vector_latency(cfg))
        latency = self._lanes[0].latency
        self._slot_modes = SlotModes(cfg, self._fetch, latency) if cfg.slots else None
        self._beside = _beside_layout(cfg)
        several = len(self._modes) > 1
        self._integers = IntegerPath(cfg, self._beside, self._fetch) if several else None
        #: Instructions in flight at most.
        longest = self.latency + (residual_latency(cfg) if cfg.residual else 0)
        self._most = longest // self.interval + 2
        if self._integers is not None:
            self._most += 2 * self._integers.depth
        ports = {
            "read_entry": Out(range(cfg.accumulator_depth)),
            "read_data": In(data.ArrayLayout(signed(32), cfg.columns)),
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "output_enable": In(1),
            "output_address": In(32),
            "output_data": Out(cfg.axi_data_width),
            **(self._slot_modes.ports if self._slot_modes is not None else {}),
            **({"clamped": Out(32)} if cfg.training else {}),
            **({"statistics": Out(STATISTICS_RECORD)} if self._statistics is not None else {}),
            **({"random": In(RANDOM)} if cfg.blocks.random else {}),
        }
        super().__init__(EngineSignature(VECTOR, ports, {"stepping": Out(1)}))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, fetch = self.cfg, self._fetch
        m.submodules.walker = walker = self._walker
        m.submodules.parameters = parameters = self._parameters
        m.submodules.output = output = self._output
        count = Signal(range(self._most + 1))
        admitted = admit_one_mode(m, cfg, self.i, walker.i, count)
        mode = admitted.mode
        wiring.connect(m, wiring.flipped(self.error), walker.error)
        wiring.connect(m, parameters.write, wiring.flipped(self.write))
        step = walker.o.payload

        # Towards the lanes: the accumulators' columns, their parameters and the constants.
        m.submodules.columns = columns = self._columns
        m.submodules.parameter = parameter = Delay(
            step.parameter.shape(), fetch - parameters.latency
        )
        m.d.comb += [
            self.stepping.eq(walker.o.valid),
            self.read_entry.eq(step.entry),
            columns.group.eq(step.group),
            columns.read_data.eq(self.read_data),
            parameter.i.eq(step.parameter),
            parameters.read_group.eq(parameter.o),
        ]
        closing = walker.o.valid
        if cfg.pooling:
            m.d.comb += columns.opens.eq(step.opens)
            closing = walker.o.valid & step.closes
        started, valid = Signal(fetch), Signal(fetch)
        constants = Signal(CONSTANTS)
        m.d.sync += [
            valid.eq((valid << 1) | closing),
            started.eq((started << 1) | (walker.o.valid & step.first)),
        ]
        # The walker takes no further instruction until they are here.
        with m.If(started[fetch - 2]):
            m.d.sync += constants.eq(walker.constants)

        made, result = Signal(answered_write(cfg)), Signal(answered_write(cfg))
        finished, written, measured = Signal(), Signal(), Signal()
        for index, lane in enumerate(self._lanes):
            m.submodules[f"lane_{index}"] = lane
            m.d.comb += [
                lane.i.valid.eq(valid[-1] & (mode == VectorMode.REQUANTIZE)),
                lane.i.payload.acc.eq(columns.o[index]),
                *(
                    lane.i.payload[name].eq(parameters.data[index][name])
                    for name, _ in PARAMETER_LAYOUT
                ),
                *(lane.i.payload[name].eq(constants[name]) for name, _ in CONSTANTS),
                made.write.data[index].eq(lane.o.payload.value),
            ]

        # Beside them: where the results go.
        beside = self._bring_along(m)
        m.submodules.beside = delay = Delay(beside.shape(), fetch + self._lanes[0].latency)
        m.d.comb += [
            delay.i.eq(beside),
            finished.eq(self._lanes[0].o.valid),
            made.write.address.eq(delay.o.address),
            made.write.live.eq(delay.o.live),
            *(made[name].eq(delay.o[name]) for name in ("last", "signal", *counts_member(cfg))),
        ]
        if self._integers is not None:
            self._integer_modes(m, self._integers, mode, valid[-1], beside, finished, made)
        if self._slot_modes is not None and self._integers is not None:
            operands = [lane.i.payload for lane in self._lanes]
            offsets = (parameters.offsets,) if cfg.real.functions else ()
            real = (step.operand, parameters.slopes, *offsets) if cfg.real else None
            came = Operands(valid[-1], operands, constants, self._integers.sums, beside, real)
            results = Results(finished, measured, made)
            self._slot_modes.connect(m, self, admitted, came, results)
        on_the_way = self._way_out.connect(m, self.write, step, admitted, (finished, made))
        if self._way_out.clamped is not None:
            m.d.comb += self.clamped.eq(self._way_out.clamped)
        m.d.comb += [written.eq(on_the_way[0]), result.eq(on_the_way[1])]
        if self._statistics is not None and self._integers is not None:
            count_results(m, self._statistics, self._integers.sums, mode, written, result)

        # The statistics take longer than the output buffer.
        m.submodules.answers = answers = DelayLine(ENGINES, 2 + self.statistics_latency)
        m.d.comb += [
            answers.i.valid.eq((written & result.last) | measured),
            answers.i.payload.eq(result.signal),
            self.done.valid.eq(answers.o.valid),
            self.done.payload.eq(answers.o.payload),
            self.busy.eq(count != 0),
            output.write.valid.eq(written),
            output.write.payload.eq(result.write),
            output.read_enable.eq(self.output_enable),
            output.read_address.eq(self.output_address),
            self.output_data.eq(output.read_data),
        ]
        m.d.sync += count.eq(count + (self.i.valid & self.i.ready) - self.done.valid)
        return m

    def _bring_along(self, m: Module) -> data.View:
        """Return what of a step goes along with its values."""
        walker, beside = self._walker, Signal(self._beside)
        kept = [name for name, _ in self._beside if name != "counts"]
        m.d.comb += [beside[name].eq(walker.o.payload[name]) for name in kept]
        if self._statistics is not None:
            m.submodules.statistics = path = self._statistics
            m.d.comb += [
                path.take.eq(self.i.valid & self.i.ready),
                path.instruction.eq(self.i.payload),
                path.step.eq(walker.o.valid),
                path.first.eq(walker.o.payload.first),
                path.final.eq(walker.o.payload.final),
                beside.counts.eq(path.counts),
                self.statistics.eq(path.record),
            ]
        return beside

    def _integer_modes(
        self, m: Module, path: IntegerPath, mode: Value, valid: Value, beside: data.View,
        written: Signal, result: data.View,
    ) -> None:
        """Modes RAW and BLOCK."""
        m.submodules.integers = path
        walker, raw = self._walker, mode == VectorMode.RAW
        m.d.comb += [
            path.mode.eq(mode),
            path.begun.eq(walker.o.valid),
            path.beside.eq(beside),
            path.i.valid.eq(valid),
        ]
        for index, lane in enumerate(self._lanes):
            m.d.comb += [
                path.i.payload.acc[index].eq(lane.i.payload.acc),
                path.i.payload.bias[index].eq(lane.i.payload.bias),
            ]
        with m.If(raw | (mode == VectorMode.BLOCK)):
            m.d.comb += [written.eq(path.o.valid), result.eq(path.o.payload)]
        if self.cfg.blocks.channels:
            m.d.comb += walker.hold.eq(path.hold)
        if self.cfg.blocks.random:
            m.d.comb += [
                path.take.eq(self.i.valid & self.i.ready),
                path.instruction.eq(self.i.payload),
                path.final.eq(walker.o.payload.final),
                path.random.eq(self.random),
            ]
