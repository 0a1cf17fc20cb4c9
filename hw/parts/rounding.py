# SPDX-License-Identifier: Apache-2.0
"""Rounding of fixed-point magnitudes to int8, in one of five ways, and random words for one."""

from functools import reduce

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.lanes import register
from kiwicha.machine.modes import BlockRounding

__all__ = ["RANDOM", "RandomWord", "Round", "random_key"]

#: What the random words depend on, besides the place of an element.
RANDOM = data.StructLayout({"seed": 32, "step": 32})

_TAPS = 0xEDB88320
_STEPS = 32


class Round(Component):
    """``o = saturate(round(+-value / 2**fraction))``; one result a cycle, two cycles later.

    With d for the bits behind the point: to nearest, and exactly half to even, towards plus
    infinity or away from zero (``HALF_*``); away from zero where the upper half of d's bits exceeds
    the lower half (``PSEUDO``, as NITI does it: an odd number of bits gives the upper half one more
    and the lower one a 0 behind it); away from zero where d, as a fraction of one,
    exceeds ``word / 2**32`` (``LFSR``).

    Parameters
    ----------
    fraction : bits behind the point, 2 to 48.
    rounding : which of them.

    Members
    -------
    value : In(7 + fraction); the magnitude.
    negative : In(1); its sign.
    upper : In(range((fraction + 1) // 2 + 1)); only PSEUDO: bits of the upper half: with so many
        bits behind the point, from the top, that are no padding, half of them, rounded up.
    word : In(32); only LFSR: random.
    o : Out(signed(8)); -128 to 127.
    """

    latency = 2

    def __init__(self, fraction: int, rounding: BlockRounding) -> None:
        if not 2 <= fraction <= 48:
            raise ValueError(f"fraction is {fraction}; legal: 2 to 48")
        self.fraction = fraction
        self.rounding = rounding
        halves = {"upper": In(range((fraction + 1) // 2 + 1))}
        super().__init__({
            "value": In(7 + fraction),
            "negative": In(1),
            **(halves if rounding is BlockRounding.PSEUDO else {}),
            **({"word": In(32)} if rounding is BlockRounding.LFSR else {}),
            "o": Out(signed(8)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.fraction
        dropped, whole = self.value[:size], self.value[size:]
        half, rest = dropped[-1], dropped[:-1].any()
        up: Value
        if self.rounding is BlockRounding.HALF_EVEN:
            up = half & (rest | whole[0])
        elif self.rounding is BlockRounding.HALF_UP:
            up = half & (rest | ~self.negative)
        elif self.rounding is BlockRounding.HALF_AWAY:
            up = half
        elif self.rounding is BlockRounding.PSEUDO:
            upper = Cat(bit & (self.upper >= size - k) for k, bit in enumerate(dropped))
            up = upper > (dropped << self.upper)[:size]
        else:
            random = self.word[-size:] if size <= 32 else Cat(Const(0, size - 32), self.word)
            up = dropped > random

        s1_up = register(m, up, "s1_up")
        s1_whole = register(m, whole, "s1_whole")
        s1_negative = register(m, self.negative, "s1_negative")
        total = (s1_whole + s1_up)[:8]
        # 128 exists as a negative number only.
        result = Mux(s1_negative, (-total)[:8], Mux(total[7], 127, total))
        m.d.comb += self.o.eq(register(m, result[:8].as_signed(), "s2_result"))
        return m


class RandomWord(Component):
    """Random bits for the element at flat ``index``; one word a cycle, two cycles later.

    With A for 32 steps of the Galois LFSR of the CRC-32 polynomial, sums modulo 2^32:
    ``o = A(A(index + key) + rotate(key, 16))``.

    Members
    -------
    key : In(32), from ``random_key``; place : In(32), index + key; both of one cycle.
    o : Out(32).
    """

    latency = 2

    place: In(32)
    key: In(32)
    o: Out(32)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        place = register(m, self.place, "s1_place")
        key = register(m, self.key, "s1_key")
        total = (_advance(m, place, "s1") + key.rotate_left(16))[:32]
        m.d.comb += self.o.eq(_advance(m, register(m, total, "s2_total"), "s2"))
        return m


def random_key(m: Module, seed: Value, step: Value) -> Value:
    """Return the key of a training step: ``A(A(seed) + step)`` with A as for ``RandomWord``.

    Two cycles later.
    """
    total = register(m, (_advance(m, seed, "seed") + step)[:32], "key_total")
    return register(m, _advance(m, total, "key"), "key")


def _advance(m: Module, word: Value, name: str) -> Value:
    # A signal of its own, because every bit of it is used many times.
    wire = Signal(32, name=f"{name}_before")
    m.d.comb += wire.eq(word)
    # The register is linear: every bit after so many steps is a sum of some bits before.
    columns = []
    for bit in range(32):
        state = 1 << bit
        for _ in range(_STEPS):
            state = (state >> 1) ^ (_TAPS if state & 1 else 0)
        columns.append(state)
    rows = [[wire[k] for k in range(32) if columns[k] >> bit & 1] for bit in range(32)]
    return Cat(reduce(lambda a, b: a ^ b, row) for row in rows)
