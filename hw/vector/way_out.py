# SPDX-License-Identifier: Apache-2.0
"""What happens to single results between VECTOR's lanes and the output buffer: sums, functions."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.vector.function_table import FunctionTable
from kiwicha.hw.vector.modes import Admitted
from kiwicha.hw.vector.narrow import answered_write
from kiwicha.hw.vector.residual import Residual
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode

__all__ = ["WayOut"]


class WayOut:
    """The units that a machine has there, none perhaps, as parts of VECTOR.

    Only instructions with ``residual`` have results that go through the sums; those of others come
    sooner, which is why none of either are under way together. Masked ones are among the others.

    Parameters
    ----------
    cfg : the machine.
    apart : cycles from a step to its results.
    latency : cycles that any result takes.

    Members
    -------
    clamped : 32 bits, on machines that train; sums that were beyond their bounds since reset.
    """

    def __init__(self, cfg: AcceleratorConfig, apart: int) -> None:
        self.cfg = cfg
        self._residual = Residual(cfg, apart) if cfg.residual else None
        self._functions = FunctionTable(cfg, apart) if cfg.functions else None
        self.latency = self._functions.latency if self._functions else 0
        self.clamped: Signal | None = None

    def connect(
        self, m: Module, write: wiring.PureInterface, step: data.View, admitted: Admitted,
        came: tuple[Value, data.View],
    ) -> tuple[Value, data.View]:
        """Send results (valid, write) on their way; return how they leave it.

        Parameters
        ----------
        write : of LOAD; step : just made by the walker; admitted : of what is under way.
        """
        if self._residual is not None:
            came = self._add(m, self._residual, write, step, admitted, came)
        if self._functions is None:
            return came
        unit, valid, result = self._functions, Signal(), Signal(answered_write(self.cfg))
        m.submodules.functions = unit
        asked = Cat(step.function, step.table)
        if self._residual is not None:
            m.submodules.functions_late = late = Delay(len(asked), self._residual.latency)
            m.d.comb += late.i.eq(asked)
            asked = Mux(admitted.residual, late.o, asked)
        m.d.comb += [
            Cat(unit.function, unit.table).eq(asked),
            unit.enable.eq(admitted.mode == VectorMode.REQUANTIZE),
            unit.write.valid.eq(write.valid),
            unit.write.payload.eq(write.payload),
            unit.i.valid.eq(came[0]),
            unit.i.payload.eq(came[1]),
            valid.eq(unit.o.valid),
            result.eq(unit.o.payload),
        ]
        return valid, result

    def _add(
        self, m: Module, unit: Residual, write: wiring.PureInterface, step: data.View,
        admitted: Admitted, came: tuple[Value, data.View],
    ) -> tuple[Value, data.View]:
        """The sums and masks, for instructions that ask for them."""
        adds = admitted.residual
        if self.cfg.training:
            adds = admitted.residual & ~admitted.relu
            self.clamped = clamped = Signal(32, name="clamped_sums")
            flags = Signal(self.cfg.requantize_lanes, name="clamped_lanes")
            m.d.sync += [flags.eq(unit.clamped), clamped.eq(clamped + sum(flags))]
            came = came[0], self._mask(m, unit, admitted.residual & admitted.relu, came[1])
        valid, result = Signal(name="added"), Signal(answered_write(self.cfg), name="sum")
        m.submodules.residual = unit
        m.d.comb += [
            unit.write.valid.eq(write.valid),
            unit.write.payload.eq(write.payload),
            unit.address.eq(step.address),
            unit.table.eq(admitted.sums),
            unit.i.valid.eq(came[0] & adds),
            unit.i.payload.eq(came[1]),
            valid.eq(Mux(adds, unit.o.valid, came[0])),
            result.eq(Mux(adds, unit.o.payload.as_value(), came[1].as_value())),
        ]
        return valid, result

    def _mask(self, m: Module, unit: Residual, masks: Value, came: data.View) -> data.View:
        """Return results of which those are 0 whose operand is not positive; no cycle later."""
        masked = Signal(answered_write(self.cfg), name="masked")
        m.d.comb += masked.eq(came)
        for lane, octet in enumerate(masked.write.data):
            with m.If(masks & ~unit.positive[lane]):
                m.d.comb += octet.eq(0)
        return masked
