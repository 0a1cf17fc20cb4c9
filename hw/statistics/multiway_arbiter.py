# SPDX-License-Identifier: Apache-2.0
"""Picks a block's way from its sums: one way after the other, without a division."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import bits_for

from kiwicha.hw.statistics.digit_product import DigitProduct, product_cycles
from kiwicha.hw.statistics.multiway_error import Criterion, sums_layout

__all__ = ["Arbiter", "arbiter_cycles", "choice_layout", "verdict_layout"]

_THRESHOLD_BITS = 17


def verdict_layout(ways: int, block: int, criterion: Criterion | int | None) -> data.StructLayout:
    """Return the payload of a block's ``sums``, and its ``criterion`` where that is not given."""
    tag = {} if criterion is not None else {"criterion": Criterion}
    return data.StructLayout({**tag, "sums": sums_layout(ways, block, criterion)})


def choice_layout(ways: int) -> data.StructLayout:
    """Return the payload of the index of a block's ``way`` and its ``shift``."""
    return data.StructLayout({"way": range(max(ways, 2)), "shift": 5})


def _product_bits(block: int, criterion: Criterion | int | None) -> tuple[int, int]:
    """Return the widths of the widest factors; one bit each where nothing is multiplied."""
    bits = bits_for(block << 38)
    if criterion in (None, Criterion.COSINE):
        return 2 * bits, bits
    if criterion is Criterion.QEM:
        return bits, _THRESHOLD_BITS
    # Never started, so nothing of it is left after synthesis.
    return 1, 1


def arbiter_cycles(ways: int, block: int, criterion: Criterion | int | None) -> int:
    """Return the cycles from one block to the next one at most, if its choice is taken at once."""
    product = 1 + product_cycles(_product_bits(block, criterion)[1])
    scored = 4 * ways + 2 + product * (criterion in (None, Criterion.QEM))
    squared = (2 + product) * ways + 2 * product * (ways - 1) + 2
    return max(scored, squared * (criterion in (None, Criterion.COSINE)))


class Arbiter(Component):
    """Chooses by what ``MultiwayQuantize`` defines, in at most ``cycles`` cycles a block.

    What the ways have in common is left out. Least ``sum (x - y)^2`` is least
    ``sum y^2 - 2 sum x y``; and with ``y = q 2^s`` the powers of two of ``(sum x y)^2 / sum y^2``
    cancel, so that the cosine is compared with sums of q.

    Parameters
    ----------
    ways : how many, at least 1.
    block : elements in the largest block.
    criterion : given, it holds for all blocks.
    threshold : of criterion QEM, 0 to 2^16.

    Members
    -------
    i : In(stream of verdict_layout(...)).
    o : Out(stream of choice_layout(ways)).
    """

    def __init__(
        self, ways: int, block: int, criterion: Criterion | int | None, threshold: int
    ) -> None:
        self.ways, self.block = ways, block
        self.criterion, self.threshold = criterion, threshold
        self.layout = verdict_layout(ways, block, criterion)
        self._product = DigitProduct(*_product_bits(block, criterion))
        super().__init__(
            {
                "i": In(stream.Signature(self.layout)),
                "o": Out(stream.Signature(choice_layout(ways))),
            }
        )

    def _may(self, criterion: Criterion | int) -> bool:
        return self.criterion in (None, criterion)

    @property
    def cycles(self) -> int:
        """``arbiter_cycles``."""
        return arbiter_cycles(self.ways, self.block, self.criterion)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.product = product = self._product
        request, index, take = Signal(self.layout), Signal(range(self.ways)), Signal()
        total, sums = request.sums.total, request.sums.ways[0]
        ways = request.sums.ways.as_value()

        def by(criterion: Criterion | int) -> Value:
            if self.criterion is None:
                return request.criterion == criterion
            return Const(self.criterion is criterion)

        def multiply(a: Value, b: Value, then: str) -> None:
            m.d.comb += [product.start.eq(1), product.a.eq(a), product.b.eq(b)]
            m.next = then

        def following() -> None:
            # The way in hand is always the one at place 0.
            m.d.sync += [ways.eq(ways >> len(sums.as_value())), index.eq(index + 1)]
            with m.If(take):
                m.d.sync += [self.o.payload.way.eq(index), self.o.payload.shift.eq(sums.shift)]
            with m.If(index == self.ways - 1):
                m.next = "END"
            with m.Else():
                m.next = "WAY"

        bits = bits_for(self.block << 63) + 1
        quantized = Signal(len(total))
        square, cross = Signal(bits), Signal(bits)
        score, best = Signal(signed(bits)), Signal(signed(bits))
        limit, passed, fits = Signal(len(total) + _THRESHOLD_BITS), Signal(), Signal()
        first = index == 0
        with m.FSM():
            with m.State("REST"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [request.eq(self.i.payload), index.eq(0), passed.eq(0)]
                with m.If(self.i.valid):
                    m.next = "WAY"
            with m.State("WAY"):
                m.next = "ALIGN"
                if self._may(Criterion.COSINE):
                    with m.If(by(Criterion.COSINE)):
                        multiply(sums.cross, sums.cross, "SQUARE")
                if self._may(Criterion.QEM):
                    with m.If(by(Criterion.QEM) & first):
                        multiply(total, Const(self.threshold), "LIMIT")
            if self._may(Criterion.QEM):
                with m.State("LIMIT"), m.If(product.done):
                    m.d.sync += limit.eq(product.o)
                    m.next = "ALIGN"
            with m.State("ALIGN"):
                m.d.sync += [
                    quantized.eq(sums.quantized << sums.shift),
                    square.eq(sums.square << Cat(Const(0, 1), sums.shift)),
                    cross.eq(sums.cross << sums.shift << 1),
                ]
                m.next = "SCORE"
            with m.State("SCORE"):
                bias = Mux(total < quantized, quantized - total, total - quantized)
                l2 = square.as_signed() - cross.as_signed()
                other = Mux(by(Criterion.L2), l2, bias)
                m.d.sync += score.eq(Mux(by(Criterion.L1), sums.distance, other))
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.comb += [
                    fits.eq(by(Criterion.QEM) & ((score << 16) <= limit)),
                    take.eq(~passed & (first | fits | (score < best))),
                ]
                m.d.sync += passed.eq(passed | fits)
                with m.If(take):
                    m.d.sync += best.eq(score)
                following()
            if self._may(Criterion.COSINE):
                self._cosine(m, sums, first, take, multiply, following)
            with m.State("END"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "REST"
        return m

    def _cosine(
        self,
        m: Module,
        sums: data.View,
        first: Value,
        take: Signal,
        multiply: Callable[[Value, Value, str], None],
        following: Callable[[], None],
    ) -> None:
        """Add the states that compare ``cross^2 / square`` with the best one so far."""
        product = self._product
        power, best_power = Signal(2 * len(sums.cross)), Signal(2 * len(sums.cross))
        best_square = Signal(len(sums.square))
        mine = Signal(len(power) + len(best_square))
        with m.State("SQUARE"), m.If(product.done):
            m.d.sync += power.eq(product.o)
            m.next = "COMPARE"
        with m.State("COMPARE"):
            with m.If(first):
                m.next = "TAKE"
            with m.Else():
                multiply(power, best_square, "MINE")
        with m.State("MINE"), m.If(product.done):
            m.d.sync += mine.eq(product.o)
            m.next = "OTHER"
        with m.State("OTHER"):
            multiply(best_power, sums.square, "TAKE")
        with m.State("TAKE"), m.If(first | product.done):
            m.d.comb += take.eq(first | (mine > product.o))
            with m.If(take):
                m.d.sync += [best_power.eq(power), best_square.eq(sums.square)]
            following()
