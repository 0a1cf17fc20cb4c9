# SPDX-License-Identifier: Apache-2.0
"""The contract of a multiplier, and the plain logic that every one of them is equal to."""

from typing import ClassVar

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["OPERAND", "PRODUCT", "Multiplier"]

OPERAND = signed(9)
"""An activation or weight: int8 or uint8 after its zero point is taken off."""
PRODUCT = signed(18)
"""Two operands multiplied; -256 x -256 needs the 18th bit."""


class Multiplier(wiring.Component):
    """A registered product. It owns every register from its operands to the product, the stationary
    operand's included, so that a DSP cell's own registers can hold them.

    A subclass for an FPGA family says its ``latency`` and makes its cell in ``_cell``. Emission
    uses the cell; simulators and proofs get ``*`` between as many registers, the same bits in the
    same cycles (`tests/compute/test_multiplier.py` compares the two).

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
    has_cell: ClassVar[bool] = False

    activation: In(OPERAND)
    weight: In(OPERAND)
    swap: In(1)
    activation_out: Out(OPERAND)
    product: Out(PRODUCT)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle 1: operand registers. That of the neighbour's activation is always in the fabric.
        activation = Signal(OPERAND, reset_less=True)
        m.d.sync += activation.eq(self.activation)
        m.d.comb += self.activation_out.eq(activation)
        if self.has_cell and getattr(platform, "cells", False):
            self._cell(m)
            return m
        weight = Signal(OPERAND, reset_less=True)
        with m.If(self.swap):
            m.d.sync += weight.eq(self.weight)
        # From cycle 2 on: product registers.
        product = activation * weight
        for cycle in range(2, self.latency + 1):
            later = Signal(PRODUCT, name=f"product_{cycle}", reset_less=True)
            m.d.sync += later.eq(product)
            product = later
        m.d.comb += self.product.eq(product)
        return m

    def _cell(self, m: Module) -> None:
        """Drive ``product`` from the cell; only where ``has_cell``."""
        raise NotImplementedError
