# SPDX-License-Identifier: Apache-2.0
"""What a block is multiplied by: a power of two at once, or a reciprocal after a division."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

__all__ = [
    "FRACTION", "SHIFT_FRACTION", "Reciprocal", "division_cycles", "request_layout",
    "scale_layout",
]

#: Bits behind the point of every factor.
FRACTION = 40

#: Bits behind the point that the greatest shift needs.
SHIFT_FRACTION = 25

_WIDTH = FRACTION + 7


def request_layout(tag: data.Layout) -> data.StructLayout:
    """Return the payload of a block's greatest ``magnitude``, ``free`` or power of two, ``tag``."""
    return data.StructLayout({"magnitude": 32, "free": 1, "tag": tag})


def scale_layout(tag: data.Layout) -> data.StructLayout:
    """Return the payload of a request with its ``shift`` (0 if free) and its ``factor``."""
    fields = {"magnitude": unsigned(32), "free": 1, "tag": tag, "shift": 5, "factor": _WIDTH}
    return data.StructLayout(fields)


def division_cycles(digit: int) -> int:
    """Return the cycles from one division to the next with ``digit`` quotient bits a cycle."""
    return 2 + -(-_WIDTH // digit)


class Reciprocal(Component):
    """``factor = floor(127 * 2^40 / magnitude)`` if ``free``, else ``2^(40 - shift)``.

    ``shift`` is ``max(0, bit length of magnitude - 7)``. A free magnitude of 0 gives factor 0. A
    power of two takes one cycle, one request a cycle. A division takes 2 + ceil(47 / ``digit``)
    cycles; it goes on while the scale before it waits to be taken.

    Parameters
    ----------
    tag : goes along unchanged.
    digit : quotient bits a cycle, 1 to 4.
    free : given, it holds for all requests.

    Members
    -------
    i : In(stream of request_layout(tag)); o : Out(stream of scale_layout(tag)).
    """

    def __init__(self, tag: data.Layout, digit: int = 1, free: bool | None = None) -> None:
        if not 1 <= digit <= 4:
            raise ValueError(f"digit is {digit}; legal: 1 to 4")
        self.digit = digit
        self.free = free
        self.steps = division_cycles(digit) - 2
        self._request = request_layout(tag)
        super().__init__(
            {
                "i": In(stream.Signature(self._request)),
                "o": Out(stream.Signature(scale_layout(tag))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, divides, free_o, put = Signal(self._request), Signal(), Signal(), Signal()
        left = Signal(range(self.steps + 1))
        busy = Signal()
        free = self.i.payload.free if self.free is None else Const(self.free, 1)
        m.d.comb += [
            free_o.eq(~self.o.valid | self.o.ready),
            divides.eq(free & self.i.payload.magnitude.any()),
            self.i.ready.eq(~busy & (free_o | divides)),
        ]

        # Restoring division: quotient bits push the dividend out of one register.
        remainder, shifted = Signal(32), Signal(_WIDTH + -_WIDTH % self.digit)
        rest: Value = remainder
        bits: list[Value] = []
        for k in range(self.digit):
            wide = Signal(33, name=f"wide{k}")
            difference = Signal(34, name=f"difference{k}")
            m.d.comb += [
                wide.eq(Cat(shifted[-1 - k], rest)),
                difference.eq(wide - request.magnitude),
            ]
            bits.insert(0, ~difference[-1])
            rest = Mux(difference[-1], wide[:32], difference[:32])
        with m.If(left.any()):
            m.d.sync += [
                remainder.eq(rest),
                shifted.eq(Cat(bits, shifted)),
                left.eq(left - 1),
            ]

        size = self.i.payload.magnitude
        shift = Signal(5)
        for k in range(7, 32):
            with m.If(size[k]):
                m.d.comb += shift.eq(k - 6)
        power = Cat((shift == FRACTION - k) if k >= FRACTION - 25 else 0 for k in range(_WIDTH))

        with m.If(self.i.valid & self.i.ready):
            m.d.sync += request.eq(self.i.payload)
            with m.If(divides):
                m.d.sync += [
                    busy.eq(1),
                    left.eq(self.steps),
                    remainder.eq(0),
                    shifted.eq(Const(127 << FRACTION, _WIDTH)),
                ]
            with m.Else():
                m.d.comb += put.eq(1)
                m.d.sync += [
                    self.o.payload.shift.eq(Mux(free, 0, shift)),
                    self.o.payload.factor.eq(Mux(free, 0, power)),
                ]
                m.d.sync += self._copy(self.i.payload)
        with m.Elif(busy & ~left.any() & free_o):
            m.d.comb += put.eq(1)
            m.d.sync += [
                busy.eq(0),
                self.o.payload.shift.eq(0),
                self.o.payload.factor.eq(shifted),
            ]
            m.d.sync += self._copy(request)
        with m.If(put):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m

    def _copy(self, request: data.View) -> list:
        fields = ("magnitude", "free", "tag")
        return [getattr(self.o.payload, name).eq(getattr(request, name)) for name in fields]
