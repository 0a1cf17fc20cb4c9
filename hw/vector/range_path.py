# SPDX-License-Identifier: Apache-2.0
"""VECTOR's mode RANGE: the greatest magnitude of a tensor's sums, and the slot that follows."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.lanes import magnitude, register, tree, tree_depth
from kiwicha.hw.parts.requantize_common import delay
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.vector.slots import SETTLED
from kiwicha.machine import latency
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, SLOTS, VECTOR, VectorMode
from kiwicha.machine.records import SLOT_LAYOUT
from kiwicha.machine.shifts import ACTIVATION_BITS, ALL_GONE, BINARY32_BIAS, EXPONENTS

__all__ = ["RangePath", "range_step"]

_FIELDS = ("slot", "target", "settle", "relu", "zero_point", "high", "signal")
_FLOOR = 3  # bits of `scales`: 0, or 1 + a slot
_SETTLE = 4


def range_step(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return the sums of one step, of which lanes 0 to ``live`` count."""
    lanes = cfg.requantize_lanes
    return data.StructLayout({
        "words": data.ArrayLayout(signed(32), lanes), "live": range(lanes), "last": 1,
    })


class RangePath(Component):
    """Keeps the greatest magnitude of all steps, and makes a slot of it as `machine.shifts` says.

    A step a cycle, one instruction at a time; ``latency`` cycles from a step to the range with it.

    Parameters
    ----------
    cfg : ``requantize_lanes``.

    Members
    -------
    take : In(1); instruction : In(VECTOR)
        An instruction is taken, of any mode; not while one of RANGE is not answered.
    i : In(stream.Signature(range_step(cfg), always_ready=True))
        Steps of RANGE alone.
    slots : In(ArrayLayout(SLOT_LAYOUT, SLOTS))
    settled : Out(stream.Signature(SETTLED, always_ready=True))
        The slot that follows; a cycle before ``measured``, or never.
    measured : Out(1); signal : Out(ENGINES)
        The instruction is done, and its signal mask: a cycle after the range is there, or, if it
        settles, `machine.latency.RANGE_SETTLE_LATENCY` cycles later.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.latency = 2 + tree_depth(cfg.requantize_lanes)
        require_stated("RANGE's latency", 1 + self.latency, latency.range_latency(cfg))
        require_stated("a shift's latency", _SETTLE, latency.RANGE_SETTLE_LATENCY)
        super().__init__({
            "take": In(1),
            "instruction": In(VECTOR),
            "i": In(stream.Signature(range_step(cfg), always_ready=True)),
            "slots": In(data.ArrayLayout(SLOT_LAYOUT, SLOTS)),
            "settled": Out(stream.Signature(SETTLED, always_ready=True)),
            "measured": Out(1),
            "signal": Out(ENGINES),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kept = {name: VECTOR[name].shape for name in _FIELDS}
        now = Signal(data.StructLayout({**kept, "floor": _FLOOR}))
        with m.If(self.take):
            m.d.sync += [now[name].eq(self.instruction[name]) for name in _FIELDS]
            m.d.sync += now.floor.eq(self.instruction.scales)

        def greater(a: Value, b: Value) -> Value:
            return Mux(a < b, b, a)

        step = self.i.payload
        sizes = [
            register(m, Mux(self.i.valid & (step.live >= lane), magnitude(word), 0), f"size{lane}")
            for lane, word in enumerate(step.words)
        ]
        greatest = Signal(32)
        m.d.sync += greatest.eq(greater(greatest, tree(m, sizes, greater, "sizes")))
        asked = self.instruction
        with m.If(self.take & asked.begin & (asked.mode == VectorMode.RANGE)):
            m.d.sync += greatest.eq(0)

        ended, settles = Signal(self.latency), Signal(_SETTLE)
        m.d.sync += [
            ended.eq(Cat(self.i.valid & step.last, ended)),
            settles.eq(Cat(ended[-1] & now.settle, settles)),
            self.measured.eq(settles[-1] | (ended[-1] & ~now.settle)),
        ]
        self._settle(m, now, greatest)
        m.d.comb += [self.settled.valid.eq(settles[-1]), self.signal.eq(now.signal)]
        return m

    def _settle(self, m: Module, now: data.View, greatest: Value) -> None:
        """Make a slot of the range, a step a cycle."""
        # Exponents are those of slots that do not change meanwhile: they are there long before.
        before = register(m, self.slots[now.slot].scale[23:31], "before")
        floor = self.slots[(now.floor - 1)[: exact_log2(SLOTS)]]
        least = register(m, floor.scale[23:31], "least")
        offset = now.zero_point[:9].as_signed()
        apart = Mux(now.floor.any(), least - (before + offset), 0)[:11]
        lift = register(m, apart.as_signed(), "lift")

        below = register(m, Mux(greatest.any(), greatest - 1, 0)[:32], "below")
        found: Value = Const(0, 6)
        for place in range(32):
            found = Mux(below[place], place + 1, found)
        length = register(m, found[:6], "length")

        bits = now.high[: ACTIVATION_BITS.bit_length()]
        rest = Mux(length > bits, length - bits, 0)
        rest = Mux(lift > rest, lift, rest)[:10]
        shift = register(m, Mux(now.relu & ~length.any(), ALL_GONE, rest)[:10], "shift")
        low, high = (exponent + BINARY32_BIAS for exponent in EXPONENTS)
        total = (before + offset) + shift
        power = register(m, Mux(total < low, low, Mux(total > high, high, total))[:8], "power")
        settled, shown = self.settled.payload, Mux(shift > ALL_GONE, ALL_GONE, shift)[:6]
        m.d.comb += [
            settled.slot.eq(now.target),
            settled.content.scale.eq(Cat(Const(0, 23), power)),
            settled.content.zero_point.eq(delay(m, shown, 1, "shift")),
        ]
