# SPDX-License-Identifier: Apache-2.0
"""VECTOR's modes MEASURE, QUANTIZE and REAL: dynamic quantization, exact to ONNX Runtime."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.divide import DivideRound
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.float_units import FloatAdd, FloatProduct, IntegerFloat, Narrow, Widen
from kiwicha.hw.parts.lanes import tree, tree_depth
from kiwicha.hw.parts.requantize_common import delay, register
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.narrow import NarrowWriter, answered_write
from kiwicha.hw.vector.real_value import RealValue, narrowed
from kiwicha.hw.vector.settle import Settle
from kiwicha.hw.vector.slots import SETTLED
from kiwicha.hw.vector.statistics_path import counts_member
from kiwicha.machine import latency
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, SLOTS, VECTOR, Engine, ErrorCode, VectorMode
from kiwicha.machine.records import SLOT_LAYOUT

__all__ = ["DynamicPath", "dynamic_step"]

_FIELDS = ("mode", "slot", "target", "settle", "relu", "low", "high", "signal")
_REAL_FIELDS = ("residual", "sums", "function")
_FUNCTION_FIELDS = ("table",)


def dynamic_step(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return the operands of one step, bias and scale as binary32, and where its results go; only
    with ``real.bytes``: slopes, and which second ``operand`` is lane 0's; with
    ``real.functions`` offsets besides."""
    lanes = cfg.requantize_lanes
    numbers = data.ArrayLayout(unsigned(32), lanes)
    real = {"slope": numbers, "operand": range(cfg.real.bytes // 4)}
    more = {"offset": numbers} if cfg.real.functions else {}
    return data.StructLayout({
        "acc": data.ArrayLayout(signed(32), lanes),
        "bias": data.ArrayLayout(unsigned(32), lanes),
        "scale": data.ArrayLayout(unsigned(32), lanes),
        "address": range(cfg.output_bytes),
        "live": range(lanes),
        "last": 1,
        **counts_member(cfg),
        **(real | more if cfg.real else {}),
    })


class DynamicPath(Component):
    """``v = f(f(f(acc) * f(slot scale * scale)) + bias)``, its range, and its quantization.

    A step a cycle, one instruction at a time. MEASURE keeps the range of v (0 is always in it) and,
    asked to settle, sets a slot from it, unless it is not finite; QUANTIZE gives
    ``clamp(rint(f(v / target scale)) + target zero point)`` between low and high, with scale 0
    ``high`` for positive v and else ``low``. In QUANTIZE, v and scales have to be finite. REAL
    gives v in binary32; its steps are four cycles apart. With ``real.bytes`` v is what
    ``RealValue`` makes of it before ``relu`` is looked at.

    Parameters
    ----------
    cfg : ``requantize_lanes``, ``output_bytes``, ``requantize_multiplier_width``, the bus.
    latency, measure_latency : cycles from a step to its write, or to its place in the range.

    Members
    -------
    take : In(1); instruction : In(VECTOR)
        An instruction is taken; not before the one before it is answered.
    i : In(always-ready stream of dynamic_step(cfg))
    o : Out(always-ready stream of answered_write(cfg))
        The results of QUANTIZE and REAL.
    measured : Out(1)
        MEASURE is done; with the signal mask of the instruction, ``signal``.
    error : Out(FaultSignature)
        DYNAMIC_RANGE with the engine's number: MEASURE was to settle a range that is not finite;
        it is never done.
    slots : In(ArrayLayout(SLOT_LAYOUT, SLOTS))
        All slots.
    settled : Out(stream.Signature(SETTLED, always_ready=True))
        What MEASURE makes of one; it is there when MEASURE is done.
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for second operands are taken. Only with ``real.bytes``.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        width, lanes = cfg.requantize_multiplier_width, range(cfg.requantize_lanes)
        self._scales = [FloatProduct(width) for _ in lanes]
        self._products = [FloatProduct(width) for _ in lanes]
        self._aligned = max(IntegerFloat.latency, self._scales[0].latency)
        self._summed = self._aligned + self._products[0].latency
        added = self._summed + FloatAdd.latency
        self._real = RealValue(cfg, added) if cfg.real else None
        self._value = added + (self._real.latency if self._real else 0) + 1
        self.latency = self._value + DivideRound.latency + 2
        self.measure_latency = self._value + 1 + tree_depth(len(lanes)) + 1
        require_stated("QUANTIZE's latency", self.latency, latency.dynamic_latency(cfg))
        require_stated("MEASURE's latency", self.measure_latency, latency.measure_latency(cfg))
        require_stated("a scale's latency", Settle.latency, latency.SETTLE_LATENCY)
        written = stream.Signature(scratchpad_write(cfg), always_ready=True)
        super().__init__({
            "take": In(1),
            "instruction": In(VECTOR),
            "i": In(stream.Signature(dynamic_step(cfg), always_ready=True)),
            "o": Out(stream.Signature(answered_write(cfg), always_ready=True)),
            "measured": Out(1),
            "signal": Out(ENGINES),
            "error": Out(FaultSignature),
            "slots": In(data.ArrayLayout(SLOT_LAYOUT, SLOTS)),
            "settled": Out(stream.Signature(SETTLED, always_ready=True)),
            **({"write": In(written)} if cfg.real else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        names = (*_FIELDS, *(_REAL_FIELDS if self.cfg.real else ()))
        names += _FUNCTION_FIELDS if self.cfg.real.functions else ()
        now = Signal(data.StructLayout({name: VECTOR[name].shape for name in names}))
        with m.If(self.take):
            m.d.sync += [now[name].eq(self.instruction[name]) for name in names]
        x_scale, target = Signal(32), Signal(SLOT_LAYOUT)
        m.d.sync += [x_scale.eq(self.slots[now.slot].scale), target.eq(self.slots[now.target])]
        # Long before the first v.
        m.submodules.widen = widen = Widen()
        m.d.comb += widen.i.eq(target.scale[:31])
        m.d.comb += self.signal.eq(now.signal)
        if self._real is not None:
            m.submodules.real = self._real
            m.d.comb += [
                self._real.write.valid.eq(self.write.valid),
                self._real.write.payload.eq(self.write.payload),
                self._real.adds.eq(now.residual),
                self._real.alone.eq(now.sums),
                self._real.scaled.eq(now.function),
                self._real.place.eq(self.i.payload.operand),
                self._real.slope.eq(self.i.payload.slope),
            ]
            if self.cfg.real.functions:
                m.d.comb += [
                    self._real.functions.eq(now.table),
                    self._real.offset.eq(self.i.payload.offset),
                ]

        step = self.i.payload
        names = ("address", "live", "last", *counts_member(self.cfg))
        place = data.StructLayout({name: step.shape()[name].shape for name in names})
        m.submodules.place = places = Delay(place, self._value)
        m.submodules.behind = behind = Delay(place, self.latency - self._value)
        valid, writes, ready = Signal(self._value), Signal(self.latency - self._value), Signal()
        measures = now.mode == VectorMode.MEASURE
        quantizes = now.mode == VectorMode.QUANTIZE if self.cfg.real else ~measures
        m.d.sync += [
            valid.eq(Cat(self.i.valid, valid)),
            writes.eq(Cat(ready & quantizes, writes)),
        ]
        m.d.comb += [
            *(places.i[name].eq(step[name]) for name, _ in place),
            behind.i.eq(places.o),
            ready.eq(valid[-1]),
            self.o.valid.eq(writes[-1]),
            self.o.payload.write.address.eq(behind.o.address),
            self.o.payload.write.live.eq(behind.o.live),
            self.o.payload.last.eq(behind.o.last),
            *(self.o.payload[name].eq(behind.o[name]) for name in counts_member(self.cfg)),
            self.o.payload.signal.eq(now.signal),
        ]
        highs, lows, reals = [], [], []
        for lane in range(self.cfg.requantize_lanes):
            value = self._lane(m, lane, x_scale, now.relu)
            reals.append(value)
            counts = ready & (places.o.live >= lane)
            size = Mux(counts, value[:32], 0)
            highs.append(register(m, Mux(value[32], 0, size), f"high{lane}"))
            lows.append(register(m, Mux(value[32], size, 0), f"low{lane}"))
            m.submodules[f"divide{lane}"] = divide = DivideRound(wide=True)
            m.d.comb += [divide.a.eq(value[:32]), divide.b.eq(widen.o)]
            # 0 / 0 goes below as well: the runtime's NaN ends there.
            below = value[32] | ~(value[:32].any() | widen.o.any())
            below = delay(m, below, divide.latency, f"below{lane}")
            zero = target.zero_point
            total = Mux(below, zero - divide.o, zero + divide.o).as_signed()
            total = register(m, total, f"total{lane}")
            low, high = now.low[:9].as_signed(), now.high[:9].as_signed()
            result = Mux(total < low, low, Mux(total > high, high, total))[:8]
            m.d.comb += self.o.payload.write.data[lane].eq(register(m, result, f"result{lane}"))
        self._measure(m, now, highs, lows, ready & places.o.last & measures)
        if self._real is not None:
            self._write_reals(m, now, reals, ready, places.o)
        return m

    def _write_reals(
        self, m: Module, now: data.View, values: list, ready: Signal, place: data.View
    ) -> None:
        """Mode REAL: the values themselves, of a zero without its sign."""
        lanes = self.cfg.requantize_lanes
        m.submodules.reals = writer = NarrowWriter(self.cfg, 4 * lanes)
        kept = data.StructLayout({
            name: place.shape()[name].shape for name in ("address", "live", "last")
        })
        m.submodules.real_place = late = Delay(kept, Narrow.latency)
        begun = delay(m, ready & (now.mode == VectorMode.REAL), Narrow.latency, "real_begun")
        for lane, value in enumerate(values):
            number = narrowed(m, value, f"real{lane}")
            special = ~number[:31].any() | number[23:31].all()
            octets = writer.i.payload.data.as_value()[32 * lane : 32 * (lane + 1)]
            m.d.comb += octets.eq(Cat(number[:31], number[31] & ~special))
        m.d.comb += [
            *(late.i[name].eq(place[name]) for name, _ in kept),
            writer.i.valid.eq(begun),
            writer.i.payload.live.eq(Cat(Const(3, 2), late.o.live)),
            *(writer.i.payload[name].eq(late.o[name]) for name in ("address", "last")),
            writer.i.payload.signal.eq(now.signal),
        ]
        with m.If(now.mode == VectorMode.REAL):
            m.d.comb += [
                self.o.valid.eq(writer.o.valid), self.o.payload.eq(writer.o.payload),
            ]

    def _lane(self, m: Module, lane: int, x_scale: Signal, relu: Signal) -> Signal:
        """Return v of a lane, a wide number, ``_value`` cycles later."""
        step = self.i.payload
        m.submodules[f"float{lane}"] = number = IntegerFloat()
        m.submodules[f"scale{lane}"] = scale = self._scales[lane]
        m.submodules[f"product{lane}"] = product = self._products[lane]
        m.submodules[f"add{lane}"] = add = FloatAdd()
        m.submodules[f"bias{lane}"] = bias = Delay(unsigned(32), self._summed)
        m.d.comb += [
            number.i.eq(step.acc[lane]),
            scale.a.eq(x_scale),
            scale.b.eq(step.scale[lane]),
            product.a.eq(delay(m, number.o, self._aligned - number.latency, f"acc{lane}")),
            product.b.eq(delay(m, scale.o, self._aligned - scale.latency, f"by{lane}")),
            bias.i.eq(step.bias[lane]),
            add.a.eq(product.o),
            add.b.eq(bias.o),
        ]
        value, last = Signal(33, name=f"value{lane}", reset_less=True), add.o
        if self._real is not None:
            m.d.comb += self._real.v[lane].eq(add.o)
            last = self._real.o[lane]
        m.d.sync += value.eq(Mux(relu & last[32], 0, last))
        return value

    def _measure(
        self, m: Module, now: data.View, highs: list, lows: list, ended: Signal
    ) -> None:
        """Keep the range, and make a slot of it if asked to."""

        def greater(a: Signal, b: Signal) -> Signal:
            return Mux(a < b, b, a)

        m.submodules.settle = settle = Settle()
        high, low = Signal(32), Signal(32)
        top, bottom = tree(m, highs, greater, "highs"), tree(m, lows, greater, "lows")
        last = delay(m, ended, 2 + tree_depth(len(highs)), "ended")
        with m.If(now.mode == VectorMode.MEASURE):
            m.d.sync += [high.eq(greater(high, top)), low.eq(greater(low, bottom))]
        asked = self.instruction
        with m.If(self.take & asked.begin & (asked.mode == VectorMode.MEASURE)):
            m.d.sync += [high.eq(0), low.eq(0)]
        m.d.comb += [
            settle.high.eq(high),
            settle.low.eq(low),
            settle.start.eq(last & now.settle),
        ]
        m.d.sync += [
            self.measured.eq(settle.done | (last & ~now.settle)),
            self.error.valid.eq(settle.failed),
        ]
        m.d.comb += [
            self.error.payload.code.eq(ErrorCode.DYNAMIC_RANGE),
            self.error.payload.address.eq(Engine.VECTOR),
        ]
        settled = self.settled.payload
        m.d.comb += [
            self.settled.valid.eq(settle.done),
            settled.slot.eq(now.target),
            settled.content.scale.eq(settle.scale),
            settled.content.zero_point.eq(settle.zero),
        ]
