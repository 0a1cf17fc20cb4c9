# SPDX-License-Identifier: Apache-2.0
"""A product that fits one multiplier of the FPGA: plain logic, or the cell with its registers.

A further FPGA family is a subclass of ``PartialProduct`` and a line in ``_PRODUCTS``.
"""

from typing import ClassVar

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.parts.mult18x18d import CELL_LATENCY, CELL_WIDTH, mult18x18d
from kiwicha.machine.modes import CellFamily

__all__ = ["Ecp5PartialProduct", "PartialProduct", "partial_product_class"]


class PartialProduct(wiring.Component):
    """``o = a * b`` in registers; exact, a product a cycle, ``latency`` cycles later.

    This class is a ``*`` and a register behind it. A subclass for an FPGA family says its
    ``latency`` and makes its cell in ``_cell``. Emission uses the cell; simulators and proofs get
    ``*`` before as many registers, the same bits in the same cycles
    (`tests/parts/test_partial_product.py` compares the two).

    Parameters
    ----------
    a_width, b_width : bits of the signed operands, ``widest`` at most.

    Members
    -------
    a : In(signed(a_width)); b : In(signed(b_width)); o : Out(signed(a_width + b_width)).

    Raises
    ------
    ValueError
        For an operand that is too wide.
    """

    latency: ClassVar[int] = 1
    widest: ClassVar[int] = 32
    has_cell: ClassVar[bool] = False

    def __init__(self, a_width: int, b_width: int) -> None:
        for name, width in (("a_width", a_width), ("b_width", b_width)):
            if not 1 <= width <= self.widest:
                raise ValueError(f"{name} is {width}; legal: 1 to {self.widest}")
        super().__init__({
            "a": In(signed(a_width)),
            "b": In(signed(b_width)),
            "o": Out(signed(a_width + b_width)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.has_cell and getattr(platform, "cells", False):
            self._cell(m)
            return m
        product = self.a * self.b
        for cycle in range(1, self.latency + 1):
            later = Signal(product.shape(), name=f"product_{cycle}", reset_less=True)
            m.d.sync += later.eq(product)
            product = later
        m.d.comb += self.o.eq(product)
        return m

    def _cell(self, m: Module) -> None:
        """Drive ``o`` from the cell; only where ``has_cell``."""
        raise NotImplementedError


class Ecp5PartialProduct(PartialProduct):
    """One MULT18X18D, with registers behind both operands, inside and at the product."""

    latency: ClassVar[int] = CELL_LATENCY
    widest: ClassVar[int] = CELL_WIDTH
    has_cell: ClassVar[bool] = True

    def _cell(self, m: Module) -> None:
        a, b = Signal(signed(CELL_WIDTH)), Signal(signed(CELL_WIDTH))
        product = Signal(2 * CELL_WIDTH)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.o.eq(product)]
        m.submodules.cell = mult18x18d(a, b, product)


_PRODUCTS: dict[CellFamily, type[PartialProduct]] = {
    CellFamily.ECP5: Ecp5PartialProduct,
}


def partial_product_class(target: CellFamily, width: int) -> type[PartialProduct]:
    """Return what multiplies operands of ``width`` bits: the target's cell, if they fit one."""
    kind = _PRODUCTS.get(target, PartialProduct)
    return kind if width <= kind.widest else PartialProduct
