# SPDX-License-Identifier: Apache-2.0
"""MULT18X18D of Lattice's ECP5, all its registers in use."""

from typing import ClassVar

from amaranth.hdl import Module, Signal, signed

from kiwicha.hw.compute.multiplier_base import PRODUCT, Multiplier
from kiwicha.hw.parts.mult18x18d import CELL_LATENCY, CELL_WIDTH, mult18x18d

__all__ = ["Ecp5Multiplier"]


class Ecp5Multiplier(Multiplier):
    """One MULT18X18D: the weight's register is the cell's own, ``swap`` its clock enable.

    One more register follows in the fabric: the cells stand in a few rows of the device, and the
    way from there to an adder takes as long as the adder.
    """

    latency: ClassVar[int] = CELL_LATENCY + 1
    has_cell: ClassVar[bool] = True

    def _cell(self, m: Module) -> None:
        product = Signal(2 * CELL_WIDTH)
        later = Signal(PRODUCT, name="product_4", reset_less=True)
        activation, weight = Signal(signed(CELL_WIDTH)), Signal(signed(CELL_WIDTH))
        m.d.comb += [
            activation.eq(self.activation),
            weight.eq(self.weight),
            self.product.eq(later),
        ]
        m.d.sync += later.eq(product)
        m.submodules.cell = mult18x18d(activation, weight, product, enable_b=self.swap)
