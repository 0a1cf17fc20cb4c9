# SPDX-License-Identifier: Apache-2.0
"""Picks a block's way from its sums: one way after the other, without a division."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import bits_for

from kiwicha.hw.statistics.digit_product import DigitProduct, product_cycles
from kiwicha.hw.statistics.multiway_error import sums_layout
from kiwicha.machine.modes import BlockCriterion

__all__ = ["Arbiter", "arbiter_cycles", "choice_layout"]

_THRESHOLD_BITS = 17


def choice_layout(ways: int) -> data.StructLayout:
    """Return the payload of the index of a block's ``way`` and its ``shift``."""
    return data.StructLayout({"way": range(max(ways, 2)), "shift": 5})


def _product_bits(block: int, criterion: BlockCriterion) -> tuple[int, int]:
    """Return the widths of the widest factors; one bit each where nothing is multiplied."""
    bits = bits_for(block << 38)
    if criterion is BlockCriterion.COSINE:
        return 2 * bits, bits
    if criterion is BlockCriterion.QEM:
        return bits, _THRESHOLD_BITS
    # Never started, so nothing of it is left after synthesis.
    return 1, 1


def arbiter_cycles(ways: int, block: int, criterion: BlockCriterion) -> int:
    """Return the cycles from one block to the next one at most, if its choice is taken at once."""
    product = 1 + product_cycles(_product_bits(block, criterion)[1])
    scored = 4 * ways + 2 + product * (criterion is BlockCriterion.QEM)
    squared = (2 + product) * ways + 2 * product * (ways - 1) + 2
    return squared if criterion is BlockCriterion.COSINE else scored


class Arbiter(Component):
    """Chooses by what ``MultiwayQuantize`` defines, in at most ``cycles`` cycles a block.

    What the ways have in common is left out. Least ``sum (x - y)^2`` is least
    ``sum y^2 - 2 sum x y``; and with ``y = q 2^s`` the powers of two of ``(sum x y)^2 / sum y^2``
    cancel, so that the cosine is compared with sums of q.

    Parameters
    ----------
    ways : how many, at least 1.
    block : elements in the largest block.
    criterion : what the best way is.
    threshold : of criterion QEM, 0 to 2^16.

    Members
    -------
    i : In(stream of sums_layout(ways, block, criterion)).
    o : Out(stream of choice_layout(ways)).
    """

    def __init__(
        self, ways: int, block: int, criterion: BlockCriterion, threshold: int
    ) -> None:
        self.ways, self.block = ways, block
        self.criterion, self.threshold = criterion, threshold
        self.layout = sums_layout(ways, block, criterion)
        self._product = DigitProduct(*_product_bits(block, criterion))
        super().__init__(
            {
                "i": In(stream.Signature(self.layout)),
                "o": Out(stream.Signature(choice_layout(ways))),
            }
        )

    @property
    def cycles(self) -> int:
        """``arbiter_cycles``."""
        return arbiter_cycles(self.ways, self.block, self.criterion)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.product = self._product
        request, index, take = Signal(self.layout), Signal(range(self.ways)), Signal()
        sums, ways = request.ways[0], request.ways.as_value()

        def multiply(a: Value, b: Value, then: str) -> None:
            product = self._product
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

        first = index == 0
        with m.FSM():
            with m.State("REST"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [request.eq(self.i.payload), index.eq(0)]
                with m.If(self.i.valid):
                    m.next = "WAY"
            if self.criterion is BlockCriterion.COSINE:
                self._cosine(m, sums, first, take, multiply, following)
            else:
                self._score(m, request, first, take, multiply, following)
            with m.State("END"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "REST"
        return m

    def _score(
        self,
        m: Module,
        request: data.View,
        first: Value,
        take: Signal,
        multiply: Callable[[Value, Value, str], None],
        following: Callable[[], None],
    ) -> None:
        """Add the states that give ways a number and take the least one, or the first that fits."""
        total, sums = request.total, request.ways[0]
        bits = bits_for(self.block << 63) + 1
        quantized = Signal(len(total))
        square, cross = Signal(bits), Signal(bits)
        score, best = Signal(signed(bits)), Signal(signed(bits))
        limit, passed, fits = Signal(len(total) + _THRESHOLD_BITS), Signal(), Signal()
        bounded = self.criterion is BlockCriterion.QEM
        with m.State("WAY"):
            m.next = "ALIGN"
            with m.If(first):
                m.d.sync += passed.eq(0)
                if bounded:
                    multiply(total, Const(self.threshold), "LIMIT")
        if bounded:
            with m.State("LIMIT"), m.If(self._product.done):
                m.d.sync += limit.eq(self._product.o)
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
            m.d.sync += score.eq({
                BlockCriterion.L1: sums.distance,
                BlockCriterion.L2: square.as_signed() - cross.as_signed(),
            }.get(self.criterion, bias))
            m.next = "JUDGE"
        with m.State("JUDGE"):
            m.d.comb += [
                fits.eq(((score << 16) <= limit) if bounded else 0),
                take.eq(~passed & (first | fits | (score < best))),
            ]
            m.d.sync += passed.eq(passed | fits)
            with m.If(take):
                m.d.sync += best.eq(score)
            following()

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
        with m.State("WAY"):
            multiply(sums.cross, sums.cross, "SQUARE")
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
