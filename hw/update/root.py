# SPDX-License-Identifier: Apache-2.0
"""The reciprocal of a square root: a table, and two steps of Newton's method."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.update.timed import Pipeline, Pipelined, Timed
from kiwicha.machine.modes import CellFamily
from kiwicha.machine.optimizer import ROOT_TABLE

__all__ = ["ROOT", "ReciprocalRoot"]

ROOT = data.StructLayout({"factor": unsigned(31), "places": unsigned(5)})
"""``factor * 2^places / 2^30`` is the reciprocal root of v / 2^32."""

_THREE = 3 << 30


class ReciprocalRoot(Pipelined, Component):
    """`golden.optimizer.inverse_root`, one a cycle, ``latency`` cycles later; no handshake.

    Parameters
    ----------
    multiplier_width, cells : what multiplies, see `PipelinedMultiply`.

    Members
    -------
    i : In(stream.Signature(unsigned(32), always_ready=True)).
    o : Out(stream.Signature(ROOT, always_ready=True)).
    """

    def __init__(
        self, multiplier_width: int = 0, cells: CellFamily = CellFamily.GENERIC
    ) -> None:
        self.multiplier_width = multiplier_width
        self.cells = cells
        super().__init__({
            "i": In(stream.Signature(unsigned(32), always_ready=True)),
            "o": Out(stream.Signature(ROOT, always_ready=True)),
        })

    def _build(self, m: Module) -> int:
        """Add the pipeline to ``m``; return its latency."""
        line = Pipeline(m, self.multiplier_width, self.cells)
        n, places = self._normalize(line, Timed(self.i.payload, 0))
        table = Array(Const(entry, 10) for entry in ROOT_TABLE)
        entry = line.register("entry", lambda x: table[x[24:]], n)

        # The first step has a factor of ten bits, y = entry 2^20.
        square = line.product("square", entry, entry)
        scaled = line.product("scaled", n, Timed(square.value[:20], square.at))
        rest = line.register("rest", lambda x: (_THREE - (x >> 20))[:33].as_signed(), scaled)
        better = line.product("better", rest, entry)
        y = line.register("y", lambda x: x[11:42], better)

        square = line.product("square_2", y, y)
        scaled = line.product("scaled_2", n, Timed(square.value[30:62], square.at))
        rest = line.register("rest_2", lambda x: (_THREE - (x >> 30))[:33].as_signed(), scaled)
        better = line.product("better_2", rest, y)
        at = better.at
        assert at is not None
        m.d.comb += [
            self.o.payload.factor.eq(better.value[31:62]),
            self.o.payload.places.eq(line.later(places, at)),
        ]
        return at

    def _normalize(self, line: Pipeline, v: Timed) -> tuple[Timed, Timed]:
        """Return v without its leading pairs of zeros, and one more than those; 0 is as 1."""
        pairs: list[tuple[Timed, int]] = []
        # Four halvings of what may be zero, two a cycle.
        value = line.register("given", lambda x: x | (x == 0), v)
        for width in (16, 8, 4, 2):
            def empty(x: Value, bits: int = width) -> Value:
                return ~x[-bits:].any()

            def moved(x: Value, bits: int = width) -> Value:
                return Mux(~x[-bits:].any(), x << bits, x)[:32]

            pairs.append((line.register(f"empty_{width}", empty, value), width // 2))
            value = line.register(f"moved_{width}", moved, value)

        def count(*flags: Value) -> Value:
            return Cat(reversed(flags)) + 1

        return value, line.register("places", count, *(flag for flag, _ in pairs))
