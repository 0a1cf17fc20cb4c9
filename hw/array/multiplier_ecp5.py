# SPDX-License-Identifier: Apache-2.0
"""MULT18X18D of Lattice's ECP5, all its registers in use."""

from typing import ClassVar

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, signed

from hw.array.multiplier_base import PRODUCT, Multiplier

__all__ = ["Ecp5Multiplier"]

_WIDTH = 18


class Ecp5Multiplier(Multiplier):
    """One MULT18X18D: registers behind both operands, inside the multiplier and at the product.

    The weight's register is the cell's own, ``swap`` its clock enable (Lattice, ECP5 and ECP5-5G
    sysDSP Usage Guide, FPGA-TN-02205). One more register follows in the fabric: the cells stand in
    a few rows of the device, and the way from there to an adder takes as long as the adder.
    """

    latency: ClassVar[int] = 4
    has_cell: ClassVar[bool] = True

    def _cell(self, m: Module) -> None:
        product = Signal(2 * _WIDTH)
        later = Signal(PRODUCT, name="product_4", reset_less=True)
        activation, weight = Signal(signed(_WIDTH)), Signal(signed(_WIDTH))
        m.d.comb += [
            activation.eq(self.activation),
            weight.eq(self.weight),
            self.product.eq(later),
        ]
        m.d.sync += later.eq(product)
        m.submodules.cell = Instance(
            "MULT18X18D",
            p_REG_INPUTA_CLK="CLK0",
            p_REG_INPUTA_CE="CE0",
            p_REG_INPUTB_CLK="CLK0",
            p_REG_INPUTB_CE="CE1",
            p_REG_PIPELINE_CLK="CLK0",
            p_REG_PIPELINE_CE="CE0",
            p_REG_OUTPUT_CLK="CLK0",
            p_REG_OUTPUT_CE="CE0",
            p_GSR="DISABLED",
            i_CLK0=ClockSignal(),
            i_CE0=Const(1),
            i_CE1=self.swap,
            i_RST0=Const(0),
            i_SIGNEDA=Const(1),
            i_SIGNEDB=Const(1),
            i_SOURCEA=Const(0),
            i_SOURCEB=Const(0),
            **{f"i_A{bit}": activation[bit] for bit in range(_WIDTH)},
            **{f"i_B{bit}": weight[bit] for bit in range(_WIDTH)},
            **{f"o_P{bit}": product[bit] for bit in range(2 * _WIDTH)},
        )
