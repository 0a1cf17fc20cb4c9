# SPDX-License-Identifier: Apache-2.0
"""Sums of products of blocks whose exponents differ, exact: a fixed-point super-accumulator."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.machine.blocks import exact_width

__all__ = ["BlockAccumulate"]


class BlockAccumulate(Component):
    """Adds up the sums of blocks, each where its exponent says (after Kulisch).

    What `golden.block_accumulate.accumulate_exact` has, in any order of blocks: one that lies
    outside the window is moved into it by itself, half to even below, saturated above. No unit of
    a machine yet; it is made to stand behind an accumulator, once a block.

    Latency: 4 cycles from the last product of a sum to ``o``. Throughput: a product a cycle, no
    gap between sums; all of it waits while ``o`` is not taken.

    Parameters
    ----------
    product_bits : of a product, 2 to 32.
    window : exponents that are told apart, at least 1.
    blocks : products of a sum at most.
    width : bits of a sum, `machine.blocks.exact_width`.

    Members
    -------
    i : In(stream.Signature({product, exponent, low, first, last}))
        A product, int32, and its exponent, the sum of two int8. ``low`` is the least exponent of
        the window, the same for all products of a sum. ``ready`` sees ``o.ready``.
    o : Out(stream.Signature({sum, outside}))
        The sum in units of 2^low; how many of its products lay outside the window.

    Raises
    ------
    ValueError
        For parameters out of range, or a sum of more than 64 bits.
    """

    def __init__(self, window: int = 16, blocks: int = 512, product_bits: int = 32) -> None:
        if not 2 <= product_bits <= 32:
            raise ValueError(f"product_bits is {product_bits}; legal: 2 to 32")
        self.width = exact_width(blocks, window) - 32 + product_bits
        self.window, self.blocks, self.product_bits = window, blocks, product_bits
        self._input = data.StructLayout({
            "product": signed(product_bits), "exponent": signed(9), "low": signed(9),
            "first": 1, "last": 1,
        })
        self._output = data.StructLayout({
            "sum": signed(self.width), "outside": range(blocks + 1),
        })
        super().__init__({
            "i": In(stream.Signature(self._input)), "o": Out(stream.Signature(self._output)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, top = self.product_bits, self.window - 1
        asked = self.i.payload
        move = Signal()
        m.d.comb += [move.eq(~self.o.valid | self.o.ready), self.i.ready.eq(move)]

        # Cycle 1: how far a product is from the window, and where in it.
        apart = Signal(signed(10))
        m.d.comb += apart.eq(asked.exponent - asked.low)
        beyond = Signal(signed(11))
        m.d.comb += beyond.eq(apart - top)
        flags = data.StructLayout({"valid": 1, "first": 1, "last": 1, "outside": 1})
        stages = [Signal(flags, name=f"s{cycle}") for cycle in (1, 2, 3)]
        s1, s2, s3 = stages
        s1_product = Signal(signed(bits))
        s1_right, s1_left = Signal(range(bits + 2)), Signal(range(bits + 1))
        places = [Signal(range(self.window), name=f"s{cycle}_place") for cycle in (1, 2)]
        with m.If(move):
            m.d.sync += [
                s1.valid.eq(self.i.valid), s1.first.eq(asked.first), s1.last.eq(asked.last),
                s1.outside.eq((apart < 0) | (beyond > 0)),
                s1_product.eq(asked.product),
                s1_right.eq(_between(-apart, bits + 1)),
                s1_left.eq(_between(beyond, bits)),
                places[0].eq(Mux(apart < 0, 0, Mux(beyond > 0, top, apart))),
                s2.eq(s1), s3.eq(s2), places[1].eq(places[0]),
            ]

        # Cycle 2: into the window. Cycle 3: to its place. Cycle 4: added.
        s2_product, s3_product = Signal(signed(bits)), Signal(signed(self.width))
        total, outside = Signal(signed(self.width)), Signal(range(self.blocks + 1))
        before, counted = Mux(s3.first, 0, total), Mux(s3.first, 0, outside)
        with m.If(move):
            m.d.sync += [
                s2_product.eq(self._inside(m, s1_product, s1_right, s1_left)),
                s3_product.eq(s2_product << places[1]),
                self.o.valid.eq(s3.valid & s3.last),
            ]
            with m.If(s3.valid):
                m.d.sync += [total.eq(before + s3_product), outside.eq(counted + s3.outside)]
        m.d.comb += [self.o.payload.sum.eq(total), self.o.payload.outside.eq(outside)]
        return m

    def _inside(self, m: Module, product: Value, right: Value, left: Value) -> Value:
        """Return a product moved right, half to even, or left, saturated."""
        bits = self.product_bits
        behind = bits + 1
        wide = Signal(signed(bits + behind))
        m.d.comb += wide.eq(Cat(Const(0, behind), product).as_signed() >> right)
        whole = wide[behind:].as_signed()
        up = wide[behind - 1] & (wide[: behind - 1].any() | wide[behind])
        # Above: what leaves must be copies of the sign that stays.
        moved = Signal(signed(2 * bits))
        m.d.comb += moved.eq(product << left)
        over = moved[bits - 1 :].any() & ~moved[bits - 1 :].all()
        sign = product[-1]
        bound = Cat((~sign).replicate(bits - 1), sign)
        return Mux(left != 0, Mux(over, bound, moved[:bits]), (whole + up)[:bits])


def _between(value: Value, most: int) -> Value:
    """Return a number, 0 at least and ``most`` at most."""
    return Mux(value < 0, 0, Mux(value > most, most, value))
