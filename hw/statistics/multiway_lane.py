# SPDX-License-Identifier: Apache-2.0
"""One lane of one way of multi-way quantization: its value, and how far that is off."""

from amaranth.hdl import Cat, Const, Module, Mux, Value, signed
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.lanes import register
from kiwicha.hw.parts.rounding import Round
from kiwicha.machine.modes import BlockRounding

__all__ = ["LaneError", "WayLane"]


class WayLane(Component):
    """``o = saturate(round(+-size / 2**shift))`` to ``bits`` bits; 5 cycles, one result a cycle.

    Parameters
    ----------
    bits : of the result, 2 to 8.
    clip : 0 to 7; ``size / 2**shift`` is below ``2**(bits - 1 + clip)``.
    rounding : any but LFSR.

    Members
    -------
    size : In(32); the magnitude, at most 2^31.
    negative : In(1); its sign.
    shift : In(5); 0 to 33 - bits - clip.
    o : Out(signed(8)).
    """

    latency = 5

    size: In(32)
    negative: In(1)
    shift: In(5)
    o: Out(signed(8))

    def __init__(self, bits: int, clip: int, rounding: BlockRounding) -> None:
        self.bits, self.clip, self.rounding = bits, clip, rounding
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Bits before the point that the quotient can have, and bits behind it.
        whole = max(7, self.bits - 1 + self.clip)
        fraction = 33 - self.bits - self.clip
        size, shift = register(m, self.size, "s1_size"), register(m, self.shift, "s1_shift")
        moved = Cat(Const(0, fraction), size) >> Cat(Const(0, 3), shift[3:])
        moved = register(m, moved[: 7 + whole + fraction], "s2_moved")
        used = register(m, shift, "s2_shift")
        moved = register(m, (moved >> used[:3])[: whole + fraction], "s3_moved")
        upper = register(m, (used + 1) >> 1, "s3_upper")
        negative = self.negative
        for k in range(1, 4):
            negative = register(m, negative, f"s{k}_negative")

        m.submodules.round = final = Round(fraction, self.rounding)
        m.d.comb += [
            final.value.eq(moved[: 7 + fraction]),
            final.negative.eq(negative),
        ]
        if self.rounding is BlockRounding.PSEUDO:
            m.d.comb += final.upper.eq(upper)
        over = moved[7 + fraction :].any()
        for k in range(4, 6):
            over = register(m, over, f"s{k}_over")
            negative = register(m, negative, f"s{k}_negative")
        low, high = -1 << (self.bits - 1), (1 << (self.bits - 1)) - 1
        above = (over & ~negative) | (final.o > high)
        below = (over & negative) | (final.o < low)
        m.d.comb += self.o.eq(Mux(above, high, Mux(below, low, final.o)))
        return m


class LaneError(Component):
    """What an element adds to the sums of its way; 4 cycles, one result a cycle.

    x and its quantized value never differ in sign, so magnitudes are enough.

    Members
    -------
    size : In(32); ``|x|``, at most 2^31.
    q : In(signed(8)); the quantized value.
    shift : In(5); ``|q| * 2**shift`` is at most 2^31.
    distance, quantized, cross, square : Out; ``||x| - |q| 2**shift|``, ``|q|``, ``|x| |q|``,
        ``q**2``. What nobody looks at is optimized away.
    """

    latency = 4

    size: In(32)
    q: In(signed(8))
    shift: In(5)
    distance: Out(32)
    quantized: Out(8)
    cross: Out(39)
    square: Out(15)

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def later(value: Value, first: int, last: int, name: str) -> Value:
            for stage in range(first, last + 1):
                value = register(m, value, f"s{stage}_{name}")
            return value

        x = later(self.size, 1, 1, "x")
        q = later(Mux(self.q < 0, -self.q, self.q)[:8], 1, 1, "q")
        shift = later(self.shift, 1, 1, "shift")

        # The shift takes two cycles, because 32 bits of distance come after it.
        y = later((q << Cat(Const(0, 3), shift[3:]))[:32], 2, 2, "coarse")
        y = later((y << later(shift[:3], 2, 2, "fine"))[:32], 3, 3, "y")
        late_x = later(x, 2, 3, "x")
        distance = Mux(late_x < y, y - late_x, late_x - y)[:32]

        low = later(x[:16] * q, 2, 2, "low")
        high = later(x[16:] * q, 2, 2, "high")
        m.d.comb += [
            self.distance.eq(later(distance, 4, 4, "distance")),
            self.quantized.eq(later(q, 2, 4, "q")),
            self.cross.eq(later((low + (high << 16))[:39], 3, 4, "cross")),
            self.square.eq(later((q * q)[:15], 2, 4, "square")),
        ]
        return m
