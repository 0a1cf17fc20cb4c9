# SPDX-License-Identifier: Apache-2.0
"""A pipelined signed x unsigned product, whole or put together from narrow multipliers."""

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.parts.partial_product import partial_product_class
from kiwicha.hw.parts.requantize_common import register
from kiwicha.machine.modes import CellFamily

__all__ = ["PipelinedMultiply"]


class _Term(NamedTuple):
    """A summand: ``value`` times 2**``offset``."""

    value: Value
    offset: int


class PipelinedMultiply(wiring.Component):
    """``o = a * b``, one product a cycle, ``latency`` cycles later; exact over all operands.

    With ``multiplier_width`` 0 it is one ``*`` and a register behind it. Otherwise the operands
    are cut so that every partial product fits a signed multiplier of that width (limbs of one bit
    less, unsigned; only the topmost of ``a`` is signed), each is a ``PartialProduct`` of the
    target, and an adder tree with a register per level sums them. No handshake.

    Parameters
    ----------
    a_width : bits of the signed operand.
    b_width : bits of the unsigned operand.
    multiplier_width : 0, or 4 to 32 bits.
    target : what the partial products are made of.

    Members
    -------
    a : In(signed(a_width)); b : In(unsigned(b_width)); o : Out(signed(a_width + b_width)).
    """

    def __init__(
        self,
        a_width: int,
        b_width: int,
        multiplier_width: int = 0,
        target: CellFamily = CellFamily.GENERIC,
    ) -> None:
        if multiplier_width != 0 and not 4 <= multiplier_width <= 32:
            raise ValueError(f"multiplier_width is {multiplier_width}; legal: 0 or 4 to 32")
        self.a_width = a_width
        self.b_width = b_width
        self.multiplier_width = multiplier_width
        self._product = partial_product_class(target, multiplier_width)
        super().__init__(
            {
                "a": In(signed(a_width)),
                "b": In(unsigned(b_width)),
                "o": Out(signed(a_width + b_width)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from operands to product."""
        if self.multiplier_width == 0:
            return 1
        return self._product.latency + (len(self._chains()) - 1).bit_length()

    def _limbs(self, width: int, top: int) -> list[tuple[int, int]]:
        # (first bit, width) of each limb; the last may have up to `top` bits.
        step = self.multiplier_width - 1
        limbs, start = [], 0
        while width - start > top:
            limbs.append((start, step))
            start += step
        return [*limbs, (start, width - start)]

    def _chains(self) -> list[list[tuple[int, int]]]:
        """Group the (a limb, b limb) pairs so that a group's products concatenate, lowest first.

        Products two limbs apart do not overlap. A signed one borrows from whatever is above it,
        so it must be the last of its group.
        """
        a_count = len(self._limbs(self.a_width, self.multiplier_width))
        b_count = len(self._limbs(self.b_width, self.multiplier_width - 1))
        pairs = [(i, j) for i in range(a_count) for j in range(b_count)]
        chains = []
        while pairs:
            last = max(pairs, key=lambda pair: (sum(pair), pair))
            chain = [last]
            while True:
                below = [p for p in pairs if sum(p) == sum(chain[0]) - 2 and p[0] < a_count - 1]
                if not below:
                    break
                chain.insert(0, below[0])
            for pair in chain:
                pairs.remove(pair)
            chains.append(chain)
        return chains

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.multiplier_width == 0:
            m.d.sync += self.o.eq(self.a * self.b)
            return m

        a_limbs = self._limbs(self.a_width, self.multiplier_width)
        b_limbs = self._limbs(self.b_width, self.multiplier_width - 1)
        step = self.multiplier_width - 1

        # All partial products.
        terms = []
        for chain in self._chains():
            products: list[Value] = []
            for i, j in chain:
                (a_start, a_size), (b_start, b_size) = a_limbs[i], b_limbs[j]
                a: Value = self.a[a_start : a_start + a_size]
                if i == len(a_limbs) - 1:
                    a = a.as_signed()
                product = self._partial(m, a, self.b[b_start : b_start + b_size], f"{i}_{j}")
                padding = 0 if (i, j) == chain[-1] else 2 * step - len(product)
                products.append(Cat(product, Const(0, padding)))
            is_signed = chain[-1][0] == len(a_limbs) - 1
            whole = Cat(*products)
            offset = a_limbs[chain[0][0]][0] + b_limbs[chain[0][1]][0]
            terms.append(_Term(whole.as_signed() if is_signed else whole, offset))

        # One cycle per level of the adder tree.
        level = 0
        while len(terms) > 1:
            level += 1
            terms.sort(key=lambda term: term.offset + len(term.value))
            sums = [
                self._add(m, left, right, f"sum_{level}_{k}")
                for k, (left, right) in enumerate(zip(terms[::2], terms[1::2], strict=False))
            ]
            if len(terms) % 2:
                last = terms[-1]
                sums.append(_Term(register(m, last.value, f"sum_{level}_rest"), last.offset))
            terms = sums
        m.d.comb += self.o.eq(terms[0].value << terms[0].offset)
        return m

    def _partial(self, m: Module, a: Value, b: Value, name: str) -> Value:
        """Return the product of two limbs, ``latency`` of a ``PartialProduct`` later."""
        signs = sum(not limb.shape().signed for limb in (a, b))
        unit = self._product(len(a) + (not a.shape().signed), len(b) + (not b.shape().signed))
        m.submodules[f"product_{name}"] = unit
        m.d.comb += [unit.a.eq(a), unit.b.eq(b)]
        # What signs unsigned limbs were given, their product has too.
        product = unit.o[: len(unit.o) - signs]
        return product.as_signed() if a.shape().signed else product

    @staticmethod
    def _add(m: Module, left: _Term, right: _Term, name: str) -> _Term:
        low, high = sorted((left, right), key=lambda term: term.offset)
        gap = high.offset - low.offset
        upper = low.value.shift_right(gap) + high.value
        # Bits below the higher summand need no adder; a short lower summand is extended there.
        sign = low.value[-1] & low.value.shape().signed
        filling = sign.replicate(max(gap - len(low.value), 0))
        total = Cat(low.value[:gap], filling, upper)
        signed_total = upper.shape().signed
        return _Term(register(m, total.as_signed() if signed_total else total, name), low.offset)
