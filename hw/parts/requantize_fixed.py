# SPDX-License-Identifier: Apache-2.0
"""Modes ``tflite``, ``tflite-single`` and ``shift``: fixed-point requantizers.

The arithmetic is gemmlowp's as TFLite builds it, with two roundings or with one, and a rounding
right shift. Rounding half up needs one bit below the result; the second rounding of ``tflite`` is
merged with the first, so that each mode has a single adder after the shift.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.parts.requantize_common import (
    REQUANTIZE_INPUT,
    REQUANTIZE_OUTPUT,
    WINDOW,
    Window,
    clamp,
    delay,
    differs,
    register,
    shift_window,
)
from kiwicha.hw.parts.requantize_multiply import PipelinedMultiply
from kiwicha.machine.modes import CellFamily, RequantizeMode

__all__ = ["FixedRequantize", "ShiftRequantize"]


class FixedRequantize(wiring.Component):
    """Requantize with a Q0.31 multiplier; free-running, one result a cycle, ``latency`` later.

    Exact over every int32 accumulator, multipliers in [2^30, 2^31) or 0, shifts -31 to 30. Where
    TFLite overflows int32 in ``acc << shift`` the result saturates by the accumulator's sign. In
    ``tflite``, a multiplier with bit 31 set is rounded once, as in ``tflite-single``, which ignores
    that bit. Outside that domain: bits 6 and 7 of the shift are ignored; multipliers below 2^30 are
    exact as long as ``acc << shift`` fits int32, then saturate as if it had no bound.

    Parameters
    ----------
    mode : ``tflite`` or ``tflite-single``.
    multiplier_width, target, registered : as for ``RequantizeLane``.

    Members
    -------
    i : In(REQUANTIZE_INPUT); o : Out(REQUANTIZE_OUTPUT).
    """

    i: In(REQUANTIZE_INPUT)
    o: Out(REQUANTIZE_OUTPUT)

    def __init__(
        self,
        mode: RequantizeMode,
        multiplier_width: int,
        target: CellFamily,
        registered: bool,
    ) -> None:
        if mode not in (RequantizeMode.TFLITE, RequantizeMode.TFLITE_SINGLE):
            raise ValueError(f"mode is {mode.value!r}; legal: 'tflite', 'tflite-single'")
        self.mode = mode
        self.multiplier_width = multiplier_width
        self.registered = registered
        self._multiply = PipelinedMultiply(32, 31, multiplier_width, target)
        super().__init__()

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return 5 + self.registered + self._multiply.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiply = multiply = self._multiply

        # Cycle 1: bias; then the product.
        total = register(m, (self.i.acc + self.i.bias)[:32].as_signed(), "s1_total")
        scale = register(m, self.i.multiplier[:31], "s1_scale")
        m.d.comb += [multiply.a.eq(total), multiply.b.eq(scale)]
        shift = delay(m, self.i.shift[:6], 1 + multiply.latency, "product_shift")
        product = multiply.o

        # The result's half bit is bit 30 - shift of the product. Counted from bit 31 for negative
        # shifts, and from one below bit 0 for the others, its place is ~shift, 0 to 31.
        right = shift[5]
        amount = ~shift[:5]
        sign = product[62]
        places = WINDOW + 31
        window = Window(
            bits=Mux(right, product[31:].as_signed(), Cat(0, product)[:places].as_signed()),
            rest_zero=Const(1, 1),
            rest_ones=Const(1, 1),
            sign=sign,
            overflow=~right & differs(product[places - 1 :], sign),
        )
        # gemmlowp's first rounding, of the product to a multiple of 2^31, may carry into the rest.
        carry = ~right | product[30]
        window = window.register(m, "select")
        amount = register(m, amount, "select_amount")
        carry = register(m, carry, "select_carry")

        window = _shift(m, window, amount, self.registered)
        carry = delay(m, carry, 1 + self.registered, "align_carry")
        if self.mode is RequantizeMode.TFLITE:
            # Half away from zero; with no second rounding ``carry`` makes the half bit decide.
            twice = window.increment(carry, tie_up=~window.sign)
            once = delay(m, self.i.multiplier[31], self.latency - 2, "once")
            increment = Mux(once, window.bits[0], twice)
        else:
            increment = window.bits[0]
        _finish(m, self, window, increment)
        return m


class ShiftRequantize(wiring.Component):
    """``floor(acc / 2^shift + 1/2)``; free-running, one result a cycle, ``latency`` later.

    Exact over every int32 accumulator and shifts 0 to 31; the shift is taken modulo 32, and the
    multiplier is ignored.

    Parameters
    ----------
    registered : as for ``RequantizeLane``.

    Members
    -------
    i : In(REQUANTIZE_INPUT); o : Out(REQUANTIZE_OUTPUT).
    """

    i: In(REQUANTIZE_INPUT)
    o: Out(REQUANTIZE_OUTPUT)

    def __init__(self, registered: bool) -> None:
        self.registered = registered
        super().__init__()

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return 4 + self.registered

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = register(m, (self.i.acc + self.i.bias)[:32].as_signed(), "s1_total")
        amount = register(m, self.i.shift[:5], "s1_amount")
        zero = Const(0, 1)
        window = Window(Cat(0, total).as_signed(), zero, zero, total[31], zero)
        window = _shift(m, window, amount, self.registered)
        _finish(m, self, window, increment=window.bits[0])
        return m


def _shift(m: Module, window: Window, amount: Value, registered: bool) -> Window:
    """Shift ``window`` right by ``amount``, 0 to 31, within one cycle, or two if ``registered``."""
    window = shift_window(window, amount[4], 16, 15)
    window = shift_window(window, amount[3], 8, 7)
    if registered:
        window = window.register(m, "align8")
        amount = register(m, amount[:3], "align8_amount")
    window = shift_window(window, amount[2], 4, 3)
    window = shift_window(window, amount[1], 2, 1)
    return shift_window(window, amount[0], 1, 0).register(m, "align")


def _finish(
    m: Module, unit: FixedRequantize | ShiftRequantize, window: Window, increment: Value
) -> None:
    bounds = delay(m, Cat(unit.i.zero_point, unit.i.low, unit.i.high), unit.latency - 2, "bounds")
    value = clamp(
        m,
        integer=window.bits[1:],
        increment=increment,
        saturate=window.saturated(),
        negative=window.sign,
        zero_point=bounds[:9].as_signed(),
        low=bounds[9:18].as_signed(),
        high=bounds[18:].as_signed(),
    )
    m.d.comb += unit.o.value.eq(value)
