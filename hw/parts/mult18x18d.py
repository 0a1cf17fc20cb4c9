# SPDX-License-Identifier: Apache-2.0
"""The multiplier cell of Lattice's ECP5 with all its registers in use."""

from amaranth.hdl import ClockSignal, Const, Instance, Value

__all__ = ["CELL_LATENCY", "CELL_WIDTH", "mult18x18d"]

CELL_WIDTH = 18
"""Bits of either operand, both signed; the product has twice as many."""
CELL_LATENCY = 3
"""Cycles from the operands to the product."""


def mult18x18d(
    a: Value, b: Value, product: Value, *, enable_b: Value | int = 1
) -> Instance:
    """Return a MULT18X18D with registers behind both operands, inside and at the product.

    The registers are those of Lattice's ECP5 and ECP5-5G sysDSP Usage Guide (FPGA-TN-02205).

    Parameters
    ----------
    a, b, product : of ``CELL_WIDTH`` and twice ``CELL_WIDTH`` bits.
    enable_b : clock enable of the register behind ``b``.
    """
    return Instance(
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
        i_CE1=Value.cast(enable_b),
        i_RST0=Const(0),
        i_SIGNEDA=Const(1),
        i_SIGNEDB=Const(1),
        i_SOURCEA=Const(0),
        i_SOURCEB=Const(0),
        **{f"i_A{bit}": a[bit] for bit in range(CELL_WIDTH)},
        **{f"i_B{bit}": b[bit] for bit in range(CELL_WIDTH)},
        **{f"o_P{bit}": product[bit] for bit in range(2 * CELL_WIDTH)},
    )
