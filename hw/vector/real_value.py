# SPDX-License-Identifier: Apache-2.0
"""What is done to dynamically quantized values in binary32: a slope, a second operand."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.float_units import INFINITE, FloatAdd, FloatProduct, Narrow
from kiwicha.hw.parts.requantize_common import delay, register
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.addend_memory import AddendMemory
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.latency import real_latency

__all__ = ["RealValue", "narrowed"]

_INFINITY = 0x7F800000
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
    place : In(range(real.bytes // 4)); slope : In(ArrayLayout(32, lanes))
        Of lane 0's operand; of each lane.
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
        require_stated("what is done to real values", self.latency, real_latency(cfg))
        values = data.ArrayLayout(33, cfg.requantize_lanes)
        super().__init__({
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "adds": In(1),
            "alone": In(1),
            "scaled": In(1),
            "place": In(range(cfg.real.bytes // 4)),
            "slope": In(data.ArrayLayout(32, cfg.requantize_lanes)),
            "v": In(values),
            "o": Out(values),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.operands = operands = AddendMemory(self.cfg, real=True)
        wiring.connect(m, operands.write, wiring.flipped(self.write))
        m.d.comb += operands.address.eq(self.place)
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
            scaled = Mux(self.scaled & kept[31], product.o, kept)
            summand = Mux(self.adds & ~self.alone, late.o, Const(_NOTHING, 32))
            m.d.comb += [
                operand.i.eq(operands.octets[lane]),
                late.i.eq(operand.o),
                slope.i.eq(self.slope[lane]),
                product.a.eq(chosen),
                product.b.eq(slope.o),
                add.a.eq(register(m, scaled, f"scaled{lane}")),
                add.b.eq(summand),
                self.o[lane].eq(add.o),
            ]
        return m
