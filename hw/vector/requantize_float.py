# SPDX-License-Identifier: Apache-2.0
"""Mode ``onnx``: ONNX Runtime's binary32 requantizer as an integer pipeline.

``rint(clip(float32(acc) * scale, low - zp, high - zp)) + zp`` with every operation rounded to
nearest even, as MLAS computes it on x86-64. All numbers stay in two's complement: rounding to
nearest even is the same there, so no absolute value and no final negation is needed.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.parts.requantize_common import (
    REQUANTIZE_INPUT,
    REQUANTIZE_OUTPUT,
    Window,
    clamp,
    delay,
    differs,
    register,
    shift_window,
)
from kiwicha.hw.parts.requantize_multiply import PipelinedMultiply
from kiwicha.machine.modes import CellFamily

__all__ = ["FloatRequantize"]

# Places by which a number is moved up, by cycle.
_STEPS = ((16,), (8,), (4,), (2,), (1,))
_PAIRS = ((16, 8), (4, 2), (1,))


class FloatRequantize(wiring.Component):
    """Requantize with a binary32 scale; free-running, one result a cycle, ``latency`` cycles later.

    Exact over every int32 accumulator and every positive normal scale. Outside that domain: the
    scale's sign bit is ignored; a zero or denormal scale counts as 0 (the result is the clamped
    zero point); infinity and NaN saturate every non-zero accumulator by its sign.

    Parameters
    ----------
    multiplier_width, target, registered : as for ``RequantizeLane``.

    Members
    -------
    i : In(REQUANTIZE_INPUT); o : Out(REQUANTIZE_OUTPUT).
    """

    i: In(REQUANTIZE_INPUT)
    o: Out(REQUANTIZE_OUTPUT)

    def __init__(
        self,
        multiplier_width: int,
        target: CellFamily,
        registered: bool,
    ) -> None:
        self.multiplier_width = multiplier_width
        self.registered = registered
        self._steps = _STEPS if registered else _PAIRS
        self._multiply = PipelinedMultiply(25, 24, multiplier_width, target)
        super().__init__()

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return 5 + len(self._steps) + self.registered + self._multiply.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiply = multiply = self._multiply

        # Cycle 1: bias. ``distance`` is how far right of the window's lowest place the product has
        # to move: it depends on the scale's exponent and, later, on the accumulator's magnitude.
        number: Value = register(m, (self.i.acc + self.i.bias)[:32].as_signed(), "s1_number")
        distance: Value = register(m, 105 - self.i.multiplier[23:31], "s1_distance")

        # Cycle 2 and following: normalise, until the two top bits differ. A step takes a LUT a bit,
        # two steps in one cycle take four.
        count: list[Value] = []
        for cycle, steps in enumerate(self._steps, start=2):
            moved: Value = number
            for step in steps:
                small = ~differs(moved[31 - step : 31], moved[31])
                shifted = Cat(Const(0, step), moved[: 32 - step]).as_signed()
                moved = Mux(small, shifted, moved)
                count.insert(0, small)
            number = register(m, moved, f"s{cycle}_number")
            count = [register(m, b, f"s{cycle}_count{4 - k}") for k, b in enumerate(count[::-1])]
            count.reverse()
        distance = delay(m, distance, len(self._steps), "distance")

        # Next: round to 24 significant bits. From +2^24 - 1 the sum runs into the sign.
        increment = number[6] & (number[:6].any() | number[7])
        rounded = (number[7:].as_signed() + increment)[:25]
        renormalise = rounded[24] & ~number[31]
        significand = register(
            m, Cat(rounded[:23], rounded[23] | renormalise, number[31]), "s7_significand"
        )
        renormalise = register(m, renormalise, "s7_renormalise")
        distance = register(m, (distance + Cat(count))[:9].as_signed(), "s7_distance")
        fraction = delay(m, self.i.multiplier[:23], 2 + len(self._steps), "s7_fraction")

        # Beside the multiplier. A shift of 15 leaves nothing, so more is as good.
        m.d.comb += [multiply.a.eq(significand.as_signed()), multiply.b.eq(Cat(fraction, 1))]
        distance = (distance - renormalise)[:9].as_signed()
        negligible = ~distance[-1] & distance[4:-1].any()
        waits = multiply.latency - 1
        amount = register(m, distance[:4] | negligible.replicate(4), "s8_amount")
        amount = delay(m, amount, waits, "product_amount")
        saturate = delay(m, register(m, distance[-1], "s8_saturate"), waits, "product_saturate")

        # The product's leading bit is 46 or 47; rounding it to 24 bits adds ``carry`` at bit 23 or
        # 24. Together with the rounding to an integer that is one increment, decided at the end.
        product = multiply.o
        wide = product[48] ^ product[47]
        tail = product[:22].any()
        carry = Mux(
            wide,
            product[23] & (product[22] | tail | product[24]),
            product[22] & (tail | product[23]),
        )
        rest = product[24:37]
        window = Window(
            bits=product[37:49].as_signed(),
            rest_zero=~rest.any() & (wide | ~product[23]),
            rest_ones=rest.all() & (wide | product[23]),
            sign=product[48],
            overflow=Const(0, 1),
        )
        window = shift_window(window, amount[3], 8, 7)
        saturate = saturate & product[46:49].any()
        if self.registered:
            window = window.register(m, "align8")
            carry = register(m, carry, "align8_carry")
            amount = register(m, amount[:3], "align8_amount")
            saturate = register(m, saturate, "align8_saturate")

        window = shift_window(window, amount[2], 4, 3)
        window = shift_window(window, amount[1], 2, 1)
        window = shift_window(window, amount[0], 1, 0).register(m, "align")
        carry = register(m, carry, "align_carry")
        saturate = register(m, saturate, "align_saturate")

        odd = window.bits[1]
        bounds = delay(
            m, Cat(self.i.zero_point, self.i.low, self.i.high), self.latency - 2, "bounds"
        )
        value = clamp(
            m,
            integer=window.bits[1:],
            increment=window.increment(carry, tie_up=odd),
            saturate=saturate,
            negative=window.sign,
            zero_point=bounds[:9].as_signed(),
            low=bounds[9:18].as_signed(),
            high=bounds[18:].as_signed(),
        )
        m.d.comb += self.o.value.eq(value)
        return m
