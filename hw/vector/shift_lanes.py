# SPDX-License-Identifier: Apache-2.0
"""VECTOR's mode SHIFT: int32 sums become int8 by a shift that all of a tensor have in common."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.requantize_common import delay, register
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["ShiftLanes", "shift_step"]

_WINDOW = 10  # bits of a quotient that are kept: those of a bound, and one more
_HALF = 16  # bits of one half of what 31 bits of shift drop


def shift_step(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return the sums of one step, and how it is rounded and clamped."""
    words = data.ArrayLayout(signed(32), cfg.requantize_lanes)
    return data.StructLayout({"words": words, "pseudo": 1, "low": signed(9), "high": signed(9)})


class ShiftLanes(Component):
    """``o = clamp(round(word / 2^shift), low, high)``, NITI's (arXiv 2009.13108).

    Rounded half up, or with ``pseudo`` away from zero where the upper half of the dropped bits of
    the magnitude exceeds the lower half (an odd number of bits gives the upper half one more, and
    the lower one a 0 behind it). Shifts of 32 and more leave 0. Exact for all words and shifts,
    with low <= high. A step a cycle; no back-pressure.

    Parameters
    ----------
    cfg : ``requantize_lanes``; ``requantizer`` in ``pipeline`` puts a register behind the shifter.
    latency : cycles from a step to its results, `least` or more.
    least : 3, or 4 with that register.

    Members
    -------
    i : In(stream.Signature(shift_step(cfg), always_ready=True))
    shift : In(8)
        Constant while any step is under way.
    o : Out(stream.Signature(ArrayLayout(8, requantize_lanes), always_ready=True))

    Raises
    ------
    ValueError
        For a latency below `least`.
    """

    def __init__(self, cfg: AcceleratorConfig, latency: int) -> None:
        self.cfg, self.latency = cfg, latency
        self._registered = "requantizer" in cfg.pipeline
        self.least = 3 + self._registered
        if latency < self.least:
            raise ValueError(f"latency is {latency}; legal: {self.least} or more")
        octets = data.ArrayLayout(8, cfg.requantize_lanes)
        super().__init__({
            "i": In(stream.Signature(shift_step(cfg), always_ready=True)),
            "shift": In(8),
            "o": Out(stream.Signature(octets, always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        step, valid = self.i.payload, Signal(self.latency)
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        pseudo = delay(m, step.pseudo, self.least - 2, "pseudo")
        low = delay(m, step.low, self.least - 1, "low")
        high = delay(m, step.high, self.least - 1, "high")
        m.submodules.late = late = Delay(self.o.payload.shape(), self.latency - self.least)
        m.d.comb += [self.o.valid.eq(valid[-1]), self.o.payload.eq(late.o)]
        for lane, word in enumerate(step.words):
            result = self._lane(m, f"lane{lane}", word, pseudo, low, high)
            m.d.comb += late.i[lane].eq(result)
        return m

    def _lane(
        self, m: Module, name: str, word: Value, pseudo: Value, low: Value, high: Value
    ) -> Value:
        """Return a lane's byte, ``least`` cycles after its word."""

        def keep(value: Value, what: str, registered: bool = True) -> Value:
            return register(m, value, f"{name}_{what}") if registered else net(value, what)

        def net(value: Value, what: str) -> Value:
            # A slice of an expression is a copy of it, a slice of a signal is not.
            signal = Signal(value.shape(), name=f"{name}_{what}")
            m.d.comb += signal.eq(value)
            return signal

        # Cycle 1: what is shifted, a magnitude or a number; `fill` is what is above its bits.
        flipped = self.i.payload.pseudo & word[31]
        gone = self.shift[5:].any()
        number = keep(Mux(gone, 0, Mux(flipped, -word, word))[:32], "number")
        fill = keep(word[31] & ~flipped & ~gone, "fill")
        flipped = keep(flipped, "flipped")

        # Cycle 2: the quotient, and the halves of what is dropped, their first bits on top. What
        # is turned out at the bottom comes in at the top.
        shift, turned = self.shift[:5], number
        for bit in range(5):
            turned = net(Mux(shift[bit], turned.rotate_right(1 << bit), turned), f"turned{bit}")
        upper_bits = (shift + 1)[1:]
        upper = Cat(
            turned[31 - place] & (upper_bits > place) for place in reversed(range(_HALF))
        )
        lower = Cat(Const(0, 1), number[: _HALF - 1])
        for bit in range(4):
            moved = (lower << (1 << bit))[:_HALF]
            lower = net(Mux(shift[1 + bit], lower, moved), f"lower{bit}")
        whole = Cat(
            Mux(shift < 32 - place, turned[place], fill) if place else turned[0]
            for place in range(_WINDOW)
        )
        above = Cat(
            (number[place] ^ fill) & (shift <= place - (_WINDOW - 1))
            for place in range(_WINDOW - 1, 32)
        )
        kept = self._registered
        upper, lower = keep(upper, "upper", kept), keep(lower, "lower", kept)
        whole, beyond = keep(whole, "whole", kept), keep(above.any(), "beyond", kept)
        fill, flipped = keep(fill, "fill_late", kept), keep(flipped, "flipped_late", kept)

        # Cycle 3: round, and give a magnitude its sign: -(w + 1) is ~w, and -w is ~w + 1.
        up = Mux(pseudo, upper > lower, upper[-1])
        signed_whole = (whole ^ flipped.replicate(_WINDOW)).as_signed()
        total = Signal(signed(_WINDOW + 1), name=f"{name}_total", reset_less=True)
        m.d.sync += total.eq(signed_whole + (up ^ flipped))
        beyond, negative = keep(beyond, "beyond_late"), keep(fill | flipped, "negative")

        # Cycle 4: clamp.
        below = Mux(beyond, negative, (total - low)[-1])
        over = Mux(beyond, ~negative, (high - total)[-1])
        return keep(Mux(below, low, Mux(over, high, total))[:8], "result")
