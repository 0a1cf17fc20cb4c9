# SPDX-License-Identifier: Apache-2.0
"""VECTOR's modes that read slots or settle them: MEASURE, QUANTIZE and REAL, RANGE and SHIFT."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.requantize_common import register
from kiwicha.hw.vector.dynamic import DynamicPath
from kiwicha.hw.vector.modes import Admitted
from kiwicha.hw.vector.range_path import RangePath
from kiwicha.hw.vector.shift_lanes import ShiftLanes
from kiwicha.hw.vector.slots import Slots
from kiwicha.hw.vector.statistics_path import counts_member
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode

__all__ = ["Operands", "Results", "SlotModes"]


@dataclass(frozen=True)
class Operands:
    """What a step brings to the lanes.

    Members
    -------
    valid : it is there.
    lanes : REQUANTIZE_INPUT of each.
    constants : of its instruction.
    sums : stream of `IntegerPath`; its words and ``live`` are those of the step a cycle before.
    beside : what goes along with a step, as it is made.
    real : second operand of a step, as it is made, and slopes of its lanes, with
        ``real.functions`` their offsets too; None without ``real.bytes``.
    """

    valid: Value
    lanes: list[data.View]
    constants: data.View
    sums: wiring.PureInterface
    beside: data.View
    real: tuple[Value, ...] | None


@dataclass(frozen=True)
class Results:
    """What comes of it: a write is ``finished``, its bytes and where they go are ``made``; or an
    instruction that writes nothing is ``measured``, with the signal mask in ``made``."""

    finished: Signal
    measured: Signal
    made: data.View


class SlotModes:
    """The units of these modes that a machine has, as parts of VECTOR.

    Parameters
    ----------
    cfg : the machine, with ``slots``.
    fetch : cycles from a step to its operands.
    latency : from there to the results of REQUANTIZE, and of SHIFT.
    ports : of VECTOR, what they give to other engines.
    """

    def __init__(self, cfg: AcceleratorConfig, fetch: int, latency: int) -> None:
        self.cfg, self.fetch = cfg, fetch
        self.slots = Slots(cfg)
        self.ports = {
            "slots": Out(self.slots.slots.shape()), "slots_record": Out(self.slots.record.shape())
        }
        self._dynamic = DynamicPath(cfg) if cfg.dynamic else None
        self._range = RangePath(cfg) if cfg.training else None
        self._shift = ShiftLanes(cfg, latency - 1) if cfg.training else None

    def connect(
        self, m: Module, engine: Any, admitted: Admitted, came: Operands, results: Results
    ) -> None:
        """Connect the units with VECTOR's ports and ``results``, which other modes drive too."""
        m.submodules.slots = slots = self.slots
        wiring.connect(m, slots.write, wiring.flipped(engine.write))
        m.d.comb += [engine.slots.eq(slots.slots), engine.slots_record.eq(slots.record)]
        if self._dynamic is not None:
            self._dynamic_modes(m, self._dynamic, engine, admitted, came, results)
        if self._range is not None and self._shift is not None:
            arrived = Signal()
            m.d.sync += arrived.eq(came.valid)
            self._range_mode(m, self._range, engine, admitted, came, results, arrived)
            self._shift_mode(m, self._shift, admitted, came, results, arrived)

    def _dynamic_modes(
        self, m: Module, unit: DynamicPath, engine: Any, admitted: Admitted, came: Operands,
        results: Results,
    ) -> None:
        """Modes MEASURE, QUANTIZE and REAL."""
        mode, beside = admitted.mode, came.beside
        names = ("address", "live", "last", *counts_member(self.cfg))
        shapes = {name: beside.shape()[name].shape for name in names}
        m.submodules.dynamic = unit
        m.submodules.dynamic_beside = delay = Delay(data.StructLayout(shapes), self.fetch)
        m.d.comb += [
            *(delay.i[name].eq(beside[name]) for name in names),
            *(unit.i.payload[name].eq(delay.o[name]) for name in names),
            unit.take.eq(engine.i.valid & engine.i.ready),
            unit.instruction.eq(engine.i.payload),
            unit.slots.eq(self.slots.slots),
        ]
        for index, lane in enumerate(came.lanes):
            m.d.comb += [
                unit.i.payload.acc[index].eq(lane.acc),
                unit.i.payload.bias[index].eq(lane.bias),
                unit.i.payload.scale[index].eq(lane.multiplier),
            ]
        among = (mode == VectorMode.MEASURE) | (mode == VectorMode.QUANTIZE)
        if came.real is not None:
            asked, slopes, *offsets = came.real
            m.submodules.operand = operand = Delay(asked.shape(), self.fetch)
            m.d.comb += [
                operand.i.eq(asked),
                unit.i.payload.operand.eq(operand.o),
                unit.i.payload.slope.eq(slopes),
                *(unit.i.payload.offset.eq(offset) for offset in offsets),
                unit.write.valid.eq(engine.write.valid),
                unit.write.payload.eq(engine.write.payload),
            ]
            among |= mode == VectorMode.REAL
        with m.If(among):
            m.d.comb += [
                unit.i.valid.eq(came.valid),
                self.slots.settled.valid.eq(unit.settled.valid),
                self.slots.settled.payload.eq(unit.settled.payload),
                results.measured.eq(unit.measured),
                results.finished.eq(unit.o.valid),
                results.made.eq(unit.o.payload),
            ]
            with m.If(unit.measured):
                m.d.comb += results.made.signal.eq(unit.signal)
        # Never two faults at once: MEASURE is alone, and does not settle after one of the walker.
        with m.If(unit.error.valid):
            m.d.comb += [engine.error.valid.eq(1), engine.error.payload.eq(unit.error.payload)]

    def _range_mode(
        self, m: Module, unit: RangePath, engine: Any, admitted: Admitted, came: Operands,
        results: Results, arrived: Value,
    ) -> None:
        """Mode RANGE."""
        m.submodules.range = unit
        m.submodules.range_last = last = Delay(1, self.fetch + 1)
        ranges = admitted.mode == VectorMode.RANGE
        m.d.comb += [
            last.i.eq(came.beside.last),
            unit.take.eq(engine.i.valid & engine.i.ready),
            unit.instruction.eq(engine.i.payload),
            unit.slots.eq(self.slots.slots),
            unit.i.valid.eq(arrived & ranges),
            unit.i.payload.words.eq(came.sums.payload.words),
            unit.i.payload.live.eq(came.sums.payload.live),
            unit.i.payload.last.eq(last.o),
        ]
        with m.If(ranges):
            m.d.comb += [
                self.slots.settled.valid.eq(unit.settled.valid),
                self.slots.settled.payload.eq(unit.settled.payload),
                results.measured.eq(unit.measured),
                results.made.signal.eq(unit.signal),
            ]

    def _shift_mode(
        self, m: Module, unit: ShiftLanes, admitted: Admitted, came: Operands, results: Results,
        arrived: Value,
    ) -> None:
        """Mode SHIFT: its results take as long as those of REQUANTIZE, and go where these go."""
        m.submodules.shift = unit
        constants, step, shifts = came.constants, unit.i.payload, admitted.mode == VectorMode.SHIFT
        # The target is that of all steps under way.
        m.d.sync += unit.shift.eq(self.slots.slots[admitted.target].zero_point)
        m.d.comb += [
            unit.i.valid.eq(arrived & shifts),
            step.words.eq(came.sums.payload.words),
            step.pseudo.eq(register(m, constants.zero_point[0], "pseudo")),
            *(step[name].eq(register(m, constants[name], name)) for name in ("low", "high")),
        ]
        with m.If(shifts):
            m.d.comb += [
                results.finished.eq(unit.o.valid), results.made.write.data.eq(unit.o.payload)
            ]
