# SPDX-License-Identifier: Apache-2.0
"""Values of a pipeline that know their cycle, so that operands meet without being counted."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.requantize_common import register
from kiwicha.hw.parts.requantize_multiply import PipelinedMultiply
from kiwicha.machine.modes import CellFamily

__all__ = ["Pipeline", "Pipelined", "Timed"]


@dataclass(frozen=True, eq=False)
class Timed:
    """``value`` of what entered ``at`` cycles ago; a constant of the whole run has no ``at``."""

    value: Value
    at: int | None = None


class Pipeline:
    """Adds to ``m`` registers, products and shifts, and the delays that their operands need.

    Nothing stops: a value a cycle. Operands of one step may be of different cycles; the earlier
    ones wait.

    Parameters
    ----------
    multiplier_width, cells : of `PipelinedMultiply`.
    """

    def __init__(self, m: Module, multiplier_width: int, cells: CellFamily) -> None:
        self.m = m
        self.multiplier_width = multiplier_width
        self.cells = cells
        self._waiting: dict[tuple[int, int], Value] = {}
        self._kept: list[Timed] = []

    def later(self, timed: Timed, at: int) -> Value:
        """Return a value as it is in cycle ``at``."""
        if timed.at is None or timed.at == at:
            return timed.value
        key = id(timed), at
        if key not in self._waiting:
            self._kept.append(timed)
            unit = Delay(timed.value.shape(), at - timed.at)
            self.m.submodules[f"delay_{len(self._waiting)}"] = unit
            self.m.d.comb += unit.i.eq(timed.value)
            self._waiting[key] = unit.o
        return self._waiting[key]

    def _together(self, *timed: Timed) -> tuple[int, list[Value]]:
        at = max(each.at for each in timed if each.at is not None)
        return at, [self.later(each, at) for each in timed]

    def register(self, name: str, make: Callable[..., Value], *timed: Timed) -> Timed:
        """Return ``make`` of these values, a cycle after the latest of them."""
        at, values = self._together(*timed)
        return Timed(register(self.m, make(*values), name), at + 1)

    def product(self, name: str, a: Timed, b: Timed) -> Timed:
        """Return ``a * b``, signed; b is unsigned."""
        at, (left, right) = self._together(a, b)
        shape = left.shape()
        unit = PipelinedMultiply(
            shape.width + (not shape.signed), len(right), self.multiplier_width, self.cells
        )
        self.m.submodules[f"multiply_{name}"] = unit
        self.m.d.comb += [unit.a.eq(left), unit.b.eq(right)]
        return Timed(unit.o, at + unit.latency)

    def shifted(self, name: str, value: Timed, amount: Timed, point: int = 0) -> Timed:
        """Return ``value >> (point + amount)`` to nearest, halves up; three cycles."""
        fine = len(amount.value) // 2

        def coarse(x: Value, by: Value) -> Value:
            # The bit that is lost last stays below the point.
            above = x.shift_right(point - 1) if point else x.shift_left(1)
            return above >> Cat(Const(0, fine), by[fine:])

        first = self.register(f"{name}_coarse", coarse, value, amount)
        second = self.register(f"{name}_fine", lambda x, by: x >> by[:fine], first, amount)
        return self.rounded(name, second, 1)

    def rounded(self, name: str, value: Timed, places: int) -> Timed:
        """Return ``value >> places`` to nearest, halves up; one cycle."""
        return self.register(
            f"{name}_rounded", lambda x: x.shift_right(places) + x[places - 1], value
        )

    def saturated(self, name: str, value: Timed, bits: int) -> tuple[Timed, Timed]:
        """Return a signed value cut to so many bits, and whether that changed it; one cycle."""

        def beyond(x: Value) -> Value:
            sign = x[-1]
            return (x[bits - 1 : -1] != sign.replicate(len(x) - bits)).any()

        def cut(x: Value) -> Value:
            limit = Cat((~x[-1]).replicate(bits - 1), x[-1])
            return Mux(beyond(x), limit, x[:bits]).as_signed()

        return (
            self.register(f"{name}_cut", cut, value), self.register(f"{name}_over", beyond, value)
        )


class Pipelined:
    """What a component is that is one pipeline from ``i`` to ``o``: a value a cycle, ``latency``
    cycles later, no handshake. Comes before `Component` among its bases.
    """

    i: stream.Interface
    o: stream.Interface
    _built: tuple[Module, int] | None = None

    @property
    def latency(self) -> int:
        """Cycles from a value to its result; known when the pipeline is built."""
        if self._built is None:
            m = Module()
            self._built = m, self._build(m)
        return self._built[1]

    def elaborate(self, platform: object) -> Module:
        latency = self.latency
        assert self._built is not None
        m, self._built = self._built[0], None
        valid = Signal(latency)
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        m.d.comb += self.o.valid.eq(valid[-1])
        return m

    def _build(self, m: Module) -> int:
        """Add the pipeline to ``m``; return its latency."""
        raise NotImplementedError
