# SPDX-License-Identifier: Apache-2.0
"""The errors of integer cross-entropy, after NITI: rows of logits in four passes, one divider."""

from typing import TYPE_CHECKING

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from kiwicha.hw.parts.ram import block_ram
from kiwicha.hw.parts.requantize_common import register
from kiwicha.machine.latency import LOSS_LATENCY, LOSS_SPACING

if TYPE_CHECKING:  # Amaranth has no types; to a type checker its enums are the library's
    import enum
else:
    from amaranth.lib import enum

__all__ = ["LOGIT", "CrossEntropyCore", "Pass"]


class Pass(enum.IntEnum, shape=2):
    """What an element of a row is shown for; a row goes through all of them, in this order."""

    MAXIMUM = 0  #: the greatest of the row
    SUM = 1  #: of its exponentials
    DIVIDE = 2  #: an exponential by their sum, and the sum of the quotients
    RESULT = 3


LOGIT = data.StructLayout({"look": Pass, "first": 1, "x": signed(8), "label": 8})
"""An element, whether it is the row's first, and the row's label; x means nothing in the last pass,
the label in the others."""

_LOG2_E = 47274  # log2(e) * 2^15
_EXPONENTS = (-16, 8)  # beyond them the nearest is taken
_FEW = -7  # the greatest one with which e to the x is made by Taylor
_OCTAVES = 10  # below the greatest logit that count
_TAYLOR = 34  # bits of what Taylor gives
_POWER = 17  # bits of a logit times log2 e, at most times 2^8
_QUOTIENT = 12  # bits of an error, 1 being 2^11


class CrossEntropyCore(Component):
    """`golden.niti.cross_entropy_errors`, bit for bit: each element is shown once in every `Pass`.

    An element a cycle; in the pass DIVIDE one every ``spacing`` cycles, and the first RESULT no
    earlier behind the last of these. A row of n elements takes ``n * (3 + spacing)`` cycles, and
    rows follow each other without a pause. There may be pauses anywhere.

    Parameters
    ----------
    classes : the longest row, 2 or more.

    Members
    -------
    exponent : In(8)
        Of the logits, plus 127: that of a slot's scale. Constant from three cycles before a row's
        first element until its last result.
    i : In(stream.Signature(LOGIT, always_ready=True))
    o : Out(stream.Signature(signed(8), always_ready=True))
        An error for each RESULT, ``latency`` cycles later.
    """

    spacing = LOSS_SPACING
    latency = LOSS_LATENCY
    assert 2 * LOSS_SPACING == _QUOTIENT

    def __init__(self, classes: int) -> None:
        self.classes = classes
        super().__init__({
            "exponent": In(8),
            "i": In(stream.Signature(LOGIT, always_ready=True)),
            "o": Out(stream.Signature(signed(8), always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, valid = self.i, Signal(self.latency)
        looks = [i.payload.look, *_later(m, i.payload.look, 4, "look")]
        firsts = [i.payload.first, *_later(m, i.payload.first, 6, "first")]
        kinds = {look: valid[3] & (looks[4] == look) for look in Pass}
        m.d.sync += valid.eq(Cat(i.valid, valid[:3], kinds[Pass.RESULT], valid[4:]))
        greatest = valid[1] & (looks[2] == Pass.MAXIMUM)
        value = self._exponential(m, greatest, firsts[2])

        # Cycle 4: the sum, which divisions find complete.
        total = Signal(_TAYLOR + ceil_log2(self.classes))
        with m.If(kinds[Pass.SUM]):
            m.d.sync += total.eq(Mux(firsts[4], 0, total) + value)
        quotient, done, begins = self._divide(m, value, total, kinds[Pass.DIVIDE], firsts[4])

        # Quotients, and their sum.
        m.submodules.quotients = quotients = block_ram(_QUOTIENT, self.classes)
        write, read = quotients.write_port(), quotients.read_port()
        place, whole = Signal(range(self.classes)), Signal(_QUOTIENT)
        m.d.comb += [
            write.en.eq(done),
            write.addr.eq(Mux(begins, 0, place)),
            write.data.eq(quotient),
        ]
        with m.If(done):
            m.d.sync += [place.eq(write.addr + 1), whole.eq(Mux(begins, 0, whole) + quotient)]

        # Cycle 6: read them, the last one not before it is written. A row's label stays until the
        # next row is through with its divisions.
        label, column = Signal(8), Signal(range(self.classes))
        with m.If(i.valid & (i.payload.look == Pass.RESULT)):
            m.d.sync += label.eq(i.payload.label)
        m.d.comb += read.addr.eq(Mux(firsts[6], 0, column))
        with m.If(valid[5]):
            m.d.sync += column.eq(read.addr + 1)
        is_label = register(m, read.addr == label, "s7_is_label")

        # Cycle 7: off the label's goes the whole, which is not less. Cycle 8: four bits less, and
        # the upper half of them compared with the lower.
        size = register(m, Mux(is_label, whole - read.data, read.data)[:_QUOTIENT], "s8_size")
        negative = register(m, is_label, "s8_negative")
        kept = (size[4:] + (size[2:4] > size[:2]))[:8]
        kept = kept[:7] | kept[7].replicate(7)
        error = register(m, Mux(negative, -kept, kept)[:8], "s9_error")
        m.d.comb += [self.o.valid.eq(valid[-1]), self.o.payload.eq(error.as_signed())]
        return m

    def _exponential(self, m: Module, greatest: Value, first: Value) -> Value:
        """Return g of the element shown four cycles ago; the maximum is made of those that were
        shown two cycles ago, where ``greatest`` says so."""
        x, (low, high) = self.i.payload.x, (127 + bound for bound in _EXPONENTS)
        cut = Mux(self.exponent < low, low, Mux(self.exponent > high, high, self.exponent))
        e = register(m, (cut - 127)[:5].as_signed(), "exponent_cut")
        taylor = register(m, e <= _FEW, "taylor")
        amount = register(m, Mux(e <= _FEW, e[:4], (8 - e)[:4]), "amount")
        bits = {1 - 2 * k: k for k in range(_EXPONENTS[0], _FEW + 1)}
        unit = Cat(e == bits[bit] if bit in bits else Const(0, 1) for bit in range(_TAYLOR))
        unit = register(m, unit, "unit")

        # Cycle 0: one multiplier for both, x log2(e) or x^2.
        factor = Mux(taylor, x, Const(_LOG2_E)).as_signed()
        product = register(m, (x * factor)[:24].as_signed(), "s1_product")
        x = register(m, x, "s1_x")

        # Cycle 1: times 2^e, rounded down; or x 2^(1 - e).
        wide = Mux(taylor, x << 17, product.shift_right(15) << 8)[:25].as_signed()
        shifted = register(m, (wide >> amount)[:25].as_signed(), "s2_shifted")
        square = register(m, product[:15], "s2_square")

        # Cycle 2: how far below the maximum.
        power = shifted[:_POWER].as_signed()
        top = Signal(signed(_POWER))
        with m.If(greatest & (first | (power > top))):
            m.d.sync += top.eq(power)
        drop = register(m, (top - power)[:_POWER], "s3_drop")
        rest = register(m, (shifted + square)[:26].as_signed(), "s3_rest")

        # Cycle 3: 2^(10 - drop) - 1; or with the constant.
        near = ~drop[4:].any()
        ones = Cat(near & (drop[:4] < _OCTAVES - place) for place in range(_OCTAVES))
        return register(m, Mux(taylor, (rest + unit)[:_TAYLOR], ones), "s4_value")

    def _divide(
        self, m: Module, value: Value, total: Value, start: Value, first: Value
    ) -> tuple[Value, Value, Value]:
        """Return the quotient, when there is one, and whether it is the first of its row.

        Division by ``total``, which is not less than ``value`` and stays: two bits a cycle, by how
        many times it is in the rest.
        """
        rest, quotient = Signal(len(total) + 2), Signal(_QUOTIENT)
        left = Signal(range(self.spacing + 1))
        opens, begins, done = Signal(), Signal(), Signal()
        thrice = register(m, total + (total << 1), "thrice")
        kept: Value = rest
        holds: list[Value] = []
        for times, taken in enumerate((total, total << 1, thrice), 1):
            difference = Signal(len(rest) + 1, name=f"rest_less_{times}")
            m.d.comb += difference.eq(rest - taken)
            holds.append(~difference[-1])
            kept = Mux(holds[-1], difference, kept)
        m.d.sync += [
            rest.eq(kept << 2),
            quotient.eq(Cat(holds[2] | holds[0] & ~holds[1], holds[1], quotient)),
            done.eq(left == 1),
            begins.eq(opens),
        ]
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(start):
            m.d.sync += [rest.eq(value << 1), left.eq(self.spacing), opens.eq(first)]
        return quotient, done, begins


def _later(m: Module, value: Value, cycles: int, name: str) -> list[Value]:
    """Return what ``value`` was one to so many cycles ago."""
    return [value := register(m, value, f"{name}_{cycle}") for cycle in range(1, cycles + 1)]
