# SPDX-License-Identifier: Apache-2.0
"""One multiply-accumulate cell of the weight-stationary array."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.compute.multiplier import multiplier_class
from kiwicha.hw.compute.multiplier_base import OPERAND
from kiwicha.machine.modes import CellFamily

__all__ = ["PSUM", "ProcessingElement", "psum_width"]

PSUM = signed(32)
"""A sum as it leaves the array; wraps like int32 addition in two's complement."""


def psum_width(products: int) -> int:
    """Return the bits that a sum of so many products takes, at most those of ``PSUM``.

    The largest product is 2**16, that of -256 and -256.
    """
    return min(PSUM.width, (products << 16).bit_length() + 1)


class ProcessingElement(wiring.Component):
    """Multiplies a passing activation by a weight that stays, adds to a passing partial sum.

    Between any two registers lies the multiplier or one addition. No register has a reset: control
    upstream says which sums mean something.

    Latency: ``activation`` taken in cycle t meets ``psum_in`` of cycle t + multiplier latency;
    their sum is in ``psum_out`` one cycle later (``latency``). The neighbours to the right and
    below see a vector one cycle later than this element.

    Parameters
    ----------
    multiplier : what the multiplier is made of.
    width : bits of a partial sum, which wraps.
    depthwise : whether its column may have an operand of its own.

    Members
    -------
    activation, activation_out : passes right, one register.
    switch, switch_out : passes right with the activation; high with the first activation that is to
        be multiplied by the next weight.
    weight, load : the next weight, taken in every cycle in which ``load`` is high.
    psum_in, psum_out : passes down.
    own : the column's operand, for all its elements; only with ``depthwise``, as ``down``.
    down, down_out : take ``own`` for ``activation``; passes right with it.
    """

    def __init__(
        self,
        multiplier: CellFamily = CellFamily.GENERIC,
        width: int = PSUM.width,
        *,
        depthwise: bool = False,
    ) -> None:
        self.multiplier = multiplier
        self.width = width
        self.depthwise = depthwise
        super().__init__({
            "activation": In(OPERAND),
            "switch": In(1),
            "weight": In(OPERAND),
            "load": In(1),
            "psum_in": In(signed(width)),
            "activation_out": Out(OPERAND),
            "switch_out": Out(1),
            "psum_out": Out(signed(width)),
            **({"own": In(OPERAND), "down": In(1), "down_out": Out(1)} if depthwise else {}),
        })

    @property
    def latency(self) -> int:
        """Cycles from ``activation`` to the ``psum_out`` that contains it."""
        return multiplier_class(self.multiplier).latency + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = multiplier_class(self.multiplier)()
        next_weight = Signal(OPERAND, reset_less=True)
        switch = Signal(reset_less=True)
        psum = Signal(signed(self.width), reset_less=True)
        with m.If(self.load):
            m.d.sync += next_weight.eq(self.weight)
        m.d.sync += [switch.eq(self.switch), psum.eq(self.psum_in + multiplier.product)]
        if self.depthwise:
            down = Signal(reset_less=True)
            m.d.sync += down.eq(self.down)
            m.d.comb += [
                multiplier.activation.eq(Mux(self.down, self.own, self.activation)),
                self.down_out.eq(down),
            ]
        else:
            m.d.comb += multiplier.activation.eq(self.activation)
        m.d.comb += [
            multiplier.weight.eq(next_weight),
            multiplier.swap.eq(self.switch),
            self.activation_out.eq(multiplier.activation_out),
            self.switch_out.eq(switch),
            self.psum_out.eq(psum),
        ]
        return m
