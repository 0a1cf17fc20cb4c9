# SPDX-License-Identifier: Apache-2.0
"""Registered multipliers, one per FPGA family, behind one interface.

A multiplier owns every register from its operands to the product, the stationary operand's
included, so that a DSP cell's own registers can hold them.
"""

from typing import ClassVar

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import MultiplierTarget

__all__ = ["MULTIPLIERS", "OPERAND", "PRODUCT", "GenericMultiplier", "multiplier_class"]

OPERAND = signed(9)
"""An activation or weight: int8 or uint8 after its zero point is taken off."""
PRODUCT = signed(18)
"""Two operands multiplied; -256 x -256 needs the 18th bit."""


class GenericMultiplier(wiring.Component):
    """A plain ``*`` between fabric registers, for tools that map or absorb them as they please.

    Latency: the operands taken at the end of cycle t give ``product`` in cycle t + ``latency``.
    Throughput: one product a cycle. No register has a reset.

    Members
    -------
    activation : the moving operand, taken every cycle.
    weight : the stationary operand, taken when ``swap`` is high, together with ``activation``.
    activation_out : ``activation`` one cycle later, for the neighbour.
    product : exact.
    """

    latency: ClassVar[int] = 2

    activation: In(OPERAND)
    weight: In(OPERAND)
    swap: In(1)
    activation_out: Out(OPERAND)
    product: Out(PRODUCT)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle 1: operand registers.
        activation = Signal(OPERAND, reset_less=True)
        weight = Signal(OPERAND, reset_less=True)
        m.d.sync += activation.eq(self.activation)
        with m.If(self.swap):
            m.d.sync += weight.eq(self.weight)
        # Cycle 2: product register.
        product = Signal(PRODUCT, reset_less=True)
        m.d.sync += product.eq(activation * weight)
        m.d.comb += [self.activation_out.eq(activation), self.product.eq(product)]
        return m


MULTIPLIERS: dict[MultiplierTarget, type[GenericMultiplier]] = {
    MultiplierTarget.GENERIC: GenericMultiplier,
}


def multiplier_class(target: MultiplierTarget) -> type[GenericMultiplier]:
    """Return the class of ``target``'s multiplier, which tells its ``latency``.

    Raises
    ------
    ValueError
        When there is none for it.
    """
    if target not in MULTIPLIERS:
        legal = ", ".join(known.value for known in MULTIPLIERS)
        raise ValueError(f"multiplier is {target!r}; legal: {legal}")
    return MULTIPLIERS[target]
