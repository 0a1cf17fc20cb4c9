# SPDX-License-Identifier: Apache-2.0
"""Layer normalization of 8-bit rows in integers, after I-BERT's i-LayerNorm, and without a mean."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.requantize_common import delay, register
from kiwicha.hw.parts.requantize_multiply import PipelinedMultiply
from kiwicha.hw.special.normalize_measure import MEASURE, NormalizeMeasure

__all__ = ["APPLY", "NormalizeCore"]

APPLY = data.StructLayout({"x": signed(9), "gain": signed(32), "offset": signed(32)})
"""An element of a row, as ``MEASURE`` has it, with its gain, -2^23 to 2^23 - 1, and its offset."""

# One width for all devices: what the DSP blocks of an ECP5 take, and less than those of others.
_MULTIPLIER_WIDTH = 18


class NormalizeCore(Component):
    """``golden.normalize`` up to its zero point, bit for bit: rows are measured, then applied to.

    ``o = saturate((((u * gain) >> shift) + offset) >> 16)`` to 16 bits, u the normalized element.

    An element is measured and one is applied to in every cycle; rows of n elements can follow each
    other every n + 72 + s cycles: ``measured`` rises 73 + s cycles after a row's last element (74
    to 97; s as there, small where the row is long and its spread large; with two digits a cycle 50
    + s / 2, rounded down). There are two sets of constants: the next row may be measured as soon
    as ``measured`` is high, while this one is still being applied to. ``apply`` takes elements of
    a row from ``measured`` on, while the next row is measured, and up to ``hold`` cycles after the
    next row's last element.

    Parameters
    ----------
    digits : of roots and quotients a cycle, 1 or 2.

    Members
    -------
    length : In(16), 1 to 4096; shift : In(signed(8)), 0 to 31; epsilon : In(32); uncentred : In(1)
        Constant while anything is measured or on its way.
    measure : In(stream.Signature(MEASURE, always_ready=True))
        Every element of a row. The next row must not begin before ``measured``.
    measured : Out(1)
        The constants of the last measured row are ready (and at reset, when there is none); low
        from the cycle after the first element of the next row on.
    apply : In(stream.Signature(APPLY, always_ready=True))
    o : Out(stream.Signature(signed(16), always_ready=True))
        ``latency`` cycles after ``apply``.
    """

    latency = 14

    length: In(unsigned(16))
    shift: In(signed(8))
    epsilon: In(unsigned(32))
    uncentred: In(1)
    measure: In(stream.Signature(MEASURE, always_ready=True))
    measured: Out(1)
    apply: In(stream.Signature(APPLY, always_ready=True))
    o: Out(stream.Signature(signed(16), always_ready=True))

    def __init__(self, digits: int = 1) -> None:
        self.digits = digits
        self.hold = 64 if digits == 1 else 40
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.row = row = NormalizeMeasure(self.digits)
        m.submodules.scale = scale = PipelinedMultiply(21, 25, _MULTIPLIER_WIDTH)
        m.submodules.amplify = amplify = PipelinedMultiply(23, 24, _MULTIPLIER_WIDTH)
        m.submodules.gain = gain = Delay(24, 3 + scale.latency)
        m.submodules.offset = offset = Delay(signed(32), gain.cycles + amplify.latency + 3)
        assert offset.cycles + 2 == self.latency
        wiring.connect(m, row.i, wiring.flipped(self.measure))
        m.d.comb += [
            row.length.eq(self.length),
            row.epsilon.eq(self.epsilon),
            row.uncentred.eq(self.uncentred),
            self.measured.eq(row.measured),
            gain.i.eq(self.apply.payload.gain),
            offset.i.eq(self.apply.payload.offset),
        ]

        # Cycles 1 and 2: d = n x - S.
        x = self.apply.payload.x
        scaled = register(m, (x * self.length[:13])[:21].as_signed(), "s1_scaled")
        distance = register(m, (scaled - row.total)[:21].as_signed(), "s2_distance")

        # u = (d f) >> (27 - s), uncentred 28 - s, behind a multiplier.
        m.d.comb += [scale.a.eq(distance), scale.b.eq(row.inverse.factor)]
        down = register(m, (24 + self.uncentred - row.inverse.places)[:5], "down")
        unit = register(m, ((scale.o >> 3) >> down)[:23].as_signed(), "unit")

        # p = u gain, made of u (gain + 2^23), for that is not negative.
        m.d.comb += [amplify.a.eq(unit), amplify.b.eq(Cat(gain.o[:23], ~gain.o[23]))]
        excess = delay(m, unit, amplify.latency, "excess")
        high = (amplify.o[23:].as_signed() - excess)[:23]
        product = register(m, Cat(amplify.o[:23], high).as_signed(), "product")

        # The shift in two cycles, then the offset, then as many bits as are wanted.
        coarse = register(m, _right(product, self.shift[3:5], 8), "coarse")
        fine = register(m, _right(coarse, self.shift[:3], 1), "fine")
        total = register(m, (fine + offset.o).shift_right(16), "total")
        fits = (total[15:] == 0) | total[15:].all()
        limit = Cat((~total[-1]).replicate(15), total[-1])
        result = register(m, Mux(fits, total[:16], limit).as_signed(), "result")

        valid = Signal(self.latency)
        m.d.sync += valid.eq(Cat(self.apply.valid, valid))
        m.d.comb += [self.o.valid.eq(valid[-1]), self.o.payload.eq(result)]
        return m


def _right(value: Value, amount: Value, step: int) -> Value:
    """Return signed ``value`` shifted right by ``amount`` times ``step``, in its own width."""
    for place in range(len(amount)):
        value = Mux(amount[place], value.shift_right(step << place), value)
    return value
