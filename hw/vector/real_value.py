# SPDX-License-Identifier: Apache-2.0
"""What is done to dynamically quantized values in binary32: slopes, second operands, bounds."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.float_units import INFINITE, FloatAdd, FloatProduct, Narrow
from kiwicha.hw.parts.requantize_common import delay, register
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.addend_memory import AddendMemory
from kiwicha.hw.vector.real_bounds import RealBounds
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import RealFunction
from kiwicha.machine.latency import real_latency

__all__ = ["RealValue", "narrowed"]

_INFINITY = 0x7F800000
_BOUNDED, _SCALED, _GATED = RealFunction.BOUNDED, RealFunction.SCALED, RealFunction.GATED
_NOTHING = 0x80000000
"""-0: what changes no summand."""


def narrowed(m: Module, wide: Value, name: str) -> Value:
    """Return a wide number (`hw.parts.float_units`) as binary32, two cycles later; infinity, with
    its sign, for what is not finite."""
    m.submodules[f"narrow_{name}"] = narrow = Narrow()
    m.d.comb += narrow.i.eq(wide[:32])
    infinite = delay(m, wide[23:32] >= INFINITE, narrow.latency, f"infinite_{name}")
    sign = delay(m, wide[32], narrow.latency, f"sign_{name}")
    number = Signal(unsigned(32), name=f"narrowed_{name}")
    m.d.comb += [
        number[:31].eq(Mux(infinite, _INFINITY, narrow.o)),
        number[31].eq(sign),
    ]
    return number


class RealValue(Component):
    """``f(w * slope if w < 0 and scaled else w) + operand``, ``w`` being v or the operand alone.

    With ``real.functions`` also ``f(w * slope) + offset`` or ``f(v * operand)``, between bounds.

    Throughput: a value a cycle and lane. Latency: ``latency`` cycles from ``v`` to ``o``; operands
    must not be read while they are written.

    Parameters
    ----------
    cfg : ``real.bytes``, ``requantize_lanes``, ``requantize_multiplier_width``, the bus.
    before : cycles from ``place`` and ``slope`` to ``v``.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for second operands are taken.
    adds, alone, scaled : In(1)
        Of the instruction: there is an operand; it stands for v; the slope counts.
    functions : In(3)
        Of the instruction: bits of RealFunction. Only with ``real.functions``.
    place : In(range(real.bytes // 4)); slope : In(ArrayLayout(32, lanes))
        Of lane 0's operand; of each lane.
    offset : In(ArrayLayout(32, lanes))
        Of each lane, with its slope. Only with ``real.functions``.
    v, o : In, Out(ArrayLayout(33, lanes))
        Wide numbers.
    """

    def __init__(self, cfg: AcceleratorConfig, before: int) -> None:
        self.cfg = cfg
        self._before = before
        self._products = [
            FloatProduct(cfg.requantize_multiplier_width) for _ in range(cfg.requantize_lanes)
        ]
        self._chosen = Narrow.latency + 1
        self._scaled = self._chosen + self._products[0].latency + 1
        self.latency = self._scaled + FloatAdd.latency
        self._bounds = RealBounds(cfg) if cfg.real.functions else None
        self.latency += self._bounds.latency if self._bounds else 0
        require_stated("what is done to real values", self.latency, real_latency(cfg))
        values = data.ArrayLayout(33, cfg.requantize_lanes)
        numbers = data.ArrayLayout(32, cfg.requantize_lanes)
        more = {"functions": In(3), "offset": In(numbers)} if cfg.real.functions else {}
        super().__init__({
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "adds": In(1),
            "alone": In(1),
            "scaled": In(1),
            "place": In(range(cfg.real.bytes // 4)),
            "slope": In(numbers),
            "v": In(values),
            "o": Out(values),
            **more,
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.operands = operands = AddendMemory(self.cfg, real=True)
        wiring.connect(m, operands.write, wiring.flipped(self.write))
        m.d.comb += operands.address.eq(self.place)
        last = self.o
        if self._bounds is not None:
            m.submodules.bounds = bounds = self._bounds
            wiring.connect(m, bounds.write, wiring.flipped(self.write))
            m.d.comb += [bounds.bounded.eq(self.functions & _BOUNDED != 0), self.o.eq(bounds.o)]
            last = bounds.v
        for lane, product in enumerate(self._products):
            m.submodules[f"product{lane}"] = product
            m.submodules[f"add{lane}"] = add = FloatAdd()
            m.submodules[f"operand{lane}"] = operand = Delay(
                unsigned(32), self._before + Narrow.latency - operands.latency
            )
            m.submodules[f"late{lane}"] = late = Delay(
                unsigned(32), self._scaled - Narrow.latency
            )
            m.submodules[f"slope{lane}"] = slope = Delay(
                unsigned(32), self._before + self._chosen
            )
            own = narrowed(m, self.v[lane], f"v{lane}")
            chosen = register(m, Mux(self.alone, operand.o, own), f"chosen{lane}")
            kept = delay(m, chosen, product.latency, f"kept{lane}")
            scales, factor = self.scaled & kept[31], slope.o
            summand = Mux(self.adds & ~self.alone, late.o, Const(_NOTHING, 32))
            if self._bounds is not None:
                scales, factor, summand = self._functions(m, lane, scales, factor, operand, late)
            scaled = Mux(scales, product.o, kept)
            m.d.comb += [
                operand.i.eq(operands.octets[lane]),
                late.i.eq(operand.o),
                slope.i.eq(self.slope[lane]),
                product.a.eq(chosen),
                product.b.eq(factor),
                add.a.eq(register(m, scaled, f"scaled{lane}")),
                add.b.eq(summand),
                last[lane].eq(add.o),
            ]
        return m

    def _functions(
        self, m: Module, lane: int, scales: Value, factor: Value, operand: Delay, late: Delay
    ) -> tuple[Value, Value, Value]:
        """Return whether a lane's value is multiplied, by what, and what is added."""
        m.submodules[f"offset{lane}"] = offset = Delay(unsigned(32), self._before + self._scaled)
        m.d.comb += offset.i.eq(self.offset[lane])
        every, gated = (self.functions & bit != 0 for bit in (_SCALED, _GATED))
        beside = register(m, operand.o, f"beside{lane}")
        adds = self.adds & ~self.alone & ~gated
        summand = Mux(adds, late.o, Mux(every, offset.o, Const(_NOTHING, 32)))
        return scales | every | gated, Mux(gated, beside, factor), summand
