# SPDX-License-Identifier: Apache-2.0
"""SB_MAC16 of Lattice's iCE40 UltraPlus, as a registered 16 x 16 multiplier."""

from typing import ClassVar

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, signed

from kiwicha.hw.compute.multiplier_base import Multiplier

__all__ = ["Ice40Multiplier"]

_WIDTH = 16


class Ice40Multiplier(Multiplier):
    """One SB_MAC16: registers behind both operands, the partial products and the product.

    The weight's register is the cell's own, held while ``swap`` is low (Lattice, DSP Function Usage
    Guide for iCE40 Devices, FPGA-TN-02007).
    """

    latency: ClassVar[int] = 3
    has_cell: ClassVar[bool] = True

    def _cell(self, m: Module) -> None:
        product = Signal(2 * _WIDTH)
        activation, weight = Signal(signed(_WIDTH)), Signal(signed(_WIDTH))
        m.d.comb += [
            activation.eq(self.activation),
            weight.eq(self.weight),
            self.product.eq(product),
        ]
        registers = (
            "A_REG", "B_REG", "TOP_8x8_MULT_REG", "BOT_8x8_MULT_REG",
            "PIPELINE_16x16_MULT_REG1", "PIPELINE_16x16_MULT_REG2",
        )
        idle = (
            "AHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP",
            "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI",
            "SIGNEXTIN",
        )
        m.submodules.cell = Instance(
            "SB_MAC16",
            **{f"p_{name}": Const(1, 1) for name in (*registers, "A_SIGNED", "B_SIGNED")},
            p_TOPOUTPUT_SELECT=Const(3, 2),
            p_BOTOUTPUT_SELECT=Const(3, 2),
            i_CLK=ClockSignal(),
            i_CE=Const(1),
            i_A=activation,
            i_B=weight,
            i_C=Const(0, _WIDTH),
            i_D=Const(0, _WIDTH),
            i_BHOLD=~self.swap,
            **{f"i_{name}": Const(0) for name in idle},
            o_O=product,
        )
