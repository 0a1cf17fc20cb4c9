# SPDX-License-Identifier: Apache-2.0
"""Bounds of binary32 values: a beat from LOAD in, every lane's value held between them."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.float_units import INFINITE, Widen
from kiwicha.hw.parts.requantize_common import register
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import BOUNDS_PLACE, LoadTarget

__all__ = ["RealBounds"]


class RealBounds(Component):
    """``min(max(v, low), high)`` of finite v, as `golden.dynamic` has it; others stay.

    Throughput: a value a cycle and lane. Latency: 2 cycles from ``v`` to ``o``. Bounds count 4
    cycles after they are written; until then ``o`` means nothing where ``bounded``. A zero has no
    sign.

    Parameters
    ----------
    cfg : ``requantize_lanes``, the bus.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for bounds (behind the slots) are taken: low (binary32) and high,
        both finite.
    bounded : In(1)
        Of the instruction: else ``o`` is ``v``.
    v, o : In, Out(ArrayLayout(33, lanes))
        Wide numbers.
    """

    latency = 2

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        values = data.ArrayLayout(33, cfg.requantize_lanes)
        super().__init__({
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "bounded": In(1),
            "v": In(values),
            "o": Out(values),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        low, high = (self._bound(m, index, name) for index, name in enumerate(("low", "high")))
        for lane in range(self.cfg.requantize_lanes):
            v = self.v[lane]
            held = self.bounded & (v[23:32] < INFINITE)
            finite = register(m, held, f"held{lane}")
            raised = register(m, Mux(held & _less(v, low), low, v), f"raised{lane}")
            # Where the bounds cross, high has the last word.
            over = finite & _less(high, raised)
            m.d.comb += self.o[lane].eq(register(m, Mux(over, high, raised), f"bounded{lane}"))
        return m

    def _bound(self, m: Module, index: int, name: str) -> Value:
        """Return a bound as a wide number, from registers."""
        asked, beat = self.write.payload, exact_log2(self.cfg.beat_bytes)
        place = asked.address[beat : exact_log2(BOUNDS_PLACE) + 1]
        written = self.write.valid & (asked.target == LoadTarget.DYNAMIC)
        written &= place == BOUNDS_PLACE >> beat
        given = Signal(32, name=name)
        with m.If(written):
            m.d.sync += given.eq(asked.data[32 * index :][:32])
        m.submodules[f"widen_{name}"] = widen = Widen()
        m.d.comb += widen.i.eq(given[:31])
        sign = given[31] & given[:31].any()
        return register(m, Cat(widen.o, sign), f"wide_{name}")


def _less(a: Value, b: Value) -> Value:
    """Return whether one wide number is less than another; zeros have no sign."""
    return Mux(a[32], ~b[32] | (a[:32] > b[:32]), ~b[32] & (a[:32] < b[:32]))
