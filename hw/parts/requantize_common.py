# SPDX-License-Identifier: Apache-2.0
"""What the requantizer's modes share: payloads, registers, the windowed shift, the clamp.

A mode is a pipeline without clock enable or handshake; the lane around it adds both.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data

__all__ = [
    "REQUANTIZE_INPUT",
    "REQUANTIZE_OUTPUT",
    "Window",
    "clamp",
    "delay",
    "differs",
    "register",
    "shift_window",
]

#: One accumulator and how to requantize it; see ``RequantizeLane`` for the fields.
REQUANTIZE_INPUT = data.StructLayout(
    {
        "acc": signed(32),
        "bias": signed(32),
        "multiplier": unsigned(32),
        "shift": signed(8),
        "zero_point": signed(9),
        "low": signed(9),
        "high": signed(9),
    }
)

#: One result, int8 or uint8 alike.
REQUANTIZE_OUTPUT = data.StructLayout({"value": signed(9)})

#: Result bits above the rounding position: signed 11 bits hold all that is not saturated.
WINDOW = 12


def register(m: Module, value: Value, name: str) -> Value:
    """Return ``value`` one cycle later, of the same shape; its power-up content is never used."""
    stage = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += stage.eq(value)
    return stage


def delay(m: Module, value: Value, cycles: int, name: str) -> Value:
    """Return ``value`` that many cycles later."""
    for cycle in range(cycles):
        value = register(m, value, f"{name}_d{cycle + 1}")
    return value


@dataclass
class Window:
    """A number being shifted right; only the bits that can still reach the result are kept.

    Members
    -------
    bits : the kept bits, signed; at the end the lowest is the rounding (half) bit.
    rest_zero, rest_ones : whether the bits below ``bits`` are all 0 and all 1.
    sign : sign of the whole number.
    overflow : some bit that was dropped above ``bits`` differs from the sign.
    """

    bits: Value
    rest_zero: Value
    rest_ones: Value
    sign: Value
    overflow: Value

    def register(self, m: Module, stage: str) -> "Window":
        """Return the window one cycle later."""
        return Window(**{key: register(m, v, f"{stage}_{key}") for key, v in vars(self).items()})

    def saturated(self) -> Value:
        """Return whether the finished window does not hold the number."""
        return self.overflow | (self.bits[-1] ^ self.sign)

    def increment(self, carry: Value, tie_up: Value) -> Value:
        """Return the bit that rounds the finished window to nearest.

        ``carry`` is 1 if rounding the bits below the rest carries into the rest's lowest bit, so
        that two successive roundings need one adder. ``tie_up`` decides what is then exactly half.
        """
        half = self.bits[0]
        up = half & (~self.rest_zero | carry | tie_up)
        return up | (~half & self.rest_ones & carry & tie_up)


def shift_window(window: Window, amount: Value, step: int, after: int) -> Window:
    """Shift right by ``step`` if ``amount`` (one bit) is set.

    ``after`` is how much the later steps may still shift: all bits above ``WINDOW + after`` are
    dropped, and remembered in ``overflow`` if they are no sign bits.
    """
    bits = window.bits.as_signed()
    width = min(len(bits), WINDOW + after)
    assert len(bits) - width <= step, "a shifted number may lose sign bits only"
    lost = bits[:step]
    return Window(
        bits=Mux(amount, bits.shift_right(step), bits)[:width].as_signed(),
        rest_zero=window.rest_zero & ~(amount & lost.any()),
        rest_ones=window.rest_ones & ~(amount & ~lost.all()),
        sign=window.sign,
        overflow=window.overflow | (~amount & differs(bits[width:], window.sign)),
    )


def differs(bits: Value, sign: Value) -> Value:
    """Return whether any of ``bits`` is not ``sign``."""
    return (bits ^ sign.replicate(len(bits))).any()


def clamp(
    m: Module,
    integer: Value,
    increment: Value,
    saturate: Value,
    negative: Value,
    zero_point: Value,
    low: Value,
    high: Value,
) -> Value:
    """Return ``integer + increment + zero_point`` within ``low`` and ``high``, two cycles later.

    ``integer`` is a signed value of 11 bits. ``saturate`` replaces it by a number beyond all
    bounds, of the sign that ``negative`` tells.
    """
    # The increment rides on the carry input: one adder for rounding and zero point.
    total = Cat(1, integer).as_signed() + Cat(increment, zero_point).as_signed()
    total = register(m, total[1:].as_signed(), "clamp_total")
    saturate = register(m, saturate, "clamp_saturate")
    negative = register(m, negative, "clamp_negative")
    low = register(m, low, "clamp_low")
    high = register(m, high, "clamp_high")
    below = Mux(saturate, negative, total < low)
    # The sign of a difference: a carry chain, without a test for equality behind it.
    above = Mux(saturate, ~negative, (high - total)[-1])
    return register(m, Mux(below, low, Mux(above, high, total[:9].as_signed())), "clamp_value")
