# SPDX-License-Identifier: Apache-2.0
"""One step of an optimizer for one weight a cycle: the datapath of Cambricon-Q's NDPO."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.update.root import ReciprocalRoot
from kiwicha.hw.update.timed import Pipeline, Pipelined, Timed
from kiwicha.machine.modes import CellFamily
from kiwicha.machine.optimizer import (
    CODE,
    GRADIENT_SHIFTS,
    MOMENT_BITS,
    RATE_BASE,
    SCALE_BASE,
    UPDATE_FIELDS,
)

__all__ = ["CONSTANTS", "OPTIMIZED", "UNOPTIMIZED", "Optimizer"]

CONSTANTS = data.StructLayout({
    name: shape for name, shape in UPDATE_FIELDS.items()
    if name not in (
        "wide", "slots", "scheduled", "reserved0", "count", "state", "gradients", "codes"
    )
})
"""What a step is; as UPDATE has it."""

UNOPTIMIZED = data.StructLayout({
    "w": signed(32), "m": signed(MOMENT_BITS), "v": unsigned(32), "gradient": signed(32),
})

OPTIMIZED = data.StructLayout({
    "w": signed(32), "m": signed(MOMENT_BITS), "v": unsigned(32), "code": signed(8),
    "saturated": 1,
})


class Optimizer(Pipelined, Component):
    """`golden.optimizer`, one weight a cycle, ``latency`` cycles later; no handshake.

    Parameters
    ----------
    multiplier_width, cells : what multiplies, see `PipelinedMultiply`.

    Members
    -------
    constants : In(CONSTANTS)
        Legal ones, which stay while anything is on its way.
    i : In(stream.Signature(UNOPTIMIZED, always_ready=True))
    o : Out(stream.Signature(OPTIMIZED, always_ready=True))
        m and v mean something only where there are any, and ``code`` without ``accumulate``.
    """

    def __init__(
        self, multiplier_width: int = 0, cells: CellFamily = CellFamily.GENERIC
    ) -> None:
        self.multiplier_width = multiplier_width
        self.cells = cells
        super().__init__({
            "constants": In(CONSTANTS),
            "i": In(stream.Signature(UNOPTIMIZED, always_ready=True)),
            "o": Out(stream.Signature(OPTIMIZED, always_ready=True)),
        })

    def _fixed(self, name: str) -> Timed:
        return Timed(Value.cast(self.constants[name]))

    def _build(self, m: Module) -> int:
        """Add the pipeline to ``m``; return its latency."""
        line = Pipeline(m, self.multiplier_width, self.cells)
        w, momentum, second = (Timed(self.i.payload[name], 0) for name in "wmv")
        adding, kept, root = (self._fixed(n) for n in ("accumulate", "momentum", "root"))
        overs: list[Timed] = []

        def note(over: Timed, where: Timed | None = None) -> None:
            flags = [over] if where is None else [over, where]
            overs.append(line.register(f"over_{len(overs)}", lambda *f: Cat(f).all(), *flags))

        a, g = self._gradient(line, w, adding, note)
        momentum, over = self._moment(line, momentum, g)
        note(over, kept)
        t = line.register("t", lambda use, moved, plain: Mux(use, moved, plain), kept, momentum, g)
        second, over = self._second(line, second, g)
        note(over, root)
        divided, over = self._divide(m, line, t, second)
        note(over, root)
        t = line.register("u", lambda use, over, plain: Mux(use, over, plain), root, divided, t)

        step = line.product("rate", t, self._fixed("c5"))
        step = line.shifted("step", step, self._fixed("rate_shift"), RATE_BASE)
        added = line.register(
            "added",
            lambda begin, add, w, a, step: Mux(
                add, Mux(begin, 0, w) + a, w - step
            ).as_signed(),
            self._fixed("begin"), adding, w, a, step,
        )
        w, over = line.saturated("w", added, 32)
        note(over)
        code = line.shifted("code", w, self._fixed("code_shift"))
        code = line.register(
            "code", lambda x: Mux(x > CODE, CODE, Mux(x < -CODE, -CODE, x))[:8], code
        )
        flags = line.register("flags", lambda *f: Cat(f).any(), *overs)
        at = max(each.at or 0 for each in (code, flags))
        made = self.o.payload
        m.d.comb += [
            made.w.eq(line.later(w, at)),
            made.m.eq(line.later(momentum, at)),
            made.v.eq(line.later(second, at)),
            made.code.eq(line.later(code, at)),
            made.saturated.eq(line.later(flags, at)),
        ]
        return at

    def _gradient(
        self, line: Pipeline, w: Timed, adding: Timed, note: Callable[..., None]
    ) -> tuple[Timed, Timed]:
        """Return the gradient, shifted, as an int32, and in its format with the decay."""
        left = -GRADIENT_SHIFTS[0]
        given = self.i.payload.gradient
        raised = Signal(signed(32 + left), name="raised")
        amount = Signal(6, name="gradient_amount")
        line.m.d.comb += [
            raised.eq(Cat(Const(0, left), given).as_signed()),
            amount.eq(self.constants.gradient_shift + left),
        ]
        shifted = line.shifted("gradient", Timed(raised, 0), Timed(amount))
        a, over = line.saturated("gradient", shifted, 32)
        note(over, adding)
        g, over = line.saturated("unscaled", shifted, MOMENT_BITS)
        note(over, Timed(~adding.value))
        decay = line.product("decay", w, self._fixed("c6"))
        decay = line.shifted("decay", decay, self._fixed("decay_shift"), SCALE_BASE)
        total = line.register("decayed", lambda x, y: x + y, g, decay)
        g, over = line.saturated("g", total, MOMENT_BITS)
        note(over, Timed(~adding.value))
        return a, g

    def _moment(self, line: Pipeline, momentum: Timed, g: Timed) -> tuple[Timed, Timed]:
        old = line.product("c1", momentum, self._fixed("c1"))
        new = line.product("c2", g, self._fixed("c2"))
        total = line.register("m_sum", lambda x, y: x + y, old, new)
        return line.saturated("m", line.rounded("m", total, SCALE_BASE), MOMENT_BITS)

    def _second(self, line: Pipeline, second: Timed, g: Timed) -> tuple[Timed, Timed]:
        size = line.register("size", lambda x: abs(x)[:MOMENT_BITS], g)
        square = line.product("square", size, size)
        new = line.product("c4", Timed(square.value[: 2 * MOMENT_BITS - 1], square.at),
                           self._fixed("c4"))
        new = line.shifted("taken", new, self._fixed("second_shift"), SCALE_BASE)
        old = line.rounded("v", line.product("c3", second, self._fixed("c3")), SCALE_BASE)
        total = line.register("v_sum", lambda x, y: x + y, old, new)
        over = line.register("v_over", lambda x: x[32:].any(), total)
        return line.register("v", _limited, total), over

    def _divide(
        self, m: Module, line: Pipeline, t: Timed, second: Timed
    ) -> tuple[Timed, Timed]:
        """Return t over the root of v and epsilon, and whether that saturated."""
        m.submodules.root = root = ReciprocalRoot(self.multiplier_width, self.cells)
        total = line.register(
            "v_epsilon", lambda v, epsilon: v + epsilon, second, self._fixed("epsilon")
        )
        total = line.register("rooted", _limited, total)
        assert total.at is not None
        m.d.comb += root.i.payload.eq(total.value)
        at = total.at + root.latency
        quotient = line.product("divided", t, Timed(root.o.payload.factor, at))
        # By 2^-30, and up by 1 to 16 places.
        places = line.register("down", lambda k: (16 - k)[:4], Timed(root.o.payload.places, at))
        return line.saturated("divided", line.shifted("divided", quotient, places, 14), 32)


def _limited(value: Value) -> Value:
    """Return an unsigned value cut to 32 bits."""
    return Mux(value[32:].any(), (1 << 32) - 1, value[:32])
